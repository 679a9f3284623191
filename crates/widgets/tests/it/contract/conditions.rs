//! The condition of each action, one part at a time.

use uuid::Uuid;
use widget_registry::ports::{Commit, Condition, Store};
use widget_registry::transaction::{Action, Update};
use widget_registry::widget::{Port, Ports, Revision, Timestamp, Widget};

use super::transactions::transaction;
use crate::tables::{TestTables, connected, link, new_token, serial, widget};

/// Returns whether the condition of an action holds for an item.
async fn holds(tables: &TestTables, item: Option<&Widget>, action: Action) -> bool {
    let key = widget_registry::table::item::key(action.serial());
    match item {
        Some(item) => tables.put(item).await,
        None => {
            let delete = tables.client.delete_item().table_name(&tables.names.widgets).set_key(Some(key));
            delete.send().await.expect("an answer");
        }
    }
    match tables.table.commit(&transaction(vec![action]), new_token()).await.expect("an answer") {
        Commit::Applied => true,
        Commit::Refused { actions, request } => {
            let image = item.cloned().map(Box::new);
            assert_eq!((actions, request), (vec![Condition::Unmet(image)], None));
            false
        }
    }
}

#[tokio::test]
async fn a_link_needs_the_peer_that_was_expected_and_the_port() {
    let tables = TestTables::create().await;
    let free = widget("1");
    let taken = connected("1", Port::P, "2");
    let mut no_port = widget("1");
    no_port.ports = Ports::try_from(vec![Port::Q, Port::R]).expect("a valid value");
    let table = [
        (Some(&free), link("1", Port::P, None, Some("2")), true),
        (Some(&taken), link("1", Port::P, None, Some("3")), false),
        (Some(&taken), link("1", Port::Q, None, Some("3")), true),
        (Some(&no_port), link("1", Port::P, None, Some("2")), false),
        (Some(&taken), link("1", Port::P, Some("2"), Some("3")), true),
        (Some(&taken), link("1", Port::P, Some("3"), Some("4")), false),
        (Some(&taken), link("1", Port::P, Some("2"), None), true),
        (Some(&taken), link("1", Port::P, Some("3"), None), false),
        (Some(&free), link("1", Port::P, Some("2"), None), false),
        (Some(&no_port), link("1", Port::P, None, None), true),
        (None, link("1", Port::P, None, None), false),
        (None, link("1", Port::P, None, Some("2")), false),
    ];
    for (item, action, expected) in table {
        assert_eq!(holds(&tables, item, action.clone()).await, expected, "{action:?} on {item:?}");
    }
}

#[tokio::test]
async fn a_revision_is_that_of_one_incarnation_and_one_version() {
    let tables = TestTables::create().await;
    let item = widget("1");
    let Revision { incarnation, version } = item.revision;
    let other = Uuid::from_u128(2);
    for (seen, expected) in [
        (Revision { incarnation, version }, true),
        (Revision { incarnation, version: version + 1 }, false),
        (Revision { incarnation: other, version }, false),
    ] {
        let serial = serial("1");
        let delete = Action::Delete { serial: serial.clone(), seen };
        assert_eq!(holds(&tables, Some(&item), delete.clone()).await, expected);
        assert!(!holds(&tables, None, delete).await);
        let updated_at = Timestamp::stored("2026-11-22T11:00:00.000Z");
        let update = Update { serial, seen: Some(seen), links: Vec::new(), details: None, updated_at };
        assert_eq!(holds(&tables, Some(&item), Action::Update(update.clone())).await, expected);
        assert!(!holds(&tables, None, Action::Update(update)).await, "DynamoDB creates no item");
    }
}

#[tokio::test]
async fn a_create_needs_that_there_is_no_item() {
    let tables = TestTables::create().await;
    let item = widget("1");
    assert!(holds(&tables, None, Action::Create(item.clone())).await);
    assert!(!holds(&tables, Some(&item), Action::Create(item.clone())).await);
}
