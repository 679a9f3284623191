//! What operators and owners do with subscriptions. The command line and the API call it.

mod definition;
mod trial;

use std::time::{Duration, SystemTime};

use rand::Rng;
use tokio::time::{sleep, timeout};
use webhooks::{Changed, EndpointId, OpenError, Policy, Secret, SecretKeys};

use super::ports::{Page, Subscriptions};
use super::{Status, StoredSecret, Subscription, new_id};
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::scan::to_unix_seconds;

pub use definition::{DEFAULT_CONCURRENCY, Definition, InvalidDefinition, MAX_CONCURRENCY, MAX_PER_SECOND};
pub use trial::{TEST_TYPE, Trial};

/// How often a call of the table is made until its error is reported.
const MAX_ATTEMPTS: u32 = 4;
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const BACKOFF: Duration = Duration::from_millis(50);
/// How often an operation begins again because somebody else changed the subscription.
const MAX_CONFLICTS: u32 = 5;
/// The newest secret, and those before it that sign too because of rotations.
const MAX_SECRETS: usize = 3;

/// Which URLs are allowed, and the keys that encrypt secrets.
#[derive(Debug)]
pub struct Vault {
    pub policy: Policy,
    pub keys: SecretKeys,
}

/// Whose subscriptions may be seen and changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access<'a> {
    /// All of them.
    Operator,
    /// Only those of this owner. Others do not exist for it.
    Owner(&'a str),
}

impl Access<'_> {
    pub fn includes(self, subscription: &Subscription) -> bool {
        match self {
            Access::Operator => true,
            Access::Owner(owner) => subscription.owner == owner,
        }
    }
}

/// Why an operation failed. The texts contain neither a URL nor a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    #[error("there is no subscription {0}")]
    NotFound(EndpointId),
    #[error(transparent)]
    Invalid(#[from] InvalidDefinition),
    #[error("the owner has {max} subscriptions already; remove one first")]
    TooMany { max: usize },
    /// The caller saw another revision.
    #[error("the subscription has changed since it was read")]
    ReadBefore,
    #[error("others keep changing the subscription; repeat the request")]
    Contended,
    #[error("the signing secret cannot be decrypted: {0}")]
    Secret(OpenError),
    #[error("the table of subscriptions cannot be used: {}", .0.detail)]
    Store(StoreError),
    #[error("the table of deliveries cannot be used: {}", .0.detail)]
    Deliveries(StoreError),
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> OperationError {
        OperationError::Store(error)
    }
}

/// The operations on the subscriptions of a table.
#[derive(Debug)]
pub struct Operations<S> {
    subscriptions: S,
}

impl<S: Subscriptions> Operations<S> {
    pub fn new(subscriptions: S) -> Operations<S> {
        Operations { subscriptions }
    }

    /// Creates a subscription with a new secret.
    pub async fn add(
        &self,
        owner: &str,
        definition: Definition,
        vault: &Vault,
        now: SystemTime,
    ) -> Result<(Subscription, Secret), OperationError> {
        let definition = definition.checked(&vault.policy)?;
        let (id, secret, now) = (new_id(), Secret::generate(), to_unix_seconds(now));
        let mut subscription = Subscription {
            secrets: vec![StoredSecret { sealed: vault.keys.seal(&secret, &id), until: None }],
            id,
            owner: owner.to_owned(),
            description: String::new(),
            url: String::new(),
            filter: definition.filter.clone(),
            status: Status::Active,
            failing_since: None,
            max_concurrency: 0,
            max_per_second: None,
            created: now,
            updated: now,
            revision: 1,
        };
        definition.apply_to(&mut subscription);
        let created = repeat(|| self.subscriptions.create(&subscription)).await?;
        // The id is random, so the one that exists is that of an attempt whose answer was lost.
        if created == Changed::Refused && !self.is_stored(&subscription).await? {
            return Err(OperationError::Contended);
        }
        Ok((subscription, secret))
    }

    /// Returns a subscription.
    pub async fn get(&self, access: Access<'_>, id: &EndpointId) -> Result<Subscription, OperationError> {
        let found = repeat(|| self.subscriptions.get(id)).await?;
        found.filter(|found| access.includes(found)).ok_or_else(|| OperationError::NotFound(id.clone()))
    }

    /// Returns a page of the subscriptions of an owner, or of all. A change may be missing for seconds.
    pub async fn page(&self, owner: Option<&str>, after: Option<&EndpointId>) -> Result<Page, OperationError> {
        Ok(repeat(|| self.subscriptions.page(owner, after)).await?)
    }

