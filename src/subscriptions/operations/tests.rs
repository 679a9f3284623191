//! The operations on a table in memory, whose answers may be lost.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use webhooks::{Answer, DisabledReason, Failure, Post, Sender};

use super::*;
use crate::subscriptions::Filter;
use crate::subscriptions::ports::{Bucket, Versions};

/// A table in memory. It applies the next call without an answer if `loses_answer` is set.
#[derive(Default)]
struct Memory {
    items: Mutex<BTreeMap<EndpointId, Subscription>>,
    loses_answer: Mutex<bool>,
    /// Somebody else's change before the next replacement.
    others: Mutex<Option<u64>>,
}

impl Memory {
    fn answer<T>(&self, value: T) -> Result<T, StoreError> {
        let is_lost = std::mem::take(&mut *self.loses_answer.lock().unwrap());
        if is_lost { Err(StoreError::no_answer(CALL_TIMEOUT)) } else { Ok(value) }
    }
}

impl Subscriptions for Memory {
    async fn versions(&self) -> Result<Versions, StoreError> {
        unreachable!("no operation reads them")
    }

    async fn bucket(&self, _: usize) -> Result<Bucket, StoreError> {
        unreachable!("no operation reads one")
    }

    async fn page(&self, owner: Option<&str>, after: Option<&EndpointId>) -> Result<Page, StoreError> {
        let items = self.items.lock().unwrap();
        let is_listed = |item: &&Subscription| {
            after.is_none_or(|after| item.id > *after) && owner.is_none_or(|owner| item.owner == owner)
        };
        let found = items.values().find(is_listed).cloned();
        let next = found.as_ref().map(|found| found.id.clone());
        Ok(Page { subscriptions: found.into_iter().collect(), unreadable: Vec::new(), next })
    }

    async fn get(&self, id: &EndpointId) -> Result<Option<Subscription>, StoreError> {
        Ok(self.items.lock().unwrap().get(id).cloned())
    }

    async fn create(&self, subscription: &Subscription) -> Result<Changed, StoreError> {
        let mut items = self.items.lock().unwrap();
        if items.contains_key(&subscription.id) {
            return self.answer(Changed::Refused);
        }
        items.insert(subscription.id.clone(), subscription.clone());
        self.answer(Changed::Applied)
    }

    async fn replace(&self, subscription: &Subscription) -> Result<Changed, StoreError> {
        let mut items = self.items.lock().unwrap();
        let Some(item) = items.get_mut(&subscription.id) else { return Ok(Changed::Refused) };
        if let Some(left) = &mut *self.others.lock().unwrap()
            && *left > 0
        {
            *left -= 1;
            item.revision += 1;
        }
        if item.revision + 1 != subscription.revision {
            return self.answer(Changed::Refused);
        }
        *item = subscription.clone();
        self.answer(Changed::Applied)
    }

    async fn remove(&self, id: &EndpointId) -> Result<Changed, StoreError> {
        let removed = self.items.lock().unwrap().remove(id);
        self.answer(if removed.is_some() { Changed::Applied } else { Changed::Refused })
    }

    async fn mark_failing(&self, _: &EndpointId, _: u64) -> Result<Option<u64>, StoreError> {
        unreachable!("no operation marks")
    }

    async fn clear_failing(&self, _: &EndpointId) -> Result<(), StoreError> {
        unreachable!("no operation clears")
    }

    async fn disable(&self, _: &EndpointId, _: DisabledReason, _: Option<u64>, _: u64) -> Result<Changed, StoreError> {
        unreachable!("no operation disables")
    }
}

/// An endpoint that verifies signatures by these secrets.
struct Receiver(Vec<Secret>);

impl Sender for Receiver {
    async fn send(&self, post: Post) -> Result<Answer, Failure> {
        let signature = post.signature.unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(post.timestamp);
        let headers = (post.id.as_str(), &*post.timestamp.to_string(), signature.as_str());
        for secret in &self.0 {
            webhooks::verify(std::slice::from_ref(secret), headers, &post.body, at, Duration::ZERO).unwrap();
        }
        assert_eq!(signature.split(' ').count(), self.0.len());
        Ok(Answer { status: 204, retry_after: None, body: Default::default() })
    }
}

