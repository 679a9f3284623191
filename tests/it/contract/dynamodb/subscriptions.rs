//! The table of subscriptions.

use std::collections::BTreeSet;

use mini_scan::changes::Event;
use mini_scan::consumer::ports::StoreErrorKind;
use mini_scan::dynamo::{SideTable, SubscriptionTable, create_table};
use mini_scan::subscriptions::ports::{BUCKETS, Subscriptions, Versions};
use mini_scan::subscriptions::{Filter, Status, StoredSecret, Subscription, new_id};
use webhooks::{Changed, DisabledReason, EndpointId, SealedSecret};

use crate::support::dynamo::{Dynamo, Item, number, text};
use crate::support::dynamo_proxy::{Action, DynamoProxy};
use crate::support::{unique, with_timeout};

struct Table {
    dynamo: Dynamo,
    name: String,
    subscriptions: SubscriptionTable,
}

impl Table {
    async fn new() -> Table {
        let (dynamo, name) = (Dynamo::connect(), unique("webhooks"));
        let create = create_table(&dynamo.client, SideTable::Subscriptions.spec(), &name);
        with_timeout("a table of subscriptions", create).await.expect("the table is created");
        let subscriptions = SubscriptionTable::new(dynamo.client.clone(), name.clone());
        Table { dynamo, name, subscriptions }
    }

    async fn create(&self, subscription: &Subscription) {
        assert_eq!(self.subscriptions.create(subscription).await, Ok(Changed::Applied));
    }

    async fn get(&self, id: &EndpointId) -> Option<Subscription> {
        self.subscriptions.get(id).await.expect("the table answers")
    }

    async fn versions(&self) -> Versions {
        self.subscriptions.versions().await.expect("the table answers")
    }

    /// Returns how many versions moved by one. Panics if one moved by more.
    async fn moved_since(&self, before: &Versions) -> u64 {
        let after = self.versions().await;
        let moved = after.iter().zip(before).map(|(after, before)| after - before);
        moved.inspect(|moved| assert!(*moved <= 1)).sum()
    }

    async fn item(&self, id: &EndpointId) -> Item {
        let items = self.dynamo.client.scan().table_name(&self.name).consistent_read(true).send().await;
        let items = items.expect("the table is read").items.unwrap_or_default();
        items.into_iter().find(|item| item["id"] == text(id.as_str())).expect("the subscription")
    }

    /// Makes a subscription one of a newer version.
    async fn make_unreadable(&self, id: &EndpointId) {
        let mut item = self.item(id).await;
        item.insert("v".to_owned(), number(2));
        self.dynamo.put(&self.name, item).await;
    }
}

fn subscription(owner: &str) -> Subscription {
    Subscription {
        id: new_id(),
        owner: owner.to_owned(),
        description: String::new(),
        url: "https://hooks.test/scan".to_owned(),
        filter: Filter {
            networks: vec!["10.1.0.0/16".parse().expect("a network"), "2001:db8::/32".parse().expect("a network")],
            ports: vec![80, 443],
            services: vec!["HTTP".to_owned()],
            events: vec![Event::Opened, Event::Closed],
        },
        status: Status::Active,
        secrets: vec![
            StoredSecret { sealed: SealedSecret::from_stored(vec![0xff, 0, 1]), until: None },
            StoredSecret { sealed: SealedSecret::from_stored(vec![2]), until: Some(9) },
        ],
        failing_since: None,
        max_concurrency: 16,
        max_per_second: Some(100),
        created: 1,
        updated: 1,
        revision: 1,
    }
}

/// Returns the next revision.
fn next(before: &Subscription) -> Subscription {
    Subscription { revision: before.revision + 1, updated: before.updated + 1, ..before.clone() }
}

