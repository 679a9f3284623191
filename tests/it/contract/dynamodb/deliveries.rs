//! The table of deliveries: what the engine of webhooks relies on, and what commands do.

mod dead;
mod markers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mini_scan::dynamo::{DeliveriesKept, DeliveryTable, SideTable, create_table};
use webhooks::{
    Answer, Changed, Clock, Delivery, DeliveryStore, DueDelivery, EndpointId, Failure, LastAttempt, Origin,
    StoredDelivery, Token, TraceParent, WebhookId,
};

use crate::support::dynamo::Dynamo;
use crate::support::dynamo_proxy::{Action, DynamoProxy, Request};
use crate::support::{unique, with_timeout};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A clock that only the test moves. Clones are the same clock.
#[derive(Clone)]
struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).expect("a short time"), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// A table with one clock, which several instances use.
struct Table {
    dynamo: Dynamo,
    name: String,
    clock: TestClock,
}

impl Table {
    async fn new() -> Table {
        let (dynamo, name) = (Dynamo::connect(), unique("deliveries"));
        let create = create_table(&dynamo.client, SideTable::Deliveries.spec(), &name);
        with_timeout("a table of deliveries", create).await.expect("the table is created");
        // Items expire by the clock of the server.
        let millis = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is right").as_millis();
        let clock = TestClock(Arc::new(AtomicU64::new(u64::try_from(millis).expect("a time"))));
        Table { dynamo, name, clock }
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Returns a store that knows nothing of what others did.
    fn instance(&self) -> DeliveryTable {
        self.instance_of(&self.dynamo)
    }

    fn instance_of(&self, dynamo: &Dynamo) -> DeliveryTable {
        let kept = DeliveriesKept { dead: 30 * DAY, delivered: 7 * DAY };
        DeliveryTable::new(dynamo.client.clone(), self.name.clone(), kept, Arc::new(self.clock.clone()))
    }

    /// Returns a store behind a proxy.
    async fn behind(
        &self,
        decide: impl Fn(&Request) -> Action + Send + Sync + 'static,
    ) -> (DeliveryTable, DynamoProxy) {
        let proxy = DynamoProxy::before(self.dynamo.endpoint.trim_start_matches("http://"), decide).await;
        (self.instance_of(&Dynamo::at(self.dynamo.server, proxy.url())), proxy)
    }

    fn delivery(&self, number: u64) -> StoredDelivery {
        let endpoint = endpoint();
        let id = WebhookId::of(&[&number.to_be_bytes()], &endpoint);
        let trace = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let origin = Origin { sent: Some(self.now()), trace };
        StoredDelivery {
            delivery: Delivery { id, endpoint, body: format!("{{\"number\":{number}}}").into(), origin },
            created: self.now(),
            attempts: 0,
            due: self.now(),
            token: Token(u64::MAX - number),
            last: None,
        }
    }

    /// Returns the ids of the items in these partitions.
    async fn ids(&self, queue: &str) -> Vec<String> {
        let items = self.dynamo.client.scan().table_name(&self.name).consistent_read(true).send().await;
        let items = items.expect("the table is read").items.unwrap_or_default();
        let text = |item: &crate::support::dynamo::Item, name: &str| item[name].as_s().expect("a text").clone();
        items.iter().filter(|item| text(item, "queue").starts_with(queue)).map(|item| text(item, "id")).collect()
    }
}

fn endpoint() -> EndpointId {
    EndpointId::parse("wh_1#a").expect("an id")
}

fn ids(due: &[DueDelivery]) -> Vec<WebhookId> {
    due.iter().map(|due| due.id.clone()).collect()
}

fn due(item: &StoredDelivery) -> DueDelivery {
    DueDelivery { id: item.delivery.id.clone(), token: item.token }
}

async fn claim(store: &DeliveryTable, item: &StoredDelivery, token: u64, until: SystemTime) -> Option<StoredDelivery> {
    let claimed = store.claim(&endpoint(), &due(item), Token(token), until).await;
    claimed.expect("the table answers")
}

#[tokio::test]
async fn a_delivery_that_waits_is_not_stored_again() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    let other = StoredDelivery { token: Token(7), attempts: 3, ..item.clone() };

    for item in [&item, &item, &other] {
        store.insert(item).await.expect("a repeated insert is a success");
    }

    let found = store.find(&endpoint(), &item.delivery.id).await.expect("the table answers");
    assert_eq!((found.waiting, found.dead, found.delivered), (Some(item), None, None));
}

#[tokio::test]
async fn a_claim_needs_the_token_and_a_delivery_that_is_due() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    store.insert(&item).await.expect("the table answers");
    let until = table.now() + MINUTE;

    let stale = StoredDelivery { token: Token(7), ..item.clone() };
    assert_eq!(claim(&store, &stale, 1, until).await, None);
    let claimed = claim(&store, &item, 1, until).await.expect("the claim is applied");
    assert_eq!(claimed, StoredDelivery { token: Token(1), due: until, ..item.clone() });
    assert_eq!(claim(&store, &item, 2, until).await, None, "another instance was earlier");

    // The index may still show the old due time.
    assert_eq!(claim(&store, &claimed, 3, until + MINUTE).await, None, "it is not due");
    table.clock.advance(MINUTE);
    let next = claim(&store, &claimed, 3, until + MINUTE).await;
    assert_eq!(next.map(|item| item.token), Some(Token(3)), "the claim ended");
}

