//! All subscriptions in memory, with their opened secrets. Reloads the buckets of the table that changed.

mod snapshot;

use std::future::Future;
use std::mem::replace;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, timeout};
use webhooks::{Changed, Clock, DisabledReason, Endpoint, EndpointId, EndpointStore, SecretKeys, StoreError as Failed};

use super::ports::{BUCKETS, Bucket, Subscriptions};
use crate::changes::{Condition, Event, Watch};
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::scan::{Key, to_unix_seconds};
pub use snapshot::Counts;
use snapshot::{Known, Snapshot};

const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// All buckets are reloaded this often, for changes without a version.
const FULL_INTERVAL: Duration = Duration::from_secs(3600);
/// Below the limit of the engine, which gives up a request without its error.
const CALL_TIMEOUT: Duration = Duration::from_millis(2_800);
/// A bucket may have several pages.
const BUCKET_TIMEOUT: Duration = Duration::from_secs(20);
const PARALLEL_BUCKETS: usize = 8;

/// The subscriptions of the table. Clones share them.
pub struct Directory<S>(Arc<Shared<S>>);

struct Shared<S> {
    table: S,
    keys: Arc<SecretKeys>,
    clock: Arc<dyn Clock>,
    watch: Arc<Watch>,
    snapshot: RwLock<Arc<Snapshot>>,
}

impl<S> Clone for Directory<S> {
    fn clone(&self) -> Directory<S> {
        Directory(Arc::clone(&self.0))
    }
}

impl<S: Subscriptions> Directory<S> {
    /// Returns a directory without subscriptions. [`Directory::load`] must succeed before it is used.
    pub fn new(table: S, keys: Arc<SecretKeys>, clock: Arc<dyn Clock>, watch: Arc<Watch>) -> Directory<S> {
        let snapshot = RwLock::default();
        Directory(Arc::new(Shared { table, keys, clock, watch, snapshot }))
    }

    /// Reads all subscriptions.
    pub async fn load(&self) -> Result<(), StoreError> {
        self.reload(true).await
    }

    /// Reads what changed, again and again, until it is dropped. Calls `reloaded` after each try.
    pub async fn follow(&self, reloaded: impl Fn()) {
        let mut loaded = Instant::now();
        loop {
            sleep(RELOAD_INTERVAL).await;
            let is_full = loaded.elapsed() >= FULL_INTERVAL;
            if self.reload(is_full).await.is_ok() && is_full {
                loaded = Instant::now();
            }
            reloaded();
        }
    }

    /// Returns the endpoints that are told of a change.
    pub fn matching(&self, service: &Key, event: Event) -> Vec<EndpointId> {
        self.snapshot().index.matching(service, event).into_iter().cloned().collect()
    }

    pub fn counts(&self) -> Counts {
        self.snapshot().counts
    }

    /// Whether deliveries to this endpoint are attempted.
    pub fn is_active(&self, id: &EndpointId) -> bool {
        self.snapshot().known(id).is_some_and(|known| known.is_active())
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> u64 {
        to_unix_seconds(self.0.clock.now())
    }

    async fn reload(&self, is_full: bool) -> Result<(), StoreError> {
        let result = self.read_moved(is_full).await;
        self.0.watch.called_subscriptions(result.as_ref().err());
        result
    }

    async fn read_moved(&self, is_full: bool) -> Result<(), StoreError> {
        // A change between the two reads moves the version again, so it is read again.
        let versions = within(CALL_TIMEOUT, self.0.table.versions()).await?;
        let old = self.snapshot();
        let moved: Vec<usize> = (0..BUCKETS).filter(|n| is_full || old.versions[*n] != versions[*n]).collect();
        if moved.is_empty() {
            return Ok(());
        }
        let mut buckets = Vec::with_capacity(moved.len());
        for some in moved.chunks(PARALLEL_BUCKETS) {
            buckets.extend(try_join_all(some.iter().map(|number| Box::pin(self.bucket(*number)))).await?);
        }
        let keys = Arc::clone(&self.0.keys);
        // The secrets and the index of 100,000 subscriptions take a while.
        let built = tokio::task::spawn_blocking(move || old.with(buckets, versions, &keys)).await;
        let built = built.map_err(|panic| StoreError {
            kind: StoreErrorKind::Unavailable,
            detail: format!("cannot prepare the subscriptions: {panic}"),
        });
        let built = Arc::new(built?);
        self.report_unusable(built.counts);
        let before = replace(&mut *self.0.snapshot.write().unwrap_or_else(PoisonError::into_inner), built);
        tokio::task::spawn_blocking(move || drop(before));
        Ok(())
    }

    async fn bucket(&self, number: usize) -> Result<(usize, Bucket), StoreError> {
        Ok((number, within(BUCKET_TIMEOUT, self.0.table.bucket(number)).await?))
    }

    fn report_unusable(&self, counts: Counts) {
        let Counts { unreadable, unopened, .. } = counts;
        if unreadable + unopened == 0 {
            return self.0.watch.health.clear(Condition::Unusable);
        }
        let detail = format!(
            "{unreadable} cannot be read, so upgrade this program; the secrets of {unopened} cannot be opened, so add their \
             key to the file of --secret-key-file, or rotate them. Their deliveries are stored"
        );
        self.0.watch.health.raise(Condition::Unusable, "Unusable", &detail);
    }

    /// Makes a call for one endpoint of the engine.
    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, Failed> {
        let result = within(CALL_TIMEOUT, call).await;
        self.0.watch.called_subscriptions(result.as_ref().err());
        result.map_err(|error| Failed(error.into()))
    }

    fn change(&self, id: &EndpointId, change: impl FnOnce(&Known)) {
        if let Some(known) = self.snapshot().known(id) {
            change(known);
        }
    }
}

impl<S: Subscriptions> EndpointStore for Directory<S> {
    async fn get(&self, id: &EndpointId) -> Result<Option<Endpoint>, Failed> {
        Ok(self.snapshot().known(id).map(|known| known.endpoint(self.now())))
    }

    async fn mark_failing(&self, id: &EndpointId, since: SystemTime) -> Result<(), Failed> {
        let stored = self.call(self.0.table.mark_failing(id, to_unix_seconds(since))).await?;
        self.change(id, |known| known.set_failing(stored));
        Ok(())
    }

    async fn clear_failing(&self, id: &EndpointId) -> Result<(), Failed> {
        self.call(self.0.table.clear_failing(id)).await?;
        self.change(id, |known| known.set_failing(None));
        Ok(())
    }

    async fn disable(
        &self,
        id: &EndpointId,
        reason: DisabledReason,
        failing_since: Option<SystemTime>,
    ) -> Result<Changed, Failed> {
        let disable = self.0.table.disable(id, reason, failing_since.map(to_unix_seconds), self.now());
        let changed = self.call(disable).await?;
        match changed {
            Changed::Applied => self.change(id, |known| known.set_disabled(reason)),
            Changed::Refused => {
                // Another instance changed it, e.g. after a success.
                let stored = self.call(self.0.table.get(id)).await?;
                let failing_since = stored.and_then(|subscription| subscription.failing_since);
                self.change(id, |known| known.set_failing(failing_since));
            }
        }
        Ok(changed)
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
    timeout(limit, call).await.unwrap_or_else(|_| Err(StoreError::no_answer(limit)))
}

#[cfg(test)]
mod tests;
