//! `Action::apply`, which the simulation uses, means what DynamoDB does: for random items and transactions.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use uuid::Uuid;
use widget_registry::ports::{Commit, Condition, Store};
use widget_registry::table::item::key;
use widget_registry::transaction::{Action, Link, Transaction, Update};
use widget_registry::widget::{Name, Peers, Port, Ports, Revision, Serial, Timestamp, Widget};

use crate::tables::{TestTables, new_token, serial};

const SERIALS: [&str; 3] = ["1", "2", "3"];

type Items = BTreeMap<Serial, Option<Widget>>;

fn a_serial() -> impl Strategy<Value = Serial> {
    select(&SERIALS[..]).prop_map(serial)
}

fn a_peer() -> impl Strategy<Value = Option<Serial>> {
    proptest::option::weighted(0.5, a_serial())
}

fn some_ports() -> impl Strategy<Value = Ports> {
    subsequence(Port::ALL.to_vec(), 1..=3).prop_map(|ports| Ports::try_from(ports).expect("a valid value"))
}

fn a_revision() -> impl Strategy<Value = Revision> {
    (1..=2u128, 1..=2u64)
        .prop_map(|(incarnation, version)| Revision { incarnation: Uuid::from_u128(incarnation), version })
}

fn a_name() -> impl Strategy<Value = Name> {
    "[ -~é]{1,8}".prop_map(|name| Name::try_from(name).expect("a valid value"))
}

fn a_time() -> impl Strategy<Value = Timestamp> {
    (0..9).prop_map(|second| Timestamp::stored(&format!("2026-11-22T10:00:0{second}.000Z")))
}

fn a_widget(serial: Serial) -> impl Strategy<Value = Widget> {
    (a_name(), some_ports(), [a_peer(), a_peer(), a_peer()], a_revision(), a_time()).prop_map(
        move |(name, ports, named, revision, time)| {
            let mut peers = Peers::default();
            for (port, peer) in Port::ALL.into_iter().zip(named) {
                peers.set(port, peer);
            }
            let (created_at, updated_at) = (time.clone(), time);
            Widget { serial: serial.clone(), name, ports, peers, revision, created_at, updated_at }
        },
    )
}

fn an_update(serial: Serial) -> impl Strategy<Value = Update> {
    let links = subsequence(Port::ALL.to_vec(), 0..=2).prop_flat_map(|ports| {
        let link = |port| (a_peer(), a_peer()).prop_map(move |(from, to)| Link { port, from, to });
        ports.into_iter().map(link).collect::<Vec<_>>()
    });
    let details = proptest::option::of((a_name(), some_ports()));
    (proptest::option::weighted(0.3, a_revision()), links, details, a_time()).prop_map(
        move |(seen, links, details, updated_at)| Update { serial: serial.clone(), seen, links, details, updated_at },
    )
}

fn an_action(serial: Serial) -> impl Strategy<Value = Action> {
    let (created, updated) = (a_widget(serial.clone()), an_update(serial.clone()));
    prop_oneof![
        1 => created.prop_map(Action::Create),
        4 => updated.prop_map(Action::Update),
        1 => a_revision().prop_map(move |seen| Action::Delete { serial: serial.clone(), seen }),
    ]
}

fn items() -> impl Strategy<Value = Items> {
    let item = |text| {
        let item = proptest::option::weighted(0.8, a_widget(serial(text)));
        item.prop_map(move |item| (serial(text), item))
    };
    SERIALS.map(item).prop_map(Items::from_iter)
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    subsequence(SERIALS.to_vec(), 1..=3)
        .prop_flat_map(|texts| texts.into_iter().map(|text| an_action(serial(text))).collect::<Vec<_>>())
}

/// Returns the answer and the items afterwards.
fn expected(mut items: Items, actions: &[Action]) -> (Commit, Items) {
    let results: Vec<_> = actions.iter().map(|action| action.apply(items[action.serial()].as_ref())).collect();
    if results.iter().all(Result::is_ok) {
        for (action, after) in actions.iter().zip(results) {
            items.insert(action.serial().clone(), after.expect("a valid value"));
        }
        return (Commit::Applied, items);
    }
    let condition = |(action, result): (&Action, Result<_, _>)| match result {
        Ok(_) => Condition::Met,
        Err(_) => Condition::Unmet(items[action.serial()].clone().map(Box::new)),
    };
    let conditions = actions.iter().zip(results).map(condition).collect();
    (Commit::Refused { actions: conditions, request: None }, items)
}

async fn store(tables: &TestTables, items: &Items) {
    for (serial, item) in items {
        match item {
            Some(widget) => tables.put(widget).await,
            None => {
                let delete = tables.client.delete_item().table_name(&tables.names.widgets);
                delete.set_key(Some(key(serial))).send().await.expect("an answer");
            }
        }
    }
}

#[test]
fn apply_means_what_dynamodb_does() {
    let runtime = tokio::runtime::Runtime::new().expect("a valid value");
    let tables = runtime.block_on(TestTables::create());
    // So many that chance alone does not leave fewer than 50 applied.
    let mut runner = TestRunner::new(Config { cases: 1_000, failure_persistence: None, ..Config::default() });
    let applied = std::cell::Cell::new(0);
    let compare = |(items, actions): (Items, Vec<Action>)| {
        runtime.block_on(async {
            store(&tables, &items).await;
            let (answer, after) = expected(items, &actions);
            applied.set(applied.get() + u32::from(answer == Commit::Applied));
            let transaction = Transaction { actions, request: None };
            let found = tables.table.commit(&transaction, new_token()).await;
            prop_assert_eq!(found, Ok(answer));
            for (serial, item) in after {
                prop_assert_eq!(tables.table.get(&serial).await, Ok(item));
            }
            Ok::<(), TestCaseError>(())
        })
    };
    runner.run(&(items(), actions()), compare).expect("a valid value");
    assert!((50..450).contains(&applied.get()), "{} transactions of 1,000 were applied", applied.get());
}
