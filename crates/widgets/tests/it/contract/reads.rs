//! Reads: single widgets, snapshots, pages and segments, also of a table with foreign items.

use std::collections::BTreeSet;

use dynamodb::values::text;
use dynamodb::{Item, StoreErrorKind};
use widget_registry::ports::{Page, Store};
use widget_registry::table::{REQUESTS, Segment, WIDGETS};
use widget_registry::transaction::{Action, Transaction};
use widget_registry::widget::{Port, Serial};

use super::transactions::transaction;
use crate::tables::{TestTables, connected, link, new_token, serial, widget};

fn foreign(key: &str) -> Item {
    Item::from([("serial".to_owned(), text(key)), ("name".to_owned(), text("w"))])
}

#[tokio::test]
async fn widgets_are_read_back_one_and_two_at_a_time() {
    let tables = TestTables::create().await;
    let connected = connected("1", Port::R, "2");
    tables.put(&connected).await;
    assert_eq!(tables.table.get(&serial("1")).await, Ok(Some(connected.clone())));
    assert_eq!(tables.table.get(&serial("2")).await, Ok(None));
    let two = tables.table.get_two([&serial("2"), &serial("1")]).await;
    assert_eq!(two, Ok([None, Some(connected)]));
}

#[tokio::test]
async fn a_snapshot_has_the_order_of_its_serial_numbers() {
    let tables = TestTables::create().await;
    for text in ["1", "3"] {
        tables.put(&widget(text)).await;
    }
    let snapshot = tables.table.snapshot(&["3", "2", "1"].map(serial)).await;
    assert_eq!(snapshot, Ok(vec![Some(widget("3")), None, Some(widget("1"))]));
    let twice = tables.table.snapshot(&["1", "1"].map(serial)).await.unwrap_err();
    assert_eq!(twice.kind, StoreErrorKind::Refused, "{twice}");
}

#[tokio::test]
async fn a_foreign_item_is_an_error_of_its_own_kind() {
    let tables = TestTables::create().await;
    tables.put_item(foreign("1")).await;
    tables.put(&widget("2")).await;
    let kind = |error: dynamodb::StoreError| error.kind;
    let expected = StoreErrorKind::ForeignRow;
    assert_eq!(tables.table.get(&serial("1")).await.map_err(kind), Err(expected));
    assert_eq!(tables.table.snapshot(&["2", "1"].map(serial)).await.map_err(kind), Err(expected));
    let connect = vec![link("2", Port::P, None, Some("1")), link("1", Port::P, None, Some("2"))];
    let refused = tables.table.commit(&transaction(connect), new_token()).await;
    assert_eq!(refused.map_err(kind), Err(expected));
    assert_eq!(tables.table.get(&serial("2")).await, Ok(Some(widget("2"))));
}

#[tokio::test]
async fn pages_skip_foreign_items_whatever_their_keys_are() {
    let tables = TestTables::create().await;
    for number in 0..20 {
        tables.put_item(foreign(&format!("foreign {number}"))).await;
        tables.put_item(foreign(&format!("foreign/{number}"))).await;
    }
    let expected: BTreeSet<_> = (0..20).map(|number| serial(&number.to_string())).collect();
    for serial in &expected {
        tables.put(&widget(serial.as_str())).await;
    }
    for limit in [1, 3, 100] {
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let Page { widgets, next } = tables.table.page(after.as_ref(), limit).await.expect("an answer");
            assert!(widgets.len() <= usize::from(limit));
            found.extend(widgets.into_iter().map(|widget| widget.serial));
            pages += 1;
            assert!(pages <= 61, "a page repeats");
            let Some(next) = next else { break };
            after = Some(next);
        }
        let distinct: BTreeSet<Serial> = found.iter().cloned().collect();
        assert_eq!((distinct, found.len()), (expected.clone(), expected.len()), "with a limit of {limit}");
    }
}

#[tokio::test]
async fn segments_have_each_item_once() {
    let tables = TestTables::create().await;
    let creates = (0..100).map(|number| Action::Create(widget(&number.to_string()))).collect();
    let transaction = Transaction { actions: creates, request: None };
    tables.table.commit(&transaction, new_token()).await.expect("an answer");
    tables.put_item(foreign("a/b")).await;
    let (mut widgets, mut foreign) = (Vec::new(), 0);
    for number in 0..4 {
        let mut after = None;
        loop {
            let page = tables.table.scan(after, Some(7), Some(Segment { number, of: 4 })).await.expect("an answer");
            for row in page.rows {
                match row {
                    Ok(widget) => widgets.push(widget.serial),
                    Err(_) => foreign += 1,
                }
            }
            let Some(next) = page.next else { break };
            after = Some(next);
        }
    }
    let distinct: BTreeSet<_> = widgets.iter().collect();
    assert_eq!((distinct.len(), widgets.len(), foreign), (100, 100, 1));
}

#[tokio::test]
async fn the_tables_fit_after_they_were_created() {
    let tables = TestTables::create().await;
    for (spec, name) in [(&WIDGETS, &tables.names.widgets), (&REQUESTS, &tables.names.requests)] {
        assert_eq!(dynamodb::check_table(&tables.client, spec, name).await, Ok(true));
        assert_eq!(dynamodb::create_table(&tables.client, spec, name).await, Ok(false));
    }
}