fn keys(byte: u8) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode([byte; 32])
}

fn vault() -> Vault {
    Vault { policy: Policy::default(), keys: SecretKeys::parse(&keys(1)).unwrap() }
}

fn definition(url: &str) -> Definition {
    Definition {
        description: "test".to_owned(),
        url: url.to_owned(),
        filter: Filter::default(),
        max_concurrency: DEFAULT_CONCURRENCY,
        max_per_second: None,
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_740_298_125 + seconds)
}

const OPERATOR: Access<'_> = Access::Operator;
const URL: &str = "https://example.com/hook";

async fn added() -> (Operations<Memory>, EndpointId, Secret) {
    let operations = Operations::new(Memory::default());
    let (subscription, secret) = operations.add("ann", definition(URL), &vault(), at(0)).await.unwrap();
    (operations, subscription.id, secret)
}

impl Operations<Memory> {
    fn lose_an_answer(&self) {
        *self.subscriptions.loses_answer.lock().unwrap() = true;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_loses_neither_a_secret_nor_a_change() {
    let operations = Operations::new(Memory::default());
    operations.lose_an_answer();
    let (subscription, secret) = operations.add("ann", definition(URL), &vault(), at(0)).await.unwrap();
    let id = subscription.id;
    assert_eq!(operations.subscriptions.items.lock().unwrap().len(), 1);
    operations.lose_an_answer();
    let (_, newest) = operations.rotate(OPERATOR, &id, Duration::from_secs(60), &vault(), at(1)).await.unwrap();
    let receiver = Receiver(vec![newest, secret]);
    assert!(operations.test(OPERATOR, &id, &vault(), &receiver, at(2)).await.unwrap().is_accepted());
    operations.lose_an_answer();
    operations.remove(OPERATOR, &id).await.unwrap();
    assert_eq!(operations.get(OPERATOR, &id).await, Err(OperationError::NotFound(id)));
}

#[tokio::test(start_paused = true)]
async fn during_a_rotation_older_secrets_sign_until_they_end() {
    let (operations, id, first) = added().await;
    let hour = Duration::from_secs(3600);
    let (_, second) = operations.rotate(OPERATOR, &id, hour, &vault(), at(10)).await.unwrap();
    let both = Receiver(vec![second.clone(), first]);
    operations.test(OPERATOR, &id, &vault(), &both, at(3609)).await.unwrap();
    operations.test(OPERATOR, &id, &vault(), &Receiver(vec![second.clone()]), at(3610)).await.unwrap();
    let (_, third) = operations.rotate(OPERATOR, &id, hour, &vault(), at(3000)).await.unwrap();
    let (rotated, fourth) = operations.rotate(OPERATOR, &id, hour, &vault(), at(3001)).await.unwrap();
    assert_eq!(rotated.secrets.len(), 3);
    let three = Receiver(vec![fourth.clone(), third, second]);
    operations.test(OPERATOR, &id, &vault(), &three, at(3002)).await.unwrap();
    operations.test(OPERATOR, &id, &vault(), &Receiver(vec![fourth]), at(6601)).await.unwrap();
    let (rotated, fifth) = operations.rotate(OPERATOR, &id, Duration::ZERO, &vault(), at(6602)).await.unwrap();
    assert_eq!(rotated.secrets.len(), 1);
    operations.test(OPERATOR, &id, &vault(), &Receiver(vec![fifth]), at(6602)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_begins_again_after_that_of_somebody_else_and_gives_up_at_last() {
    let (operations, id, _) = added().await;
    *operations.subscriptions.others.lock().unwrap() = Some(2);
    let paused = operations.pause(OPERATOR, &id, at(1)).await.unwrap();
    assert_eq!((paused.status, paused.revision, paused.updated), (Status::Paused, 4, 1_740_298_126));
    // Nothing to change, nothing to write.
    assert_eq!(operations.pause(OPERATOR, &id, at(2)).await.unwrap(), paused);
    *operations.subscriptions.others.lock().unwrap() = Some(100);
    assert_eq!(operations.resume(OPERATOR, &id, at(3)).await, Err(OperationError::Contended));
}

#[tokio::test(start_paused = true)]
async fn an_owner_sees_and_changes_only_its_own_subscriptions() {
    let (operations, id, _) = added().await;
    let (ann, bob) = (Access::Owner("ann"), Access::Owner("bob"));
    assert!(operations.get(ann, &id).await.is_ok());
    assert_eq!(operations.page(Some("ann"), None).await.unwrap().subscriptions.len(), 1);
    assert_eq!(operations.page(Some("bob"), None).await.unwrap().subscriptions.len(), 0);
    assert_eq!(operations.check_quota("ann", 2).await, Ok(()));
    assert_eq!(operations.check_quota("ann", 1).await, Err(OperationError::TooMany { max: 1 }));
    let missing = Err(OperationError::NotFound(id.clone()));
    assert_eq!(operations.get(bob, &id).await, missing);
    assert_eq!(operations.pause(bob, &id, at(1)).await, missing);
    assert_eq!(operations.remove(bob, &id).await, Err(OperationError::NotFound(id.clone())));
    assert!(operations.rotate(bob, &id, Duration::ZERO, &vault(), at(1)).await.is_err());
    assert!(operations.test(bob, &id, &vault(), &Receiver(Vec::new()), at(1)).await.is_err());
    assert!(operations.get(ann, &id).await.unwrap().revision == 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_url_or_a_resumption_forgets_the_failures_before() {
    let (operations, id, _) = added().await;
    let fail = || {
        let mut items = operations.subscriptions.items.lock().unwrap();
        let item = items.get_mut(&id).unwrap();
        item.failing_since = Some(1);
        item.status = Status::Disabled(DisabledReason::Failing);
    };
    fail();
    let renamed = Definition { description: "other".to_owned(), ..definition(URL) };
    let changed = operations.redefine(OPERATOR, &id, &vault(), at(1), |_| Ok(renamed.clone())).await.unwrap();
    assert_eq!((changed.failing_since, &*changed.description), (Some(1), "other"));
    let moved = definition("https://example.org/");
    let changed = operations.redefine(OPERATOR, &id, &vault(), at(2), |_| Ok(moved.clone())).await.unwrap();
    assert_eq!(changed.failing_since, None);
    fail();
    let resumed = operations.resume(OPERATOR, &id, at(3)).await.unwrap();
    assert_eq!((resumed.failing_since, resumed.status), (None, Status::Active));
    let refused = |current: &Subscription| {
        assert_eq!(current.url, "https://example.org/");
        Ok(definition("http://169.254.169.254/"))
    };
    let refused = operations.redefine(OPERATOR, &id, &vault(), at(4), refused).await.unwrap_err();
    assert!(matches!(refused, OperationError::Invalid(InvalidDefinition::Url(_))), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_encrypts_with_the_newest_key_and_needs_no_lost_one() {
    let (operations, id, first) = added().await;
    let with_keys = |lines: &str| Vault { policy: Policy::default(), keys: SecretKeys::parse(lines).unwrap() };
    let (both, newest) = (with_keys(&format!("{}\n{}", keys(2), keys(1))), with_keys(&keys(2)));
    let unopened = operations.test(OPERATOR, &id, &newest, &Receiver(Vec::new()), at(1)).await.unwrap_err();
    assert_eq!(unopened, OperationError::Secret(OpenError::MissingKey));
    let day = Duration::from_secs(24 * 60 * 60);
    let (_, second) = operations.rotate(OPERATOR, &id, day, &both, at(1)).await.unwrap();
    let receiver = Receiver(vec![second, first]);
    assert!(operations.test(OPERATOR, &id, &newest, &receiver, at(2)).await.unwrap().is_accepted());
    let lost = with_keys(&keys(3));
    let (rotated, third) = operations.rotate(OPERATOR, &id, day, &lost, at(3)).await.unwrap();
    assert_eq!(rotated.secrets.len(), 1);
    assert!(operations.test(OPERATOR, &id, &lost, &Receiver(vec![third]), at(3)).await.unwrap().is_accepted());
}
