//! Ends conditions that rest on failed attempts. Without traffic there are no more attempts, so nothing else would end them, and
//! the instance would stay unready after the cause is gone.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use super::Process;
use crate::consumer::health::Condition;

/// How often to look for expired conditions.
const INTERVAL: Duration = Duration::from_secs(1);

/// While a write waits, a probe fails at least every few seconds.
const STORE_EXPIRY: Duration = Duration::from_secs(60);

/// A rejected message that is parked is tried again within a minute.
const DEAD_LETTERS_EXPIRY: Duration = Duration::from_secs(5 * 60);

/// A parked write is refused again within seconds, and a nacked message is redelivered within Pub/Sub's maximum backoff of
/// 10 minutes.
const REFUSALS_EXPIRY: Duration = Duration::from_secs(10 * 60);

impl Process {
    /// Ends expired conditions, and logs the conditions whose log message was delayed, for as long as it is polled.
    pub async fn watch_health(&self) -> Infallible {
        let expire = async {
            loop {
                sleep(INTERVAL).await;
                self.expire_conditions();
            }
        };
        tokio::select! {
            never = expire => never,
            () = self.health.log_delayed() => unreachable!("it runs until it is dropped"),
        }
    }

    fn expire_conditions(&self) {
        if self.store_breaker.expire(STORE_EXPIRY) {
            self.health.expire(Condition::Store, STORE_EXPIRY, || self.store_breaker.is_open());
        }
        if self.dead_letter_breaker.expire(DEAD_LETTERS_EXPIRY) {
            self.health.expire(Condition::DeadLetters, DEAD_LETTERS_EXPIRY, || self.dead_letter_breaker.has_failed());
        }
        if self.refusals.breaker.expire(REFUSALS_EXPIRY) {
            self.health.expire(Condition::Refusals, REFUSALS_EXPIRY, || self.refusals.is_table_at_fault());
        }
    }
}