#[tokio::test]
async fn a_subscription_is_created_once_and_read_as_it_was() {
    let table = Table::new().await;
    let full = subscription("owner");
    let bare = Subscription { filter: Filter::default(), secrets: vec![], max_per_second: None, ..subscription("") };
    assert_eq!(table.versions().await, [0; BUCKETS]);

    for subscription in [&full, &bare] {
        let before = table.versions().await;
        table.create(subscription).await;
        assert_eq!(table.moved_since(&before).await, 1);
        assert_eq!(table.get(&subscription.id).await.as_ref(), Some(subscription));
    }
    let before = table.versions().await;
    let other = Subscription { owner: "other".to_owned(), ..full.clone() };
    assert_eq!(table.subscriptions.create(&other).await, Ok(Changed::Refused));

    assert_eq!(table.moved_since(&before).await, 0);
    assert_eq!(table.get(&full.id).await, Some(full));
    assert_eq!(table.get(&EndpointId::parse("versions").expect("an id")).await, None);
}

#[tokio::test]
async fn a_bucket_whose_version_moved_has_the_change() {
    let table = Table::new().await;
    let created: Vec<_> = (0..20).map(|_| subscription("owner")).collect();
    for subscription in &created {
        table.create(subscription).await;
    }
    let versions = table.versions().await;
    assert_eq!(versions.iter().sum::<u64>(), 20);

    let mut found = BTreeSet::new();
    for (bucket, version) in versions.into_iter().enumerate() {
        let bucket = table.subscriptions.bucket(bucket).await.expect("the table answers");
        assert_eq!((bucket.subscriptions.len() as u64, bucket.unreadable.len()), (version, 0));
        found.extend(bucket.subscriptions.into_iter().map(|subscription| subscription.id));
    }
    assert_eq!(found, created.into_iter().map(|subscription| subscription.id).collect());
}

#[tokio::test]
async fn a_replacement_needs_the_revision_before_it() {
    let table = Table::new().await;
    let created = subscription("owner");
    table.create(&created).await;
    let versions = table.versions().await;

    let rotated = Subscription {
        secrets: vec![],
        description: "new".to_owned(),
        filter: Filter { ports: vec![], ..created.filter.clone() },
        max_per_second: None,
        ..next(&created)
    };
    assert_eq!(table.subscriptions.replace(&rotated).await, Ok(Changed::Applied));
    assert_eq!(table.moved_since(&versions).await, 1);
    assert_eq!(table.get(&created.id).await.as_ref(), Some(&rotated));

    let versions = table.versions().await;
    for stale in [next(&created), Subscription { revision: 9, ..rotated.clone() }, next(&subscription("owner"))] {
        assert_eq!(table.subscriptions.replace(&stale).await, Ok(Changed::Refused));
    }
    assert_eq!(table.moved_since(&versions).await, 0);
    assert_eq!(table.get(&created.id).await, Some(rotated));
}

#[tokio::test]
async fn only_one_of_two_concurrent_replacements_is_applied() {
    let table = Table::new().await;
    let created = subscription("owner");
    table.create(&created).await;
    let replacements = ["one", "two"].map(|owner| Subscription { owner: owner.to_owned(), ..next(&created) });

    let [one, two] = &replacements;
    let (one, two) = tokio::join!(table.subscriptions.replace(one), table.subscriptions.replace(two));

    let mut results = [one.expect("the table answers"), two.expect("the table answers")];
    results.sort_by_key(|changed| *changed == Changed::Refused);
    assert_eq!(results, [Changed::Applied, Changed::Refused]);
    let stored = table.get(&created.id).await;
    assert!(replacements.iter().any(|replacement| Some(replacement) == stored.as_ref()), "{stored:?}");
}

#[tokio::test]
async fn concurrent_changes_each_move_a_version() {
    let table = Table::new().await;
    let created: Vec<_> = (0..16).map(|_| subscription("owner")).collect();

    let creates = futures_util::future::join_all(created.iter().map(|it| table.subscriptions.create(it)));
    let results = with_timeout("16 changes", creates).await;

    assert!(results.iter().all(|result| *result == Ok(Changed::Applied)), "{results:?}");
    assert_eq!(table.versions().await.iter().sum::<u64>(), 16);
}

