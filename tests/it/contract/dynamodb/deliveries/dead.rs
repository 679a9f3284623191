//! Dead deliveries, redrive, replay, and the log of the others.

use mini_scan::dynamo::{Delivered, DeliveryTable, Replayed};
use mini_scan::subscriptions::dead::{DeadDelivery, DeadPosition};
use mini_scan::subscriptions::ports::DeadDeliveries;
use webhooks::{Changed, DeadReason, DeliveryStore, StoredDelivery, Token};

use super::{DAY, MINUTE, SECOND, Table, claim, endpoint};

/// Returns the only dead delivery.
async fn dead(store: &DeliveryTable) -> DeadDelivery {
    let page = store.dead(&endpoint(), None, 10).await.expect("the table answers");
    assert_eq!((page.deliveries.len(), page.unreadable, &page.next), (1, 0, &None));
    page.deliveries.into_iter().next().expect("one")
}

#[tokio::test]
async fn a_dead_delivery_waits_no_longer_and_is_stored_again_without_harm() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    store.insert(&item).await.expect("the table answers");
    let claimed = claim(&store, &item, 1, table.now() + MINUTE).await.expect("the claim is applied");
    let last = StoredDelivery { attempts: 10, ..claimed };

    for _ in 0..2 {
        store.store_dead(&last, DeadReason::Exhausted).await.expect("the table answers");
    }

    let found = store.find(&endpoint(), &item.delivery.id).await.expect("the table answers");
    let died = table.now();
    let expected = DeadDelivery { item: StoredDelivery { due: died, ..last }, reason: DeadReason::Exhausted, died };
    assert_eq!((found.waiting, found.dead), (None, Some(expected.clone())));
    assert_eq!(dead(&store).await, expected);
    let items = table.dynamo.client.scan().table_name(&table.name).send().await.expect("the table is read");
    let expires_at = items.items().iter().find_map(|item| item.get("expires_at")?.as_n().ok()).expect("a time");
    let expected = (died + 30 * DAY).duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    assert_eq!(expires_at, &expected.to_string());
}

#[tokio::test]
async fn a_delivery_that_another_instance_claimed_stays_and_one_may_die_that_never_waited() {
    let table = Table::new().await;
    let (store, waiting, new) = (table.instance(), table.delivery(1), table.delivery(2));
    store.insert(&waiting).await.expect("the table answers");

    let stale = StoredDelivery { token: Token(7), ..waiting.clone() };
    for item in [&stale, &new] {
        store.store_dead(item, DeadReason::Gone).await.expect("the table answers");
    }

    assert_eq!(table.ids("w#").await, [waiting.delivery.id.as_str()]);
    assert_eq!(table.ids("d#").await.len(), 2);
}

#[tokio::test]
async fn a_delivery_of_a_removed_endpoint_is_only_deleted() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    store.insert(&item).await.expect("the table answers");

    store.store_dead(&item, DeadReason::Missing).await.expect("the table answers");

    assert_eq!((table.ids("w#").await, table.ids("d#").await), (vec![], vec![]));
}

#[tokio::test]
async fn dead_deliveries_are_listed_page_by_page_and_purged() {
    let table = Table::new().await;
    let store = table.instance();
    let items: Vec<_> = (0..20).map(|number| table.delivery(number)).collect();
    for item in &items {
        store.store_dead(item, DeadReason::Disabled).await.expect("the table answers");
    }

    let (mut found, mut position) = (Vec::new(), None::<DeadPosition>);
    loop {
        let page = store.dead(&endpoint(), position.as_ref(), 3).await.expect("the table answers");
        assert!(page.deliveries.len() <= 3);
        found.extend(page.deliveries);
        // As a command or a page token keeps it.
        position = page.next.map(|next| next.to_string().parse().expect("a position"));
        if position.is_none() {
            break;
        }
    }
    let mut ids: Vec<_> = found.iter().map(|dead| dead.item.delivery.id.clone()).collect();
    let mut expected: Vec<_> = items.iter().map(|item| item.delivery.id.clone()).collect();
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);

    for dead in &found {
        assert_eq!(store.purge(dead).await, Ok(Changed::Applied));
        assert_eq!(store.purge(dead).await, Ok(Changed::Refused));
    }
    assert!(table.ids("d#").await.is_empty());
}

