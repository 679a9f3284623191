//! All or nothing, a reason for each item, tokens, and limits.

use dynamodb::StoreErrorKind;
use widget_registry::ports::{Commit, Condition, Store};
use widget_registry::transaction::{Action, Transaction};
use widget_registry::widget::{Port, Serial, Widget};

use crate::tables::{TestTables, connected, link, new_token, serial, widget};

pub(super) fn transaction(actions: Vec<Action>) -> Transaction {
    Transaction { actions, request: None }
}

fn connect(first: &str, second: &str) -> Transaction {
    transaction(vec![link(first, Port::P, None, Some(second)), link(second, Port::P, None, Some(first))])
}

fn unmet(widget: Widget) -> Condition {
    Condition::Unmet(Some(Box::new(widget)))
}

fn refused(actions: Vec<Condition>) -> Commit {
    Commit::Refused { actions, request: None }
}

async fn found(tables: &TestTables, text: &str) -> Option<Widget> {
    tables.table.get(&serial(text)).await.expect("an answer")
}

#[tokio::test]
async fn a_transaction_changes_all_of_its_items() {
    let tables = TestTables::create().await;
    tables.put(&widget("1")).await;
    tables.put(&widget("2")).await;
    assert_eq!(tables.table.commit(&connect("1", "2"), new_token()).await, Ok(Commit::Applied));
    for (text, peer) in [("1", "2"), ("2", "1")] {
        let after = found(&tables, text).await.expect("an answer");
        assert_eq!((after.peers.get(Port::P), after.revision.version), (Some(&serial(peer)), 2));
        assert_eq!(after.updated_at.as_str(), "2026-11-22T11:00:00.000Z");
    }
}

#[tokio::test]
async fn a_refused_transaction_changes_nothing_and_has_the_image_of_each_failed_condition() {
    let tables = TestTables::create().await;
    let taken = connected("2", Port::P, "3");
    tables.put(&widget("1")).await;
    tables.put(&taken).await;
    let answer = tables.table.commit(&connect("1", "2"), new_token()).await;
    assert_eq!(answer, Ok(refused(vec![Condition::Met, unmet(taken)])));
    assert_eq!(found(&tables, "1").await, Some(widget("1")));
}

#[tokio::test]
async fn every_failed_condition_has_a_reason_and_a_missing_item_has_no_image() {
    let tables = TestTables::create().await;
    let taken = connected("2", Port::P, "3");
    tables.put(&taken).await;
    let answer = tables.table.commit(&connect("1", "2"), new_token()).await;
    assert_eq!(answer, Ok(refused(vec![Condition::Unmet(None), unmet(taken)])));
    assert_eq!(found(&tables, "1").await, None);
}

#[tokio::test]
async fn a_repeat_with_the_token_of_an_applied_transaction_changes_nothing() {
    let tables = TestTables::create().await;
    let (create, token) = (transaction(vec![Action::Create(widget("1"))]), new_token());
    for _ in 0..2 {
        assert_eq!(tables.table.commit(&create, token).await, Ok(Commit::Applied));
    }
    // A create without the token would bring a deleted widget back.
    let delete = Action::Delete { serial: serial("1"), seen: widget("1").revision };
    let delete = transaction(vec![delete]);
    assert_eq!(tables.table.commit(&delete, new_token()).await, Ok(Commit::Applied));
    assert_eq!(tables.table.commit(&create, token).await, Ok(Commit::Applied));
    assert_eq!(found(&tables, "1").await, None);
    assert_eq!(tables.table.commit(&create, new_token()).await, Ok(Commit::Applied));
    assert_eq!(found(&tables, "1").await, Some(widget("1")));
}

#[tokio::test]
async fn a_token_belongs_to_one_transaction() {
    let tables = TestTables::create().await;
    let (one, other) = (Action::Create(widget("1")), Action::Create(widget("2")));
    let token = new_token();
    assert_eq!(tables.table.commit(&transaction(vec![one]), token).await, Ok(Commit::Applied));
    let error = tables.table.commit(&transaction(vec![other]), token).await.unwrap_err();
    assert!(error.detail.contains("IdempotentParameterMismatch"), "{error}");
    assert_eq!(found(&tables, "2").await, None);
}

#[tokio::test]
async fn a_refused_transaction_does_not_use_its_token_up() {
    let tables = TestTables::create().await;
    let (connect, token) = (connect("1", "2"), new_token());
    tables.put(&widget("1")).await;
    let answer = tables.table.commit(&connect, token).await;
    assert_eq!(answer, Ok(refused(vec![Condition::Met, Condition::Unmet(None)])));
    tables.put(&widget("2")).await;
    assert_eq!(tables.table.commit(&connect, token).await, Ok(Commit::Applied));
}

#[tokio::test]
async fn a_transaction_takes_a_hundred_items_and_no_more() {
    let tables = TestTables::create().await;
    let creates = |range: std::ops::Range<u32>| {
        transaction(range.map(|number| Action::Create(widget(&number.to_string()))).collect())
    };
    assert_eq!(tables.table.commit(&creates(0..100), new_token()).await, Ok(Commit::Applied));
    let error = tables.table.commit(&creates(100..201), new_token()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused, "{error}");
    assert_eq!(found(&tables, "100").await, None);
}

#[tokio::test]
async fn a_transaction_changes_no_item_twice() {
    let tables = TestTables::create().await;
    tables.put(&widget("1")).await;
    let twice = transaction(vec![link("1", Port::P, None, Some("2")), link("1", Port::Q, None, Some("2"))]);
    let error = tables.table.commit(&twice, new_token()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused, "{error}");
    assert_eq!(found(&tables, "1").await, Some(widget("1")));
}

#[tokio::test]
async fn the_longest_widget_and_its_longest_peers_fit() {
    let tables = TestTables::create().await;
    let longest = |c: char| Serial::try_from(c.to_string().repeat(64)).expect("a valid value");
    let mut large = widget(longest('~').as_str().get(..57).expect("a valid value"));
    large.name = "\u{1f980}".repeat(64).try_into().expect("a valid value");
    for (port, c) in Port::ALL.into_iter().zip(['"', '\\', ' ']) {
        large.peers.set(port, Some(longest(c)));
    }
    let create = transaction(vec![Action::Create(large.clone())]);
    assert_eq!(tables.table.commit(&create, new_token()).await, Ok(Commit::Applied));
    assert_eq!(tables.table.get(&large.serial).await, Ok(Some(large)));
}
