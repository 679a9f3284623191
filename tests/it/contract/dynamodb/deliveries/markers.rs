//! The markers of endpoints with a backlog.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mini_scan::dynamo::DeliveryTable;
use webhooks::{Changed, DeliveryStore, EndpointId};

use super::{MINUTE, Table, endpoint};
use crate::support::dynamo_proxy::{Action, Barrier, Request};
use crate::support::with_timeout;

async fn marked(store: &DeliveryTable) -> Vec<EndpointId> {
    store.endpoints_with_backlog().await.expect("the table answers")
}

fn puts(request: &Request, queue: &str) -> bool {
    request.is_put() && request.text().contains(queue)
}

#[tokio::test]
async fn a_marker_is_written_before_the_first_delivery() {
    let table = Table::new().await;
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let is_refused = move |request: &Request| away.load(Ordering::Relaxed) && puts(request, "backlogs#");
    let decide = move |request: &Request| if is_refused(request) { Action::internal_error() } else { Action::Forward };
    let (store, _proxy) = table.behind(decide).await;

    assert!(store.insert(&table.delivery(1)).await.is_err());
    assert!(table.ids("").await.is_empty(), "without a marker, nobody would find the delivery");

    is_away.store(false, Ordering::Relaxed);
    store.insert(&table.delivery(1)).await.expect("the table answers");
    assert_eq!(marked(&table.instance()).await, [endpoint()]);
}

#[tokio::test]
async fn a_burst_of_deliveries_writes_one_marker() {
    let table = Table::new().await;
    let (barrier, count) = (Barrier::closed(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let (held, counted) = (barrier.clone(), Arc::clone(&count));
    let decide = move |request: &Request| {
        if !puts(request, "backlogs#") {
            return Action::Forward;
        }
        counted.fetch_add(1, Ordering::Relaxed);
        Action::Hold(held.clone())
    };
    let (store, _proxy) = table.behind(decide).await;
    let items: Vec<_> = (0..20).map(|number| table.delivery(number)).collect();

    let inserts = futures_util::future::join_all(items.iter().map(|item| store.insert(item)));
    let open = async {
        barrier.held().await;
        barrier.open();
    };
    let (inserted, ()) = with_timeout("20 inserts", async { tokio::join!(inserts, open) }).await;

    assert!(inserted.iter().all(Result::is_ok));
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert_eq!(table.ids("w#").await.len(), 20);
}

#[tokio::test]
async fn an_old_marker_is_deleted_only_when_no_delivery_waits() {
    let table = Table::new().await;
    let (store, item) = (table.instance(), table.delivery(1));
    store.insert(&item).await.expect("the table answers");

    for _ in 0..3 {
        table.clock.advance(16 * MINUTE);
        assert_eq!(marked(&table.instance()).await, [endpoint()]);
        assert_eq!(table.ids("backlogs#").await, [endpoint().as_str()]);
    }
    assert_eq!(store.delete(&item).await.ok(), Some(Changed::Applied));
    assert_eq!(marked(&table.instance()).await, [endpoint()]);
    assert_eq!(table.ids("backlogs#").await.len(), 1, "it was verified just now, so it is young");

    table.clock.advance(16 * MINUTE);
    marked(&table.instance()).await;
    assert!(table.ids("backlogs#").await.is_empty());

    store.insert(&item).await.expect("the table answers");
    assert_eq!(marked(&table.instance()).await, [endpoint()], "the first instance knows that its marker is old");
}

#[tokio::test]
async fn a_marker_that_is_written_during_its_verification_stays() {
    let table = Table::new().await;
    let (first, second) = (table.instance(), table.instance());
    let (item, next) = (table.delivery(1), table.delivery(2));
    first.insert(&item).await.expect("the table answers");
    assert_eq!(first.delete(&item).await.ok(), Some(Changed::Applied));
    table.clock.advance(16 * MINUTE);
    let barrier = Barrier::closed();
    let held = barrier.clone();
    let decide = move |request: &Request| {
        if request.is_delete() { Action::Hold(held.clone()) } else { Action::Forward }
    };
    let (verifier, _proxy) = table.behind(decide).await;

    let insert = async {
        // The reads have found nothing.
        barrier.held().await;
        second.insert(&next).await.expect("the table answers");
        barrier.open();
    };
    with_timeout("a verification", async { tokio::join!(marked(&verifier), insert) }).await;

    assert_eq!(marked(&table.instance()).await, [endpoint()]);
}

#[tokio::test]
async fn a_delivery_that_was_stored_after_a_suspension_has_a_marker() {
    let table = Table::new().await;
    let barrier = Barrier::closed();
    let held = barrier.clone();
    let decide = move |request: &Request| {
        if puts(request, "w#") { Action::Hold(held.clone()) } else { Action::Forward }
    };
    let (suspended, _proxy) = table.behind(decide).await;
    let (other, item) = (table.instance(), table.delivery(1));

    let suspension = async {
        barrier.held().await;
        table.clock.advance(20 * MINUTE);
        marked(&other).await;
        assert!(table.ids("backlogs#").await.is_empty(), "the marker was deleted");
        barrier.open();
    };
    let (inserted, ()) = with_timeout("an insert", async { tokio::join!(suspended.insert(&item), suspension) }).await;

    inserted.expect("the table answers");
    assert_eq!(marked(&other).await, [endpoint()]);
}
