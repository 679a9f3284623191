//! All topics and subscriptions, and the operations on them. This module knows neither gRPC nor HTTP.

mod registry;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use self::registry::Registry;
use super::backlog::Published;
use super::error::ApiError;
use super::events::{Event, Listeners};
use super::faults::Faults;
use super::leases::LeaseId;
use super::message;
use super::queue::{DeadLetter, Queue};
use super::subscription::Subscription;
use super::timer::Timer;
use super::wire::{PubsubMessage, seek_request::Target};

pub(super) use self::registry::Page;

const MAX_EXTENSION_SECONDS: i32 = 600;

pub(super) struct Broker {
    registry: Mutex<Registry>,
    faults: Faults,
    listeners: Listeners,
    timer: Timer,
    shutdown: watch::Sender<bool>,
    next_message_id: AtomicU64,
}

impl Broker {
    pub(super) fn new() -> Broker {
        let micros = wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        Broker {
            registry: Mutex::default(),
            faults: Faults::default(),
            listeners: Listeners::default(),
            timer: Timer::default(),
            shutdown: watch::Sender::new(false),
            // Ids start at the current time, so that a client never sees the same id before and after a restart.
            next_message_id: AtomicU64::new(u64::try_from(micros).unwrap_or_default()),
        }
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(super) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Ends all open streams and waiting pulls.
    pub(super) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// Returns a receiver that becomes true when the server shuts down.
    pub(super) fn shutdown(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    /// Expires leases and ends backoffs when they are due. Never returns.
    pub(super) async fn run_timer(&self) {
        loop {
            self.timer.clear();
            let subscriptions = self.registry().all_subscriptions();
            let next = subscriptions
                .iter()
                .filter_map(|subscription| {
                    self.change_unscheduled(subscription, |queue| queue.advance(Instant::now())).1
                })
                .min();
            self.timer.sleep(next).await;
        }
    }

    /// Publishes all messages or none, and returns their ids.
    pub(super) fn publish(&self, topic: &str, messages: Vec<PubsubMessage>) -> Result<Vec<String>, ApiError> {
        message::check_request(&messages)?;
        let subscriptions = self.registry().subscriptions_of(topic)?;
        Ok(self.fan_out(topic, &subscriptions, messages))
    }

    fn fan_out(&self, topic: &str, subscriptions: &[Arc<Subscription>], messages: Vec<PubsubMessage>) -> Vec<String> {
        let first = self.next_message_id.fetch_add(messages.len() as u64, Ordering::Relaxed);
        let ids: Vec<String> = (first..).take(messages.len()).map(|id| id.to_string()).collect();
        for (PubsubMessage { data, attributes, .. }, message_id) in messages.iter().zip(&ids) {
            self.listeners.notify(&Event::Published { topic, message_id, data, attributes });
        }
        let published = Published { at: Instant::now(), time: wall_clock() };
        let publish_time = published.time.into();
        let encoded: Vec<_> =
            messages.into_iter().zip(&ids).map(|(message, id)| message::encode(message, id, publish_time)).collect();
        for subscription in subscriptions {
            self.change(subscription, |queue| queue.publish(encoded.iter().cloned(), published));
        }
        ids
    }

    pub(super) fn acknowledge(&self, subscription: &Subscription, ack_ids: &[String]) -> Result<(), ApiError> {
        let leases = leases(subscription, ack_ids)?;
        let now = Instant::now();
        self.change(subscription, |queue| {
            for lease in leases {
                if self.faults.loses_ack() {
                    queue.lose_ack();
                } else if let Some(acked) = queue.ack(lease)
                    && self.listeners.any()
                {
                    self.listeners.notify(&Event::Acknowledged {
                        subscription: &subscription.name,
                        message_id: &message::id(&acked.entry.message),
                        leased_for: now.saturating_duration_since(acked.granted),
                    });
                }
            }
        });
        Ok(())
    }

    /// Sets the ack deadlines to this many seconds from now; 0 nacks the messages.
    pub(super) fn modify_deadline(
        &self,
        subscription: &Subscription,
        ack_ids: &[String],
        seconds: i32,
    ) -> Result<(), ApiError> {
        let seconds = u64::try_from(seconds).ok().filter(|_| seconds <= MAX_EXTENSION_SECONDS).ok_or_else(|| {
            ApiError::invalid_argument(format_args!("The ack deadline must be between 0 and 600, not {seconds}"))
        })?;
        let leases = leases(subscription, ack_ids)?;
        let now = Instant::now();
        self.change(subscription, |queue| {
            for lease in leases {
                match seconds {
                    0 => queue.nack(lease, now),
                    _ => queue.extend(lease, now + Duration::from_secs(seconds)),
                }
            }
        });
        Ok(())
    }

    /// Seeks to a time. Snapshots are not supported.
    pub(super) fn seek(&self, subscription: &str, target: Option<Target>) -> Result<(), ApiError> {
        let subscription = self.subscription(subscription)?;
        match target {
            Some(Target::Time(time)) => {
                let time = SystemTime::try_from(time).map_err(ApiError::invalid_argument)?;
                self.change(&subscription, |queue| queue.seek(time, Instant::now()));
                Ok(())
            }
            Some(Target::Snapshot(_)) => Err(ApiError::unsupported("seek to a snapshot")),
            None => Err(ApiError::invalid_argument("A seek needs a time")),
        }
    }

    /// Runs one operation on a subscription and handles its effects.
    pub(super) fn change<R>(&self, subscription: &Subscription, operation: impl FnOnce(&mut Queue) -> R) -> R {
        let (result, next_event) = self.change_unscheduled(subscription, operation);
        if let Some(event) = next_event {
            self.timer.schedule(event);
        }
        result
    }

    /// Runs one operation like [`Broker::change`], but leaves it to the caller to schedule the next event.
    fn change_unscheduled<R>(
        &self,
        subscription: &Subscription,
        operation: impl FnOnce(&mut Queue) -> R,
    ) -> (R, Option<Instant>) {
        let (result, effects) = subscription.change(operation);
        for dead_letter in effects.dead_letters {
            self.forward_dead_letter(subscription, dead_letter);
        }
        (result, effects.next_event)
    }

    /// Forwards a message to the dead-letter topic, or requeues it if that topic does not exist.
    fn forward_dead_letter(&self, subscription: &Subscription, dead_letter: DeadLetter) {
        let topic = self.registry().subscriptions_of(&dead_letter.topic);
        match topic {
            Ok(subscriptions) => {
                let message =
                    message::dead_letter(&dead_letter.entry.message, &subscription.name, dead_letter.entry.attempts);
                self.fan_out(&dead_letter.topic, &subscriptions, vec![message]);
                self.change(subscription, |queue| queue.dead_letter_forwarded(dead_letter.entry));
            }
            Err(_) => self.change(subscription, |queue| queue.requeue(dead_letter.entry, Instant::now())),
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leases(subscription: &Subscription, ack_ids: &[String]) -> Result<Vec<LeaseId>, ApiError> {
    if ack_ids.is_empty() {
        return Err(ApiError::invalid_argument("No ack ids specified"));
    }
    subscription.leases(ack_ids)
}

#[expect(clippy::disallowed_methods, reason = "the server assigns publish times")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
