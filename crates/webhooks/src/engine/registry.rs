//! The endpoints that an instance uses at the moment, and the permits of their attempts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::breaker::Pass;
use crate::ids::EndpointId;
use crate::traffic::Traffic;

/// Locks a mutex. A panic elsewhere leaves counters that are still valid.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One endpoint in use.
pub(super) struct Entry {
    pub(super) traffic: Mutex<Traffic>,
    /// One permit per attempt. Waiters get them in order.
    pub(super) slots: Arc<Semaphore>,
    /// How many attempts of the backlog may run, so that first attempts always find a slot.
    pub(super) backlog_share: usize,
    /// The circuit opened: everything that waits is stored.
    pub(super) opened: Notify,
    pub(super) is_backlog_running: Mutex<bool>,
    pub(super) last_success: Mutex<Option<SystemTime>>,
}

#[derive(Default)]
pub(super) struct Registry {
    entries: Mutex<HashMap<EndpointId, Arc<Entry>>>,
}

impl Registry {
    pub(super) fn entry(&self, id: &EndpointId, max_concurrency: usize) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(id) {
            return Arc::clone(entry);
        }
        let max_concurrency = max_concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let entry = Arc::new(Entry {
            traffic: Mutex::new(Traffic::new(max_concurrency)),
            slots: Arc::new(Semaphore::new(max_concurrency)),
            backlog_share: (max_concurrency / 2).max(1),
            opened: Notify::new(),
            is_backlog_running: Mutex::new(false),
            last_success: Mutex::new(None),
        });
        entries.insert(id.clone(), Arc::clone(&entry));
        entry
    }

    /// Forgets endpoints that nothing uses and that have nothing to remember.
    pub(super) fn sweep(&self, now: Instant) {
        lock(&self.entries).retain(|_, entry| Arc::strong_count(entry) > 1 || !lock(&entry.traffic).is_new(now));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.entries).len()
    }
}

/// The bytes of one delivery in the queue of its endpoint and in the budget of all.
pub(super) struct QueuedBytes {
    pub(super) entry: Arc<Entry>,
    pub(super) all: Arc<AtomicUsize>,
    pub(super) bytes: usize,
}

impl Drop for QueuedBytes {
    fn drop(&mut self) {
        lock(&self.entry.traffic).leave(self.bytes);
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The right to run one attempt. Dropped without a result, it tells the circuit breaker so.
pub(super) struct Permit {
    pub(super) entry: Arc<Entry>,
    pub(super) pass: Pass,
    pub(super) has_result: bool,
    pub(super) _slot: OwnedSemaphorePermit,
    pub(super) _attempt: OwnedSemaphorePermit,
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.entry.traffic).end(self.pass, self.has_result, Instant::now());
    }
}
