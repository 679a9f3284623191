//! Delivers events: the first attempt from memory, all others from the store.

mod attempt;
mod backlog;
mod first;
mod registry;

use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::delivery::{DeadReason, Delivery, StoredDelivery, Token};
use crate::ports::{Clock, DeliveryStore, EndpointStore, Observer, Report, StoreError};
use crate::sender::Sender;
use crate::settings::Settings;
use registry::{Registry, lock};

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// The endpoint has it. Nothing was written.
    Delivered,
    /// The store has it. The checkpoint may pass it.
    Stored,
    /// The store has it as a dead delivery. The checkpoint may pass it.
    Dead(DeadReason),
    /// The engine stops, and did not try. The next owner of the record delivers it.
    Draining,
    /// A store is away. Deliver it again later.
    Unavailable,
}

impl Handled {
    /// Whether the checkpoint may pass the record.
    pub fn is_durable(self) -> bool {
        matches!(self, Handled::Delivered | Handled::Stored | Handled::Dead(_))
    }
}

/// Delivers events to endpoints. Dropping it ends all attempts.
pub struct Engine<D, E, S> {
    shared: Arc<Shared<D, E, S>>,
    tasks: Mutex<JoinSet<()>>,
}

struct Shared<D, E, S> {
    deliveries: D,
    endpoints: E,
    sender: S,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    settings: Settings,
    registry: Registry,
    attempts: Arc<Semaphore>,
    bytes: Arc<AtomicUsize>,
    draining: watch::Sender<bool>,
    random: Mutex<StdRng>,
}

impl<D: DeliveryStore, E: EndpointStore, S: Sender> Engine<D, E, S> {
    pub fn new(
        (deliveries, endpoints): (D, E),
        sender: S,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
        settings: Settings,
    ) -> Engine<D, E, S> {
        let shared = Shared {
            deliveries,
            endpoints,
            sender,
            clock,
            observer,
            registry: Registry::default(),
            attempts: Arc::new(Semaphore::new(settings.max_attempts.clamp(1, Semaphore::MAX_PERMITS))),
            bytes: Arc::new(AtomicUsize::new(0)),
            draining: watch::Sender::new(false),
            random: Mutex::new(StdRng::from_os_rng()),
            settings,
        };
        Engine { shared: Arc::new(shared), tasks: Mutex::new(JoinSet::new()) }
    }

    /// Makes the jitter and the tokens repeatable.
    #[cfg(test)]
    pub(crate) fn with_seed(self, seed: u64) -> Self {
        *lock(&self.shared.random) = StdRng::seed_from_u64(seed);
        self
    }

    /// Delivers an event, or makes it durable. `read_at` is when its record was read. The future may be dropped at any time,
    /// e.g. when the lease of the record is lost: then nothing is written, and a running attempt ends.
    pub async fn deliver(&self, delivery: Delivery, read_at: Instant) -> Handled {
        let deadline = read_at + self.shared.settings.handle_within;
        let give_up = deadline.max(Instant::now()) + self.shared.settings.store_patience;
        // The future of the caller stays small.
        let delivering = Box::pin(self.deliver_first(delivery, deadline));
        timeout_at(give_up, delivering).await.unwrap_or(Handled::Unavailable)
    }

    /// Delivers the backlogs until `stop` ends, and then drains: nothing new starts, and running attempts go on for
    /// [`Settings::drain_timeout`].
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.deliver_backlogs() => {}
        }
        self.shared.draining.send_replace(true);
        let ended = poll_fn(|context| {
            let mut tasks = lock(&self.tasks);
            while ready!(tasks.poll_join_next(context)).is_some() {}
            Poll::Ready(())
        });
        let _ = timeout(self.shared.settings.drain_timeout, ended).await;
        lock(&self.tasks).abort_all();
    }

    #[cfg(test)]
    pub(crate) fn endpoints_in_memory(&self) -> usize {
        self.shared.registry.len()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }
}

impl<D, E, S> Shared<D, E, S> {
    fn report(&self, report: Report<'_>) {
        self.observer.report(&report);
    }

    fn random(&self) -> f64 {
        lock(&self.random).random()
    }

    fn token(&self) -> Token {
        Token(lock(&self.random).random())
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    async fn drained(&self) {
        // The sender is part of `self`, so this cannot fail.
        let _ = self.draining.subscribe().wait_for(|is_draining| *is_draining).await;
    }

    /// Makes one request to a store. A request without an answer would hold its delivery for ever.
    async fn request<T>(&self, request: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let limit = self.settings.store_timeout;
        let answer = timeout(limit, request).await;
        let answer = answer.unwrap_or_else(|_| Err(StoreError(format!("no answer within {limit:?}").into())));
        if let Err(error) = &answer {
            self.report(Report::StoreFailed { error });
        }
        answer
    }

    async fn wait_after_failure(&self, failures: u32) {
        let doubled = Duration::from_millis(100).saturating_mul(1 << failures.min(5));
        sleep(doubled.mul_f64(0.5 + self.random() / 2.0)).await;
    }

    fn claimed_until(&self) -> SystemTime {
        self.clock.now() + self.settings.claim
    }

    fn new_item(&self, delivery: &Delivery, due: SystemTime) -> StoredDelivery {
        let created = self.clock.now();
        StoredDelivery { delivery: delivery.clone(), created, attempts: 0, due, token: self.token(), last: None }
    }
}

impl<D: DeliveryStore, E: EndpointStore, S: Sender> Shared<D, E, S> {
    /// Writes a delivery, until the store answers.
    async fn insert(&self, item: &StoredDelivery) {
        for failures in 0.. {
            if self.request(self.deliveries.insert(item)).await.is_ok() {
                return;
            }
            self.wait_after_failure(failures).await;
        }
    }

    /// Stores a dead delivery, until the store answers.
    async fn store_dead(&self, item: &StoredDelivery, reason: DeadReason) {
        for failures in 0.. {
            if self.request(self.deliveries.store_dead(item, reason)).await.is_ok() {
                let (endpoint, id) = (&item.delivery.endpoint, &item.delivery.id);
                return self.report(Report::Dead { endpoint, id, reason });
            }
            self.wait_after_failure(failures).await;
        }
    }
}

/// Ends a task when it is dropped.
struct AbortOnDrop(Option<AbortHandle>);

impl AbortOnDrop {
    fn keep_running(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