    /// Fails if the owner has this many subscriptions. Some more may be created at the same time.
    pub async fn check_quota(&self, owner: &str, max: usize) -> Result<(), OperationError> {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.page(Some(owner), after.as_ref()).await?;
            count += page.subscriptions.len() + page.unreadable.len();
            if count >= max {
                return Err(OperationError::TooMany { max });
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Changes what the owner chooses. `edit` gets the current subscription, and again if somebody else changed it.
    pub async fn redefine(
        &self,
        access: Access<'_>,
        id: &EndpointId,
        vault: &Vault,
        now: SystemTime,
        edit: impl Fn(&Subscription) -> Result<Definition, OperationError> + Send + Sync,
    ) -> Result<Subscription, OperationError> {
        let change = |subscription: &mut Subscription| {
            edit(subscription)?.checked(&vault.policy)?.apply_to(subscription);
            Ok(())
        };
        self.change(access, id, now, change).await
    }

    /// Stores deliveries until the subscription is active again.
    pub async fn pause(
        &self,
        access: Access<'_>,
        id: &EndpointId,
        now: SystemTime,
    ) -> Result<Subscription, OperationError> {
        self.set_status(access, id, Status::Paused, now).await
    }

    /// Delivers again, also if the subscription was disabled.
    pub async fn resume(
        &self,
        access: Access<'_>,
        id: &EndpointId,
        now: SystemTime,
    ) -> Result<Subscription, OperationError> {
        self.set_status(access, id, Status::Active, now).await
    }

    /// Makes a new secret. Those before also sign until `keep` has passed, if they do not end earlier. Encrypts all of them with
    /// the newest key, and leaves out those that no key opens.
    pub async fn rotate(
        &self,
        access: Access<'_>,
        id: &EndpointId,
        keep: Duration,
        vault: &Vault,
        now: SystemTime,
    ) -> Result<(Subscription, Secret), OperationError> {
        let secret = Secret::generate();
        let now_seconds = to_unix_seconds(now);
        let until = now_seconds.saturating_add(keep.as_secs());
        let change = |subscription: &mut Subscription| {
            let newest = StoredSecret { sealed: vault.keys.seal(&secret, id), until: None };
            let old = subscription.secrets.drain(..).filter_map(|old| {
                let opened = vault.keys.open(&old.sealed, id).ok()?;
                let until = old.until.map_or(until, |end| end.min(until));
                let sealed = vault.keys.seal(&opened, id);
                (until > now_seconds).then_some(StoredSecret { sealed, until: Some(until) })
            });
            subscription.secrets = std::iter::once(newest).chain(old).take(MAX_SECRETS).collect();
            Ok(())
        };
        Ok((self.change(access, id, now, change).await?, secret))
    }

    /// Removes a subscription. Its deliveries that wait are deleted when they are due.
    pub async fn remove(&self, access: Access<'_>, id: &EndpointId) -> Result<(), OperationError> {
        match self.get(access, id).await {
            // An operator may remove an item that this version cannot read.
            Err(OperationError::Store(StoreError { kind: StoreErrorKind::ForeignRow, .. }))
                if access == Access::Operator => {}
            found => _ = found?,
        }
        // If it is refused, somebody else removed it at the same time.
        repeat(|| self.subscriptions.remove(id)).await?;
        Ok(())
    }

    async fn set_status(
        &self,
        access: Access<'_>,
        id: &EndpointId,
        status: Status,
        now: SystemTime,
    ) -> Result<Subscription, OperationError> {
        let change = |subscription: &mut Subscription| {
            subscription.status = status;
            if status == Status::Active {
                subscription.failing_since = None;
            }
            Ok(())
        };
        self.change(access, id, now, change).await
    }

    /// Applies a change to the current revision. Writes nothing if it changes nothing.
    async fn change(
        &self,
        access: Access<'_>,
        id: &EndpointId,
        now: SystemTime,
        change: impl Fn(&mut Subscription) -> Result<(), OperationError> + Send + Sync,
    ) -> Result<Subscription, OperationError> {
        for _ in 0..MAX_CONFLICTS {
            let read = self.get(access, id).await?;
            let mut changed = read.clone();
            change(&mut changed)?;
            if changed == read {
                return Ok(read);
            }
            changed.updated = to_unix_seconds(now);
            changed.revision += 1;
            let replaced = repeat(|| self.subscriptions.replace(&changed)).await?;
            if replaced == Changed::Applied || self.is_stored(&changed).await? {
                return Ok(changed);
            }
        }
        Err(OperationError::Contended)
    }

    /// Whether the table has this revision, e.g. because the answer to an earlier attempt was lost.
    async fn is_stored(&self, wanted: &Subscription) -> Result<bool, OperationError> {
        let stored = repeat(|| self.subscriptions.get(&wanted.id)).await?;
        // An instance may have marked it as failing meanwhile.
        let stored = stored.map(|stored| Subscription { failing_since: wanted.failing_since, ..stored });
        Ok(stored.as_ref() == Some(wanted))
    }
}

/// Makes a call, and again after errors that pass.
pub(super) async fn repeat<T, F: Future<Output = Result<T, StoreError>> + Send>(
    call: impl Fn() -> F + Send,
) -> Result<T, StoreError> {
    for attempt in 1.. {
        let error = match timeout(CALL_TIMEOUT, call()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => StoreError::no_answer(CALL_TIMEOUT),
        };
        if attempt == MAX_ATTEMPTS || !may_pass(error.kind) {
            return Err(error);
        }
        let pause = rand::rng().random_range(Duration::ZERO..BACKOFF * 2_u32.pow(attempt));
        sleep(pause).await;
    }
    unreachable!("the last attempt returns")
}

fn may_pass(kind: StoreErrorKind) -> bool {
    matches!(
        kind,
        StoreErrorKind::Unavailable
            | StoreErrorKind::OpenFiles
            | StoreErrorKind::Throttled
            | StoreErrorKind::HotKey
            | StoreErrorKind::Conflict
    )
}

#[cfg(test)]
mod tests;