#[tokio::test]
async fn a_failing_endpoint_keeps_its_first_time_until_it_is_cleared() {
    let table = Table::new().await;
    let (created, other) = (subscription("owner"), subscription("owner"));
    table.create(&created).await;
    let versions = table.versions().await;
    let failing_since = async || table.get(&created.id).await.expect("it exists").failing_since;

    for since in [100, 200] {
        assert_eq!(table.subscriptions.mark_failing(&created.id, since).await, Ok(Some(100)));
    }
    assert_eq!(failing_since().await, Some(100));
    for _ in 0..2 {
        assert_eq!(table.subscriptions.clear_failing(&created.id).await, Ok(()));
        assert_eq!(failing_since().await, None);
    }
    assert_eq!(table.subscriptions.mark_failing(&other.id, 100).await, Ok(None));
    assert_eq!(table.subscriptions.clear_failing(&other.id).await, Ok(()));
    assert_eq!(table.get(&other.id).await, None, "nothing is created");
    assert_eq!(table.moved_since(&versions).await, 0);
}

#[tokio::test]
async fn a_replacement_keeps_the_time_of_failures_unless_it_starts_anew() {
    let table = Table::new().await;
    for (change, expected) in [
        (("description", Status::Active), Some(100)),
        (("description", Status::Paused), Some(100)),
        (("url", Status::Active), None),
    ] {
        let created = subscription("owner");
        table.create(&created).await;
        // The copy of the caller does not know of it.
        assert_eq!(table.subscriptions.mark_failing(&created.id, 100).await, Ok(Some(100)));
        let (field, status) = change;
        let mut changed = Subscription { status, ..next(&created) };
        match field {
            "url" => changed.url = "https://other.test/".to_owned(),
            _ => changed.description = "new".to_owned(),
        }
        assert_eq!(table.subscriptions.replace(&changed).await, Ok(Changed::Applied));
        assert_eq!(table.get(&created.id).await.expect("it exists").failing_since, expected, "{change:?}");

        let active = Subscription { status: Status::Active, ..next(&changed) };
        assert_eq!(table.subscriptions.replace(&active).await, Ok(Changed::Applied));
        let expected = expected.filter(|_| status == Status::Active);
        assert_eq!(table.get(&created.id).await.expect("it exists").failing_since, expected, "{change:?}");
    }
}

#[tokio::test]
async fn an_endpoint_is_disabled_only_if_it_has_been_failing_since_then() {
    let table = Table::new().await;
    let created = subscription("owner");
    table.create(&created).await;
    let disable = async |since| table.subscriptions.disable(&created.id, DisabledReason::Failing, since, 500).await;

    assert_eq!(disable(Some(100)).await, Ok(Changed::Refused), "it does not fail");
    assert_eq!(table.subscriptions.mark_failing(&created.id, 200).await, Ok(Some(200)));
    assert_eq!(disable(Some(100)).await, Ok(Changed::Refused), "it failed later");
    let versions = table.versions().await;
    assert_eq!(disable(Some(200)).await, Ok(Changed::Applied));
    assert_eq!(table.moved_since(&versions).await, 1);

    let disabled = Subscription {
        status: Status::Disabled(DisabledReason::Failing),
        failing_since: Some(200),
        updated: 500,
        revision: 2,
        ..created.clone()
    };
    assert_eq!(table.get(&created.id).await, Some(disabled));
    assert_eq!(disable(Some(200)).await, Ok(Changed::Refused), "it is disabled already");
    assert_eq!(table.subscriptions.replace(&next(&created)).await, Ok(Changed::Refused), "the revision has changed");

    let gone = subscription("owner");
    table.create(&gone).await;
    let status = async || table.get(&gone.id).await.expect("it exists").status;
    let disable = async || table.subscriptions.disable(&gone.id, DisabledReason::Gone, None, 500).await;
    assert_eq!((disable().await, status().await), (Ok(Changed::Applied), Status::Disabled(DisabledReason::Gone)));
    assert_eq!(table.subscriptions.remove(&gone.id).await, Ok(Changed::Applied));
    assert_eq!((disable().await, table.get(&gone.id).await), (Ok(Changed::Refused), None));
}

