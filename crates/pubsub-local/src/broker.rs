//! All topics and subscriptions, and every operation on them. Knows neither gRPC nor HTTP.

mod registry;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use self::registry::Registry;
use super::alarm::Alarm;
use super::faults::Faults;
use super::leases::LeaseId;
use super::message;
use super::queue::{Dead, Queue};
use super::refusal::Refusal;
use super::subscription::Subscription;
use super::wire::PubsubMessage;

pub(super) use self::registry::Page;

const MAX_EXTENSION_SECONDS: i32 = 600;

pub(super) struct Broker {
    registry: Mutex<Registry>,
    faults: Faults,
    alarm: Alarm,
    stopping: watch::Sender<bool>,
    next_message_id: AtomicU64,
}

impl Broker {
    pub(super) fn new() -> Broker {
        let micros = wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        Broker {
            registry: Mutex::default(),
            faults: Faults::default(),
            alarm: Alarm::default(),
            stopping: watch::Sender::new(false),
            // Ids start at the time, so that a client that remembers ids over a restart never meets one twice.
            next_message_id: AtomicU64::new(u64::try_from(micros).unwrap_or_default()),
        }
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Ends every open stream and waiting pull.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Lets deadlines pass, for as long as it is polled.
    pub(super) async fn keep_time(&self) {
        loop {
            self.alarm.clear();
            let subscriptions = self.registry().all_subscriptions();
            let next =
                subscriptions.iter().filter_map(|it| self.apply(it, |queue| queue.advance(Instant::now())).1).min();
            self.alarm.sleep(next).await;
        }
    }

    /// Publishes all or none, and returns the message ids.
    pub(super) fn publish(&self, topic: &str, messages: Vec<PubsubMessage>) -> Result<Vec<String>, Refusal> {
        message::check_all(&messages)?;
        let subscriptions = self.registry().subscriptions_of(topic)?;
        Ok(self.fan_out(&subscriptions, messages))
    }

    fn fan_out(&self, subscriptions: &[Arc<Subscription>], messages: Vec<PubsubMessage>) -> Vec<String> {
        let first = self.next_message_id.fetch_add(messages.len() as u64, Ordering::Relaxed);
        let ids: Vec<String> = (first..).take(messages.len()).map(|id| id.to_string()).collect();
        let publish_time = wall_clock().into();
        let sealed: Vec<_> =
            messages.into_iter().zip(&ids).map(|(message, id)| message::seal(message, id, publish_time)).collect();
        for subscription in subscriptions {
            self.on(subscription, |queue| queue.publish(sealed.iter().cloned()));
        }
        ids
    }

    pub(super) fn acknowledge(&self, subscription: &Subscription, ack_ids: &[String]) -> Result<(), Refusal> {
        let leases = leases(subscription, ack_ids)?;
        self.on(subscription, |queue| {
            for lease in leases {
                if self.faults.loses_ack() { queue.lose_ack() } else { queue.ack(lease) }
            }
        });
        Ok(())
    }

    /// Sets the deadline that many seconds from now; 0 gives the messages back.
    pub(super) fn modify_deadline(
        &self,
        subscription: &Subscription,
        ack_ids: &[String],
        seconds: i32,
    ) -> Result<(), Refusal> {
        let seconds = u64::try_from(seconds)
            .ok()
            .filter(|_| seconds <= MAX_EXTENSION_SECONDS)
            .ok_or_else(|| Refusal::invalid(format_args!("Ack deadline must be between 0 and 600, not {seconds}")))?;
        let leases = leases(subscription, ack_ids)?;
        let now = Instant::now();
        self.on(subscription, |queue| {
            for lease in leases {
                match seconds {
                    0 => queue.nack(lease, now),
                    _ => queue.extend(lease, now + Duration::from_secs(seconds)),
                }
            }
        });
        Ok(())
    }

    /// One operation on a subscription, and all that follows from it.
    pub(super) fn on<R>(&self, subscription: &Subscription, operation: impl FnOnce(&mut Queue) -> R) -> R {
        let (result, next_event) = self.apply(subscription, operation);
        if let Some(event) = next_event {
            self.alarm.bring_forward(event);
        }
        result
    }

    /// As [`Broker::on`], but the alarm is the caller's to set for the subscription's next event.
    fn apply<R>(&self, subscription: &Subscription, operation: impl FnOnce(&mut Queue) -> R) -> (R, Option<Instant>) {
        let (result, aftermath) = subscription.change(operation);
        for dead in aftermath.dead {
            self.bury(subscription, dead);
        }
        (result, aftermath.next_event)
    }

    /// Forwards to the dead-letter topic; while that does not exist the message stays where it was.
    fn bury(&self, subscription: &Subscription, dead: Dead) {
        let topic = self.registry().subscriptions_of(&dead.topic);
        match topic {
            Ok(subscriptions) => {
                let letter = message::dead_letter(&dead.entry.message, &subscription.name, dead.entry.attempts);
                self.fan_out(&subscriptions, vec![letter]);
                self.on(subscription, Queue::buried);
            }
            Err(_) => self.on(subscription, |queue| queue.put_back(dead.entry, Instant::now())),
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leases(subscription: &Subscription, ack_ids: &[String]) -> Result<Vec<LeaseId>, Refusal> {
    if ack_ids.is_empty() {
        return Err(Refusal::invalid("No ack ids specified"));
    }
    subscription.leases(ack_ids)
}

#[expect(clippy::disallowed_methods, reason = "the server is who assigns publish times")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
