//! What DynamoDB does to readers: throttling, unprocessed keys, vanished items, an index that is behind or missing.

use std::sync::atomic::{AtomicUsize, Ordering};

use mini_scan::hosts::{Deletion, ErrorKind, Index, Outcome, Query, WriteSettings};
use mini_scan::scan::Reason;

use super::{Table, all_of, scan};
use crate::support::dynamo_proxy::{Action, DynamoProxy, Request};
use crate::support::unique;

/// Starts a proxy before the table's server that treats the first `count` requests of one kind so.
async fn first(table: &Table, count: usize, is_meant: fn(&Request) -> bool, action: Action) -> DynamoProxy {
    let seen = AtomicUsize::new(0);
    let server = table.dynamo.endpoint.trim_start_matches("http://");
    let decide = move |request: &Request| match is_meant(request) && seen.fetch_add(1, Ordering::Relaxed) < count {
        true => action.clone(),
        false => Action::Forward,
    };
    DynamoProxy::before(server, decide).await
}

/// Returns the answer of an index that lists these items.
fn listed(items: &str) -> Action {
    Action::Respond(200, format!(r#"{{"Items":[{items}],"ConsumedCapacity":{{"CapacityUnits":0.5}}}}"#))
}

#[tokio::test]
async fn unprocessed_keys_are_asked_for_again() {
    let table = Table::new().await;
    table.store((1..=5).map(|port| scan("1.1.1.7", port, "HTTP"))).await;
    for processed in [0, 1, 4] {
        let proxy = first(&table, 2, Request::is_batch_get, Action::ProcessKeys(processed)).await;
        let (hosts, counts) = table.hosts_at(&proxy.url()).await;

        let page = hosts.records(&all_of("1.1.1.7"), None, 10).await.expect("a page");

        let ports: Vec<_> = page.items.iter().map(|record| record.key.port()).collect();
        assert_eq!(ports, ["1", "2", "3", "4", "5"]);
        assert!(counts.unprocessed.load(Ordering::Relaxed) > 0);
    }
}

#[tokio::test]
async fn keys_that_stay_unprocessed_are_throttling() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let proxy = first(&table, usize::MAX, Request::is_batch_get, Action::ProcessKeys(0)).await;
    let (hosts, counts) = table.hosts_at(&proxy.url()).await;

    let error = hosts.records(&all_of("1.1.1.7"), None, 10).await.expect_err("no page");

    assert_eq!(error.kind, ErrorKind::Throttled);
    assert!(counts.calls() >= 9, "a query and 8 batches, but {} calls", counts.calls());
}

#[tokio::test]
async fn a_record_that_vanished_after_the_query_is_left_out() {
    let table = Table::new().await;
    table.store((1..=3).map(|port| scan("1.1.1.7", port, "HTTP"))).await;
    let key = scan("1.1.1.7", 2, "HTTP").key;
    let (hosts, _) = table.hosts().await;
    let keys = hosts.keys(&all_of("1.1.1.7"), None, 10).await.expect("keys");
    assert_eq!(keys.items.len(), 3);
    // The index still has the key: the answer to the query is repeated after the deletion.
    let items = r#"{"pk":{"S":"1.1.1.7#1#HTTP"}},{"pk":{"S":"1.1.1.7#2#HTTP"}}"#;
    let proxy = first(&table, 1, Request::is_query, listed(items)).await;
    table.delete(&key).await;
    let (hosts, _) = table.hosts_at(&proxy.url()).await;

    let page = hosts.records(&all_of("1.1.1.7"), None, 10).await.expect("a page");

    assert_eq!(page.items.iter().map(|record| record.key.port()).collect::<Vec<_>>(), ["1"]);
}

#[tokio::test]
async fn a_record_that_the_index_does_not_list_yet_is_found_by_its_key() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let proxy = first(&table, usize::MAX, Request::is_query, listed("")).await;
    let (hosts, _) = table.hosts_at(&proxy.url()).await;

    let page = hosts.records(&all_of("1.1.1.7"), None, 10).await.expect("a page");
    let record = hosts.record(&scan("1.1.1.7", 80, "HTTP").key).await.expect("an answer");

    assert_eq!((page.items, page.next), (vec![], None));
    assert_eq!(record.expect("the record").response, "HTTP on 80");
}

#[tokio::test]
async fn an_empty_response_does_not_look_like_a_missing_record() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let proxy = first(&table, usize::MAX, |request| !request.is_query(), Action::Respond(200, String::new())).await;
    let (hosts, _) = table.hosts_at(&proxy.url()).await;

    let page = hosts.records(&all_of("1.1.1.7"), None, 10).await.expect_err("no page");
    let record = hosts.record(&scan("1.1.1.7", 80, "HTTP").key).await.expect_err("no answer");

    assert_eq!((page.kind, record.kind), (ErrorKind::Unavailable, ErrorKind::Unavailable));
}

