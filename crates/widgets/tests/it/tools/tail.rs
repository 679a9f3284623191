//! `tail`.

use ops::console::Outcome;
use widget_registry::ports::{Commit, Store};
use widget_registry::tools::tail::{self, Tail};
use widget_registry::transaction::{Action, Transaction};
use widget_registry::widget::Port;

use super::Running;
use crate::tables::{TestTables, endpoint, link, new_token, serial, widget};

async fn commit(tables: &TestTables, actions: Vec<Action>) {
    let transaction = Transaction { actions, request: None };
    assert_eq!(tables.table.commit(&transaction, new_token()).await, Ok(Commit::Applied));
}

#[tokio::test]
async fn changes_are_printed_as_they_come() {
    let tables = TestTables::create().await;
    for text in ["1", "2"] {
        commit(&tables, vec![Action::Create(widget(text))]).await;
    }
    let task = Tail { endpoint: Some(endpoint().await), tables: tables.names.clone(), since_start: true, json: false };
    let running = Running::default();
    let work = async {
        let created = "2026-11-22T10:00:00.000Z  1  created as widget 1 with P, Q, R\n";
        running.out.wait_for(&[created, "  2  created as widget 2"]).await;
        let sides = [("1", "2"), ("2", "1")];
        commit(&tables, sides.map(|(text, peer)| link(text, Port::P, None, Some(peer))).to_vec()).await;
        running.out.wait_for(&["  1  connected P to 2\n", "  2  connected P to 1\n"]).await;
        commit(&tables, sides.map(|(text, peer)| link(text, Port::P, Some(peer), None)).to_vec()).await;
        running.out.wait_for(&["  1  disconnected P from 2\n", "  2  disconnected P from 1\n"]).await;
        let seen = tables.table.get(&serial("1")).await.expect("an answer").expect("a widget").revision;
        commit(&tables, vec![Action::Delete { serial: serial("1"), seen }]).await;
        running.out.wait_for(&["Z  1  deleted\n"]).await;
        running.stop.cancel();
    };
    let (outcome, ()) = tokio::join!(running.run(async |console| tail::run(&task, console).await), work);
    assert_eq!((outcome, running.out.lines().len()), (Outcome::Done, 7));
}

#[tokio::test]
async fn changes_can_be_json() {
    let tables = TestTables::create().await;
    commit(&tables, vec![Action::Create(widget("1"))]).await;
    let task = Tail { endpoint: Some(endpoint().await), tables: tables.names.clone(), since_start: false, json: true };
    let running = Running::default();
    let work = async {
        running.out.wait_for(&["\n"]).await;
        running.stop.cancel();
    };
    let (outcome, ()) = tokio::join!(running.run(async |console| tail::run(&task, console).await), work);
    let line: serde_json::Value = serde_json::from_str(&running.out.lines()[0]).unwrap();
    let expected = serde_json::json!({
        "time": "2026-11-22T10:00:00.000Z", "serial": "1", "change": "created", "name": "widget 1",
        "ports": ["P", "Q", "R"]
    });
    assert_eq!((outcome, line), (Outcome::Done, expected));
}
