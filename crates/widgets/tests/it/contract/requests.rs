//! Requests with an Idempotency-Key: stored once, with their transaction, until they expire.

use dynamodb::values::text;
use dynamodb::{Item, StoreErrorKind};
use widget_registry::operation::Outcome;
use widget_registry::ports::{Commit, Condition, Store};
use widget_registry::transaction::{Action, Request, StoredRequest, Transaction};

use crate::tables::{TestTables, new_token, serial, widget};

/// In 2106, so that the server deletes no expired item during a test.
const NOW: u64 = u32::MAX as u64;
const DAY: u64 = 24 * 60 * 60;

fn stored(operation: &str) -> StoredRequest {
    StoredRequest { operation: operation.to_owned(), answer: Ok(Outcome::Deleted) }
}

/// Remembers an operation for a day, if nothing is remembered at this time.
fn remember(operation: &str, now: u64, actions: Vec<Action>) -> Transaction {
    let request = Request { id: "id".to_owned(), stored: stored(operation), expires_at: now + DAY, now };
    Transaction { actions, request: Some(request) }
}

async fn commit(tables: &TestTables, transaction: &Transaction) -> Commit {
    tables.table.commit(transaction, new_token()).await.expect("an answer")
}

#[tokio::test]
async fn a_stored_request_refuses_the_whole_transaction_and_is_returned() {
    let tables = TestTables::create().await;
    assert_eq!(commit(&tables, &remember("first", NOW, Vec::new())).await, Commit::Applied);
    let second = remember("second", NOW, vec![Action::Create(widget("1"))]);
    let request = Some(Box::new(stored("first")));
    assert_eq!(commit(&tables, &second).await, Commit::Refused { actions: vec![Condition::Met], request });
    assert_eq!(tables.table.get(&serial("1")).await, Ok(None));
}

#[tokio::test]
async fn a_stored_request_is_returned_beside_other_conditions_that_failed() {
    let tables = TestTables::create().await;
    tables.put(&widget("1")).await;
    assert_eq!(commit(&tables, &remember("first", NOW, Vec::new())).await, Commit::Applied);
    let second = remember("second", NOW, vec![Action::Create(widget("1"))]);
    let actions = vec![Condition::Unmet(Some(Box::new(widget("1"))))];
    let request = Some(Box::new(stored("first")));
    assert_eq!(commit(&tables, &second).await, Commit::Refused { actions, request });
}

#[tokio::test]
async fn a_request_is_not_remembered_without_its_changes() {
    let tables = TestTables::create().await;
    tables.put(&widget("1")).await;
    let create = remember("first", NOW, vec![Action::Create(widget("1"))]);
    let actions = vec![Condition::Unmet(Some(Box::new(widget("1"))))];
    assert_eq!(commit(&tables, &create).await, Commit::Refused { actions, request: None });
    assert_eq!(commit(&tables, &remember("second", NOW, Vec::new())).await, Commit::Applied);
}

#[tokio::test]
async fn an_expired_request_counts_as_absent_though_dynamodb_deletes_it_later() {
    let tables = TestTables::create().await;
    assert_eq!(commit(&tables, &remember("first", NOW, Vec::new())).await, Commit::Applied);
    let refused = Commit::Refused { actions: Vec::new(), request: Some(Box::new(stored("first"))) };
    assert_eq!(commit(&tables, &remember("second", NOW + DAY - 1, Vec::new())).await, refused);
    assert_eq!(commit(&tables, &remember("third", NOW + DAY, Vec::new())).await, Commit::Applied);
    let refused = Commit::Refused { actions: Vec::new(), request: Some(Box::new(stored("third"))) };
    assert_eq!(commit(&tables, &remember("fourth", NOW + DAY, Vec::new())).await, refused);
}

#[tokio::test]
async fn a_stored_request_of_another_form_is_foreign() {
    let tables = TestTables::create().await;
    let item = Item::from([("id".to_owned(), text("id")), ("request".to_owned(), text("first"))]);
    tables.client.put_item().table_name(&tables.names.requests).set_item(Some(item)).send().await.expect("an answer");
    let token = new_token();
    let error = tables.table.commit(&remember("second", NOW, Vec::new()), token).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::ForeignRow, "{error}");
}