#[tokio::test]
async fn failures_are_distinguished_and_only_transient_ones_are_retried() {
    let table = Table::new().await;
    for (action, kind, calls) in [
        (Action::throttled(None), ErrorKind::Throttled, 3),
        (Action::unavailable(), ErrorKind::Unavailable, 3),
        (Action::Respond(200, String::new()), ErrorKind::Unavailable, 3),
        (Action::CloseBefore, ErrorKind::Unavailable, 3),
        (Action::access_denied(), ErrorKind::NotAuthorized, 1),
        (Action::missing_index("by-ip"), ErrorKind::MissingIndex(Index::ByIp), 1),
        (Action::invalid_item(), ErrorKind::Refused, 1),
    ] {
        let proxy = first(&table, usize::MAX, Request::is_query, action).await;
        let (hosts, counts) = table.hosts_at(&proxy.url()).await;
        let error = hosts.records(&all_of("1.1.1.7"), None, 10).await.expect_err("no page");
        assert_eq!((error.kind, counts.calls()), (kind, calls), "{error}");
    }
}

#[tokio::test]
async fn a_transient_failure_is_survived() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    for action in [Action::throttled(None), Action::internal_error(), Action::CloseAfter] {
        let proxy = first(&table, 1, Request::is_query, action).await;
        let (hosts, _) = table.hosts_at(&proxy.url()).await;
        assert_eq!(hosts.records(&all_of("1.1.1.7"), None, 10).await.expect("a page").items.len(), 1);
    }
}

#[tokio::test]
async fn a_table_without_the_index_and_a_missing_table_differ() {
    let mut table = Table::new().await;
    table.name = table.dynamo.table().await;
    let (hosts, _) = table.hosts().await;
    let error = hosts.keys(&all_of("1.1.1.7"), None, 1).await.expect_err("no index");
    assert_eq!(error.kind, ErrorKind::MissingIndex(Index::ByIp));
    let of_service = Query::Service { port: 1, service: "HTTP".to_owned(), since: None };
    let error = hosts.keys(&of_service, None, 1).await.expect_err("no index");
    assert_eq!(error.kind, ErrorKind::MissingIndex(Index::ByService));
    assert_eq!(hosts.record(&scan("1.1.1.7", 80, "HTTP").key).await.expect("an answer"), None);
    table.name = unique("missing");
    let (hosts, _) = table.hosts().await;
    let error = hosts.keys(&all_of("1.1.1.7"), None, 1).await.expect_err("no table");
    assert_eq!(error.kind, ErrorKind::MissingTable);
}

#[tokio::test]
async fn the_read_units_of_a_page_are_counted() {
    let table = Table::new().await;
    table.store((1..=10).map(|port| scan("1.1.1.7", port, "HTTP"))).await;
    let (hosts, counts) = table.hosts().await;
    hosts.keys(&all_of("1.1.1.7"), None, 10).await.expect("keys");
    assert_eq!(counts.units(), 0.5);
    hosts.records(&all_of("1.1.1.7"), None, 10).await.expect("a page");
    assert_eq!(counts.units(), 0.5 + 0.5 + 10.0 * 0.5);
}

const SETTINGS: WriteSettings = WriteSettings { max_future_skew: std::time::Duration::from_secs(60), ttl: None };

fn payload(timestamp: u64) -> String {
    format!(
        r#"{{"ip":"1.1.1.7","port":80,"service":"HTTP","timestamp":{timestamp},"data_version":2,"data":{{"response_str":"hi"}}}}"#
    )
}

#[tokio::test]
async fn a_scan_is_stored_by_the_rules_of_the_consumer() {
    let table = Table::new().await;
    let (hosts, _) = table.hosts().await;
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(100);
    let key = scan("1.1.1.7", 80, "HTTP").key;
    let store = async |payload: &str| hosts.store(payload.as_bytes(), now, &SETTINGS).await.expect("an answer");
    assert_eq!(store(&payload(10)).await, Outcome::Stored(key.clone()));
    assert_eq!(store(&payload(9)).await, Outcome::Stale(key.clone()));
    assert_eq!(store(&payload(10)).await, Outcome::Stale(key.clone()));
    let Outcome::Rejected(rejection) = store(&payload(161)).await else { panic!("it is too far in the future") };
    assert_eq!(rejection.reason, Reason::TimestampInFuture);
    let Outcome::Rejected(rejection) = store("{").await else { panic!("it is no JSON") };
    assert_eq!(rejection.reason, Reason::MalformedJson);
    let ttl = WriteSettings { ttl: Some(std::time::Duration::from_secs(5)), ..SETTINGS };
    assert_eq!(hosts.store(payload(95).as_bytes(), now, &ttl).await, Ok(Outcome::Expired(key)));
}

#[tokio::test]
async fn a_lost_answer_to_a_write_or_a_deletion_is_not_mistaken_for_another_result() {
    let table = Table::new().await;
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(100);
    let key = scan("1.1.1.7", 80, "HTTP").key;
    let proxy = first(&table, 1, Request::is_put, Action::CloseAfter).await;
    let (hosts, _) = table.hosts_at(&proxy.url()).await;
    assert_eq!(hosts.store(payload(10).as_bytes(), now, &SETTINGS).await, Ok(Outcome::Stored(key.clone())));
    let proxy = first(&table, 1, Request::is_delete, Action::CloseAfter).await;
    let (hosts, _) = table.hosts_at(&proxy.url()).await;
    assert_eq!(hosts.forget(&key, 9).await, Ok(Deletion::Changed));
    let proxy = first(&table, 1, Request::is_delete, Action::CloseAfter).await;
    let (hosts, _) = table.hosts_at(&proxy.url()).await;
    assert_eq!(hosts.forget(&key, 10).await, Ok(Deletion::Deleted));
    assert_eq!(hosts.forget(&key, 10).await, Ok(Deletion::Missing));
}
