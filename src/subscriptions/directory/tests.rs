use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use webhooks::EndpointStatus;

use super::super::fakes::{FakeTable, id, keys, other_keys, subscription};
use super::super::{Filter, Status, StoredSecret, Subscription};
use super::*;

#[derive(Default)]
struct FakeClock(AtomicU64);

impl Clock for FakeClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

struct Setup {
    table: FakeTable,
    clock: Arc<FakeClock>,
    watch: Arc<Watch>,
    directory: Directory<FakeTable>,
}

impl Setup {
    fn with_keys(keys: Arc<SecretKeys>) -> Setup {
        let (table, clock, watch) = (FakeTable::default(), Arc::<FakeClock>::default(), Arc::<Watch>::default());
        let directory = Directory::new(table.clone(), keys, clock.clone(), watch.clone());
        Setup { table, clock, watch, directory }
    }

    async fn endpoint(&self, name: &str) -> Endpoint {
        self.directory.get(&id(name)).await.unwrap().expect("it exists")
    }

    async fn reload(&self) {
        self.directory.reload(false).await.unwrap();
    }

    fn conditions(&self) -> Vec<Condition> {
        self.watch.health.conditions().into_iter().map(|(condition, _)| condition).collect()
    }
}

fn matching(directory: &Directory<FakeTable>) -> Vec<String> {
    let service = Key::new([1, 1, 1, 1].into(), 80, "HTTP");
    directory.matching(&service, Event::Opened).iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_change_of_the_table_is_seen_by_reading_only_its_bucket() {
    let setup = Setup::with_keys(keys());
    setup.table.put(subscription("a", Filter::default()));
    setup.directory.load().await.unwrap();
    assert_eq!(matching(&setup.directory), ["a"]);
    setup.table.state().reads.clear();
    setup.reload().await;
    assert!(setup.table.state().reads.is_empty());

    setup.table.put(subscription("b", Filter { ports: vec![80], ..Filter::default() }));
    setup.table.put(subscription("c", Filter { ports: vec![81], ..Filter::default() }));
    setup.reload().await;
    assert_eq!(setup.table.state().reads.len(), 2);
    assert_eq!(matching(&setup.directory), ["a", "b"]);

    setup.table.remove(&id("a")).await.unwrap();
    setup.reload().await;
    assert_eq!(matching(&setup.directory), ["b"]);
    assert!(setup.directory.get(&id("a")).await.unwrap().is_none());
}

#[tokio::test]
async fn only_active_and_paused_subscriptions_are_told() {
    let setup = Setup::with_keys(keys());
    for (name, status) in
        [("a", Status::Active), ("b", Status::Paused), ("c", Status::Disabled(DisabledReason::Failing))]
    {
        setup.table.put(Subscription { status, ..subscription(name, Filter::default()) });
    }
    setup.directory.load().await.unwrap();
    let mut told = matching(&setup.directory);
    told.sort();
    assert_eq!(told, ["a", "b"]);
    assert_eq!(setup.endpoint("b").await.status, EndpointStatus::Paused);
    assert_eq!(setup.endpoint("c").await.status, EndpointStatus::Disabled);
    let counts = setup.directory.counts();
    assert_eq!((counts.active, counts.paused, counts.disabled), (1, 1, 1));
    assert!(setup.directory.is_active(&id("a")) && !setup.directory.is_active(&id("b")));
}

#[tokio::test]
async fn an_unreadable_subscription_stays_as_it_was_and_makes_the_instance_unready() {
    let setup = Setup::with_keys(keys());
    setup.table.put(subscription("a", Filter::default()));
    setup.directory.load().await.unwrap();
    setup.table.make_unreadable(&id("a"));
    setup.table.make_unreadable(&id("b"));
    setup.reload().await;
    assert_eq!(matching(&setup.directory), ["a"]);
    assert_eq!((setup.directory.counts().unreadable, setup.conditions()), (2, vec![Condition::Unusable]));

    setup.table.put(subscription("a", Filter::default()));
    setup.table.put(subscription("b", Filter::default()));
    setup.reload().await;
    assert_eq!(setup.conditions(), []);
}

#[tokio::test]
async fn an_endpoint_whose_secrets_cannot_be_opened_is_paused_and_others_are_not() {
    let setup = Setup::with_keys(keys());
    let locked = other_keys().seal(&webhooks::Secret::generate(), &id("a"));
    let locked = vec![StoredSecret { sealed: locked, until: None }];
    setup.table.put(Subscription { secrets: locked, ..subscription("a", Filter::default()) });
    setup.table.put(subscription("b", Filter::default()));
    setup.directory.load().await.unwrap();
    assert_eq!(setup.endpoint("a").await.status, EndpointStatus::Paused);
    assert_eq!(setup.endpoint("b").await.status, EndpointStatus::Active);
    assert_eq!((setup.directory.counts().unopened, setup.conditions()), (1, vec![Condition::Unusable]));
}

#[tokio::test]
async fn an_older_secret_signs_until_its_end() {
    let setup = Setup::with_keys(keys());
    let mut rotated = subscription("a", Filter::default());
    let [newest, mut older] = [(); 2].map(|()| subscription("a", Filter::default()).secrets.remove(0));
    older.until = Some(100);
    rotated.secrets = vec![newest, older];
    setup.table.put(rotated);
    setup.directory.load().await.unwrap();
    setup.clock.0.store(99, Ordering::Relaxed);
    let both = setup.endpoint("a").await.secrets;
    setup.clock.0.store(100, Ordering::Relaxed);
    let one = setup.endpoint("a").await.secrets;
    assert!(both.len() == 2 && one == both[..1]);
}

#[tokio::test]
async fn what_the_engine_changes_is_seen_at_once() {
    let setup = Setup::with_keys(keys());
    setup.table.put(subscription("a", Filter::default()));
    setup.directory.load().await.unwrap();
    let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);

    // Another instance stored an earlier time.
    setup.table.mark_failing(&id("a"), 5).await.unwrap();
    setup.directory.mark_failing(&id("a"), time(7)).await.unwrap();
    assert_eq!(setup.endpoint("a").await.failing_since, Some(time(5)));
    setup.directory.clear_failing(&id("a")).await.unwrap();
    assert_eq!(setup.endpoint("a").await.failing_since, None);

    // It failed again since, so the time of this instance is old.
    setup.directory.mark_failing(&id("a"), time(7)).await.unwrap();
    setup.table.clear_failing(&id("a")).await.unwrap();
    let disable = async || setup.directory.disable(&id("a"), DisabledReason::Failing, Some(time(7))).await.unwrap();
    assert_eq!(disable().await, Changed::Refused);
    assert_eq!(setup.endpoint("a").await.failing_since, None);
    setup.directory.mark_failing(&id("a"), time(7)).await.unwrap();
    assert_eq!(disable().await, Changed::Applied);
    assert_eq!(setup.endpoint("a").await.status, EndpointStatus::Disabled);
}

#[tokio::test(start_paused = true)]
async fn while_the_table_is_away_the_subscriptions_stay_and_the_instance_is_unready() {
    let setup = Setup::with_keys(keys());
    setup.table.put(subscription("a", Filter::default()));
    setup.directory.load().await.unwrap();
    setup.table.state().is_away = true;
    let follow = setup.directory.follow(|| {});
    assert!(timeout(Duration::from_secs(30), follow).await.is_err());
    assert_eq!(
        (matching(&setup.directory), setup.conditions()),
        (vec!["a".to_owned()], vec![Condition::Subscriptions])
    );

    setup.table.state().is_away = false;
    setup.table.put(subscription("b", Filter::default()));
    let follow = setup.directory.follow(|| {});
    assert!(timeout(Duration::from_secs(5), follow).await.is_err());
    assert_eq!((matching(&setup.directory).len(), setup.conditions()), (2, vec![]));
}