#[tokio::test]
async fn a_redriven_delivery_waits_again_with_no_attempts() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    store.store_dead(&StoredDelivery { attempts: 10, ..item.clone() }, DeadReason::Exhausted).await.expect("stored");
    let dead = dead(&store).await;
    table.clock.advance(DAY);

    assert_eq!(store.redrive(&dead).await, Ok(Changed::Applied));

    let found = store.find(&endpoint(), &item.delivery.id).await.expect("the table answers");
    let waiting = found.waiting.expect("it waits");
    assert_eq!((waiting.attempts, waiting.due, waiting.created), (0, table.now(), item.created));
    assert_eq!(found.dead, None);
    assert_eq!(store.endpoints_with_backlog().await.expect("the table answers"), [endpoint()]);
    // It was redriven by somebody else.
    assert_eq!(store.redrive(&dead).await, Ok(Changed::Refused));
    assert_eq!(store.find(&endpoint(), &item.delivery.id).await.expect("answers").waiting, Some(waiting));
}

#[tokio::test]
async fn a_redrive_while_the_engine_stores_the_dead_delivery_loses_nothing() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    store.insert(&item).await.expect("the table answers");
    let claimed = claim(&store, &item, 1, table.now() + MINUTE).await.expect("the claim is applied");
    // The engine has put the dead delivery, and not deleted the one that waits: its token is that of another claim.
    store.store_dead(&StoredDelivery { token: Token(9), ..claimed.clone() }, DeadReason::Gone).await.expect("stored");
    assert_eq!(table.ids("w#").await.len(), 1);

    let dead = dead(&store).await;
    assert_eq!(store.redrive(&dead).await, Ok(Changed::Applied));

    assert_eq!(store.delete(&claimed).await.ok(), Some(Changed::Refused));
    assert_eq!((table.ids("w#").await.len(), table.ids("d#").await.len()), (1, 0));
}

#[tokio::test]
async fn a_replay_stores_a_delivery_or_makes_the_one_that_waits_due() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));

    assert_eq!(store.replay(item.delivery.clone()).await, Ok(Replayed::Stored));
    let stored = store.find(&endpoint(), &item.delivery.id).await.expect("answers").waiting.expect("it waits");
    assert_eq!((stored.due, stored.attempts), (table.now(), 0));
    let moved = StoredDelivery { attempts: 5, due: table.now() + DAY, ..stored.clone() };
    assert_eq!(store.reschedule(&moved).await.ok(), Some(Changed::Applied));
    table.clock.advance(SECOND);

    assert_eq!(store.replay(item.delivery.clone()).await, Ok(Replayed::WasWaiting));

    let again = store.find(&endpoint(), &item.delivery.id).await.expect("answers").waiting.expect("it waits");
    assert_eq!((again.due, again.attempts), (table.now(), 0));
    assert_ne!(again.token, stored.token);
    assert_eq!(store.delete(&stored).await.ok(), Some(Changed::Refused), "an attempt before it changes nothing");
    assert_eq!(store.endpoints_with_backlog().await.expect("the table answers"), [endpoint()]);
}

#[tokio::test]
async fn a_logged_delivery_is_found() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    let id = item.delivery.id;
    let entry = Delivered { endpoint: endpoint(), id: id.clone(), at: table.now(), attempts: 2, took: SECOND };

    store.log_delivered(&entry).await.expect("the table answers");

    let found = store.find(&endpoint(), &id).await.expect("the table answers");
    assert_eq!((found.waiting, found.dead, found.delivered), (None, None, Some(entry)));
}