#[tokio::test]
async fn a_claimed_delivery_is_changed_only_with_its_token() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    store.insert(&item).await.expect("the table answers");
    let claimed = claim(&store, &item, 1, table.now() + MINUTE).await.expect("the claim is applied");
    let attempt = |result| Some(LastAttempt { at: table.now(), result });
    let answer = Answer { status: 503, retry_after: Some(SECOND * 9), body: "busy".into() };

    for last in [attempt(Ok(answer)), attempt(Err(Failure::TimedOut)), None] {
        let moved = StoredDelivery { attempts: 2, due: table.now() + SECOND * 5, last, ..claimed.clone() };
        let stale = StoredDelivery { token: item.token, attempts: 9, ..moved.clone() };
        assert_eq!(store.reschedule(&stale).await.ok(), Some(Changed::Refused));
        for _ in 0..2 {
            assert_eq!(store.reschedule(&moved).await.ok(), Some(Changed::Applied));
        }
        let found = store.find(&endpoint(), &item.delivery.id).await.expect("the table answers");
        assert_eq!(found.waiting, Some(moved));
    }

    assert_eq!(store.delete(&item).await.ok(), Some(Changed::Refused));
    assert_eq!(store.delete(&claimed).await.ok(), Some(Changed::Applied));
    assert_eq!(store.delete(&claimed).await.ok(), Some(Changed::Refused), "it is gone");
    assert_eq!(store.reschedule(&claimed).await.ok(), Some(Changed::Refused), "it is gone");
    assert!(table.ids("w#").await.is_empty());
}

#[tokio::test]
async fn the_longest_due_deliveries_of_all_buckets_come_first() {
    let table = Table::new().await;
    let store = table.instance();
    let now = table.now();
    // A permutation: each of 40 due times once, of which 30 have passed.
    let numbers = (0..40).map(|number| number * 17 % 40);
    let mut items: Vec<_> = numbers.map(|number| table.delivery(number)).collect();
    for (seconds, item) in (0..).zip(&mut items) {
        item.due = now + SECOND * seconds - SECOND * 29;
        store.insert(item).await.expect("the table answers");
    }
    let sorted: Vec<_> = items.iter().map(|item| item.delivery.id.clone()).collect();
    let due = async |limit| ids(&table.instance().due(&endpoint(), now, limit).await.expect("the table answers"));

    assert_eq!(due(100).await, sorted[..30]);
    assert_eq!(due(7).await, sorted[..7]);
    let other = EndpointId::parse("wh_1").expect("an id");
    assert_eq!(ids(&table.instance().due(&other, now, 7).await.expect("the table answers")), []);

    let claimed = claim(&store, &items[0], 1, now + MINUTE).await.expect("the claim is applied");
    assert_eq!(due(2).await, sorted[1..3], "the claimed one is not due");
    assert_eq!(store.delete(&claimed).await.ok(), Some(Changed::Applied));
}

#[tokio::test]
async fn an_endpoint_without_due_deliveries_is_not_asked_for_until_one_is_stored() {
    let table = Table::new().await;
    let (store, now) = (table.instance(), table.now());
    let due = async || ids(&store.due(&endpoint(), now, 7).await.expect("the table answers"));
    let (of_another, own) = (table.delivery(1), table.delivery(2));

    assert_eq!(due().await, []);
    table.instance().insert(&of_another).await.expect("the table answers");
    assert_eq!(due().await, [], "the answer is remembered for up to 15 s");
    store.insert(&own).await.expect("the table answers");

    let mut found = due().await;
    found.sort_unstable();
    let mut both = [of_another.delivery.id, own.delivery.id];
    both.sort_unstable();
    assert_eq!(found, both);
    assert_eq!(store.oldest_due(|_| true), Some(now));
}

#[tokio::test]
async fn a_delivery_that_cannot_be_read_hides_no_other() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    store.insert(&item).await.expect("the table answers");
    let items = table.dynamo.client.scan().table_name(&table.name).send().await.expect("the table is read");
    let stored = items.items().iter().find(|item| item.contains_key("due")).expect("the delivery").clone();
    let newer = WebhookId::of(&[b"newer"], &endpoint());
    let mut unreadable = stored;
    unreadable.insert("id".to_owned(), crate::support::dynamo::text(newer.as_str()));
    unreadable.insert("v".to_owned(), crate::support::dynamo::number(2));
    table.dynamo.put(&table.name, unreadable).await;

    let found = table.instance().due(&endpoint(), table.now(), 7).await.expect("the table answers");

    assert_eq!(found.len(), 2);
    let until = table.now() + MINUTE;
    for due in found {
        let claimed = store.claim(&endpoint(), &due, Token(1), until).await.expect("the table answers");
        assert_eq!(claimed.is_some(), due.id == item.delivery.id);
    }
}
