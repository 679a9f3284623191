//! The subscriptions at one time, with their index.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use ops::RateLimitedLog;
use webhooks::{DisabledReason, Endpoint, EndpointId, EndpointStatus, Secret, SecretKeys};

use crate::subscriptions::ports::{BUCKETS, Bucket, Versions};
use crate::subscriptions::{Index, Status, Subscription};

/// How many subscriptions there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub active: usize,
    pub paused: usize,
    pub disabled: usize,
    /// A newer program wrote them.
    pub unreadable: usize,
    /// None of their secrets can be opened. They also count by their status.
    pub unopened: usize,
}

pub(super) struct Snapshot {
    pub(super) versions: Versions,
    buckets: Vec<KnownBucket>,
    endpoints: HashMap<EndpointId, Arc<Known>>,
    pub(super) index: Index,
    pub(super) counts: Counts,
}

#[derive(Clone, Default)]
struct KnownBucket {
    known: Vec<Arc<Known>>,
    unreadable: usize,
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot {
            versions: [0; BUCKETS],
            buckets: vec![KnownBucket::default(); BUCKETS],
            endpoints: HashMap::new(),
            index: Index::default(),
            counts: Counts::default(),
        }
    }
}

impl Snapshot {
    pub(super) fn known(&self, id: &EndpointId) -> Option<&Known> {
        self.endpoints.get(id).map(Arc::as_ref)
    }

    /// Returns a snapshot with these buckets. A subscription that cannot be read stays as it was.
    pub(super) fn with(&self, buckets: Vec<(usize, Bucket)>, versions: Versions, keys: &SecretKeys) -> Snapshot {
        let mut all = self.buckets.clone();
        let unopened = RateLimitedLog::default();
        for (number, bucket) in buckets {
            let Bucket { subscriptions, unreadable } = bucket;
            let kept = all[number].known.iter().filter(|known| unreadable.iter().any(|id| id == known.id().as_str()));
            let kept: Vec<_> = kept.cloned().collect();
            let read = subscriptions.into_iter().map(|subscription| {
                let before = self.known(&subscription.id);
                Arc::new(Known::open(subscription, keys, before, &unopened))
            });
            all[number] = KnownBucket { known: read.chain(kept).collect(), unreadable: unreadable.len() };
        }
        let known = || all.iter().flat_map(|bucket| &bucket.known);
        // A disabled one gets nothing. What it missed is in the history.
        let told = known().filter(|known| !matches!(known.status(), Status::Disabled(_)));
        let index = Index::new(told.map(|known| (&known.subscription.id, &known.subscription.filter)));
        let endpoints = known().map(|known| (known.id().clone(), Arc::clone(known))).collect();
        let mut counts = Counts { unreadable: all.iter().map(|bucket| bucket.unreadable).sum(), ..Counts::default() };
        known().for_each(|known| counts.add(known));
        Snapshot { versions, buckets: all, endpoints, index, counts }
    }
}

impl Counts {
    fn add(&mut self, known: &Known) {
        *match known.status() {
            Status::Active => &mut self.active,
            Status::Paused => &mut self.paused,
            Status::Disabled(_) => &mut self.disabled,
        } += 1;
        self.unopened += usize::from(known.secrets.is_empty());
    }
}

/// A subscription with what the engine has changed since it was read.
pub(super) struct Known {
    subscription: Subscription,
    /// Those that can be opened, with their ends. The newest one is the first.
    secrets: Vec<(Secret, Option<u64>)>,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    status: Status,
    failing_since: Option<u64>,
}

impl Known {
    fn open(subscription: Subscription, keys: &SecretKeys, before: Option<&Known>, log: &RateLimitedLog) -> Known {
        let is_new = before.is_none_or(|before| before.subscription.revision != subscription.revision);
        let mut secrets = Vec::new();
        for stored in &subscription.secrets {
            match keys.open(&stored.sealed, &subscription.id) {
                Ok(secret) => secrets.push((secret, stored.until)),
                Err(error) if is_new => {
                    if let Some(suppressed) = log.due() {
                        let endpoint = subscription.id.as_str();
                        tracing::error!(endpoint, %error, suppressed, "cannot open a secret; rotate it, or add its key");
                    }
                }
                Err(_) => {}
            }
        }
        let state = State { status: subscription.status, failing_since: subscription.failing_since };
        Known { subscription, secrets, state: Mutex::new(state) }
    }

    fn id(&self) -> &EndpointId {
        &self.subscription.id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        self.state().status
    }

    pub(super) fn is_active(&self) -> bool {
        self.status() == Status::Active
    }

    pub(super) fn set_failing(&self, since: Option<u64>) {
        self.state().failing_since = since;
    }

    pub(super) fn set_disabled(&self, reason: DisabledReason) {
        self.state().status = Status::Disabled(reason);
    }

    /// Returns the endpoint with the secrets that sign now.
    pub(super) fn endpoint(&self, now: u64) -> Endpoint {
        let State { status, failing_since } = *self.state();
        let sign = self.secrets.iter().filter(|(_, until)| until.is_none_or(|until| now < until));
        let secrets: Vec<_> = sign.map(|(secret, _)| secret.clone()).collect();
        let status = match status {
            // An attempt without a secret would fail, and after the last one the delivery would be dead.
            Status::Active if secrets.is_empty() => EndpointStatus::Paused,
            Status::Active => EndpointStatus::Active,
            Status::Paused => EndpointStatus::Paused,
            Status::Disabled(_) => EndpointStatus::Disabled,
        };
        Endpoint {
            id: self.subscription.id.clone(),
            url: self.subscription.url.clone(),
            secrets,
            status,
            max_concurrency: self.subscription.max_concurrency.into(),
            max_per_second: self.subscription.max_per_second.map(f64::from),
            failing_since: failing_since.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)),
        }
    }
}