#[tokio::test]
async fn a_removed_subscription_is_gone() {
    let table = Table::new().await;
    let created = subscription("owner");
    table.create(&created).await;

    for (expected, moved) in [(Changed::Applied, 1), (Changed::Refused, 0)] {
        let versions = table.versions().await;
        assert_eq!(table.subscriptions.remove(&created.id).await, Ok(expected));
        assert_eq!(table.moved_since(&versions).await, moved);
    }
    assert_eq!(table.get(&created.id).await, None);
}

#[tokio::test]
async fn subscriptions_are_listed_by_owner_and_continue_after_each_of_them() {
    let table = Table::new().await;
    let mut created: Vec<_> = ["one", "one", "one", "two"].map(subscription).into();
    for subscription in &created {
        table.create(subscription).await;
    }
    created.sort_by(|one, other| one.id.cmp(&other.id));
    let page = async |owner, after| {
        let page = table.subscriptions.page(owner, after).await.expect("the table answers");
        assert_eq!((page.next, page.unreadable.len()), (None, 0));
        page.subscriptions
    };

    let mut all = page(None, None).await;
    let after: Vec<_> = all.iter().map(|subscription| subscription.id.clone()).collect();
    for (position, id) in after.iter().enumerate() {
        assert_eq!(page(None, Some(id)).await, all[position + 1..]);
    }
    all.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(all, created);
    let of_one: Vec<_> = created.iter().filter(|subscription| subscription.owner == "one").cloned().collect();
    assert_eq!(page(Some("one"), None).await, of_one);
    assert_eq!(page(Some("one"), Some(&of_one[0].id)).await, of_one[1..]);
    assert_eq!(page(Some("none"), None).await, []);
}

#[tokio::test]
async fn a_subscription_that_cannot_be_read_is_reported_and_hides_no_other() {
    let table = Table::new().await;
    let (newer, readable) = (subscription("owner"), subscription("owner"));
    for subscription in [&newer, &readable] {
        table.create(subscription).await;
    }
    table.make_unreadable(&newer.id).await;

    for owner in [None, Some("owner")] {
        let page = table.subscriptions.page(owner, None).await.expect("the table answers");
        assert_eq!(page.subscriptions, std::slice::from_ref(&readable));
        assert_eq!(page.unreadable, [newer.id.to_string()]);
    }
    let (mut subscriptions, mut unreadable) = (Vec::new(), Vec::new());
    for bucket in 0..BUCKETS {
        let bucket = table.subscriptions.bucket(bucket).await.expect("the table answers");
        subscriptions.extend(bucket.subscriptions);
        unreadable.extend(bucket.unreadable);
    }
    assert_eq!((subscriptions, unreadable), (vec![readable], vec![newer.id.to_string()]));
    let error = table.subscriptions.get(&newer.id).await.expect_err("it cannot be read");
    assert_eq!(error.kind, StoreErrorKind::ForeignRow);
    assert!(table.subscriptions.replace(&next(&newer)).await.is_err(), "it would lose what this version does not know");
    assert_eq!(table.subscriptions.remove(&newer.id).await, Ok(Changed::Applied));
}

#[tokio::test]
async fn a_change_without_an_answer_is_applied_once() {
    let table = Table::new().await;
    let lost = std::sync::atomic::AtomicBool::new(false);
    let proxy = DynamoProxy::before(table.dynamo.endpoint.trim_start_matches("http://"), move |request| {
        let is_first = request.is(".TransactWriteItems") && !lost.swap(true, std::sync::atomic::Ordering::Relaxed);
        if is_first { Action::CloseAfter } else { Action::Forward }
    })
    .await;
    let behind = Dynamo::at(table.dynamo.server, proxy.url());
    let behind = SubscriptionTable::new(behind.client, table.name.clone());
    let created = subscription("owner");

    // A refusal would hide the secret of the subscription, which exists.
    assert_eq!(behind.create(&created).await, Ok(Changed::Applied));

    assert_eq!(table.versions().await.iter().sum::<u64>(), 1);
    assert_eq!(table.get(&created.id).await, Some(created));
}
