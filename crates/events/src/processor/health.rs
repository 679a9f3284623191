//! The conditions that make a processor unready: calls that fail again and again.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ops::health::{self, Fault, Health};
use tokio::time::Instant;

use crate::ports::{Call, Failure};

/// Failures in a row after which a call is unhealthy.
const OUTAGE: u32 = 8;

/// An instance may not make the same call again for long, so a failure is forgotten after this time.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A call that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition(pub Call);

impl health::Condition for Condition {
    fn kind(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Call::Receive => "receiving messages",
            Call::Delete => "deleting messages",
            Call::SetVisibility => "extending the visibility of messages",
            Call::Put => "storing events",
            Call::SendDeadLetter => "sending dead letters",
            Call::Dispatch => "dispatching events",
        })
    }
}

/// Follows the health of a processor.
#[derive(Debug, Default)]
pub struct Watch {
    pub health: Health<Condition>,
    /// Failures in a row, by call.
    failures: [AtomicU32; Call::ALL.len()],
    /// When each call failed last.
    failed_at: Mutex<[Option<Instant>; Call::ALL.len()]>,
}

impl Watch {
    pub fn succeeded(&self, call: Call) {
        // Most calls succeed after others that did.
        if self.failures[call as usize].swap(0, Ordering::Relaxed) > 0 {
            self.health.update(Condition(call), None, || self.is_out(call));
        }
    }

    pub fn failed(&self, call: Call, failure: &Failure) {
        match failure {
            // The message is at fault.
            Failure::Refused(_) => {}
            Failure::Unavailable(detail) => {
                self.failed_at()[call as usize] = Some(Instant::now());
                if self.failures[call as usize].fetch_add(1, Ordering::Relaxed) + 1 >= OUTAGE {
                    let fault = Fault { error: "Unavailable", detail: detail.clone() };
                    self.health.update(Condition(call), Some(fault), || self.is_out(call));
                }
            }
        }
    }

    /// Forgets old failures of calls. Call it every second.
    pub fn forget_old_failures(&self) {
        let old = |at: &Option<Instant>| at.is_some_and(|at| at.elapsed() >= FORGOTTEN);
        let forgotten: Vec<_> = Call::ALL.into_iter().filter(|call| old(&self.failed_at()[*call as usize])).collect();
        for call in forgotten {
            self.failed_at()[call as usize] = None;
            self.succeeded(call);
        }
    }

    fn failed_at(&self) -> MutexGuard<'_, [Option<Instant>; Call::ALL.len()]> {
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_out(&self, call: Call) -> bool {
        self.failures[call as usize].load(Ordering::Relaxed) >= OUTAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_unhealthy_from_the_eighth_failure_to_the_next_success() {
        let watch = Watch::default();
        let away = Failure::Unavailable("away".to_owned());
        let fail = |times| (0..times).for_each(|_| watch.failed(Call::Put, &away));
        fail(7);
        watch.succeeded(Call::Put);
        fail(7);
        watch.failed(Call::Put, &Failure::Refused("too large".to_owned()));
        watch.succeeded(Call::Receive);
        assert!(watch.health.conditions().is_empty());
        fail(1);
        assert_eq!(watch.health.conditions(), [(Condition(Call::Put), "away".to_owned())]);
        watch.succeeded(Call::Put);
        assert!(watch.health.conditions().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_made_again_does_not_stay_unhealthy() {
        let watch = Watch::default();
        (0..8).for_each(|_| watch.failed(Call::SendDeadLetter, &Failure::Unavailable("away".to_owned())));
        tokio::time::advance(FORGOTTEN / 2).await;
        watch.forget_old_failures();
        assert_eq!(watch.health.conditions().len(), 1);
        tokio::time::advance(FORGOTTEN / 2).await;
        watch.forget_old_failures();
        assert!(watch.health.conditions().is_empty());
    }
}
