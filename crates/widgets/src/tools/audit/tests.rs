//! All planted violations are found, and no others.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::matching::Matching;
use super::rules::{Snapshot, Violation, peers_of, violations};
use crate::table::Row;
use crate::widget::{Name, Peers, Port, Ports, Revision, Serial, Timestamp, Widget};

const WIDGETS: usize = 12;

fn serial(number: usize) -> Serial {
    Serial::try_from(number.to_string()).unwrap()
}

fn widget(number: usize) -> Widget {
    Widget {
        serial: serial(number),
        name: Name::try_from("w".to_owned()).unwrap(),
        ports: Ports::try_from(Port::ALL.to_vec()).unwrap(),
        peers: Peers::default(),
        revision: Revision { incarnation: Uuid::nil(), version: 1 },
        created_at: Timestamp::stored(""),
        updated_at: Timestamp::stored(""),
    }
}

type Table = Vec<Widget>;

fn connect(table: &mut Table, port: Port, first: usize, second: usize) {
    let is_free = |number: usize| table[number].peers.get(port).is_none();
    if first != second && is_free(first) && is_free(second) {
        table[first].peers.set(port, Some(serial(second)));
        table[second].peers.set(port, Some(serial(first)));
    }
}

/// What a fault leaves in the table.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// One side is disconnected, and the other one is not.
    Half(usize, Port),
    /// One side is connected to another widget, which does not know.
    Elsewhere(usize, Port, usize),
    /// A widget is deleted, and its peers are not disconnected.
    Deleted(usize),
    /// A connected port is removed.
    Port(usize, Port),
}

fn plant(table: &mut Table, fault: Fault) {
    match fault {
        Fault::Half(number, port) => table[number].peers.set(port, None),
        Fault::Elsewhere(number, port, peer) => table[number].peers.set(port, Some(serial(peer))),
        Fault::Deleted(number) => table.retain(|widget| widget.serial != serial(number)),
        Fault::Port(number, port) => {
            let others: Vec<_> = Port::ALL.into_iter().filter(|other| *other != port).collect();
            table[number].ports = Ports::try_from(others).unwrap();
        }
    }
}

/// Returns what breaks the rules, by their definition.
fn expected(table: &Table) -> BTreeSet<Violation> {
    let mut violations = BTreeSet::new();
    for widget in table {
        for (port, peer) in widget.peers.iter() {
            let (serial, named) = (widget.serial.clone(), peer.clone());
            if !widget.ports.contains(port) {
                let (serial, peer) = (serial.clone(), named.clone());
                violations.insert(Violation::NoSuchPort { serial, port, peer });
            }
            let found = table.iter().find(|other| other.serial == *peer);
            violations.extend(match found {
                _ if *peer == serial => Some(Violation::Itself { serial, port }),
                None => Some(Violation::MissingPeer { serial, port, peer: named }),
                Some(found) if found.peers.get(port) == Some(&serial) => None,
                Some(found) => {
                    let names = found.peers.get(port).cloned();
                    Some(Violation::OneSided { serial, port, peer: named, names })
                }
            });
        }
    }
    violations
}

/// Scans a table in this order, and confirms the suspects.
fn audit(table: &Table, order: &[usize]) -> (BTreeSet<Violation>, usize, u64) {
    let mut matching = Matching::default();
    let mut suspects = BTreeSet::new();
    for index in order.iter().filter(|index| **index < table.len()) {
        if matching.see(&table[*index]) {
            suspects.insert(table[*index].serial.clone());
        }
    }
    let connections = matching.connections();
    suspects.extend(matching.suspects());
    let row = |serial: &Serial| {
        let found = table.iter().find(|widget| widget.serial == *serial);
        found.map_or(Row::Missing, |widget| Row::Widget(Box::new(widget.clone())))
    };
    let confirmed = suspects.iter().flat_map(|serial| {
        let mut snapshot = Snapshot::from([(serial.clone(), row(serial))]);
        for peer in peers_of(&snapshot, serial) {
            let row = row(&peer);
            snapshot.insert(peer, row);
        }
        violations(&snapshot, serial)
    });
    (confirmed.collect(), suspects.len(), connections)
}

fn a_port() -> impl Strategy<Value = Port> {
    prop::sample::select(&Port::ALL[..])
}

fn a_fault() -> impl Strategy<Value = Fault> {
    let number = 0..WIDGETS;
    prop_oneof![
        (number.clone(), a_port()).prop_map(|(number, port)| Fault::Half(number, port)),
        (number.clone(), a_port(), 0..WIDGETS).prop_map(|(number, port, peer)| Fault::Elsewhere(number, port, peer)),
        (number.clone(), a_port()).prop_map(|(number, port)| Fault::Port(number, port)),
        number.prop_map(Fault::Deleted),
    ]
}

proptest! {
    #[test]
    fn all_planted_violations_are_found_and_no_others(
        connections in vec((a_port(), 0..WIDGETS, 0..WIDGETS), 0..30),
        mut faults in vec(a_fault(), 0..4),
        order in Just((0..WIDGETS).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut table: Table = (0..WIDGETS).map(widget).collect();
        for (port, first, second) in connections {
            connect(&mut table, port, first, second);
        }
        // The others name widgets by their positions, which a deletion changes.
        faults.sort_by_key(|fault| matches!(fault, Fault::Deleted(_)));
        for fault in faults {
            plant(&mut table, fault);
        }
        let (found, ..) = audit(&table, &order);
        prop_assert_eq!(found, expected(&table));
    }

    #[test]
    fn a_sound_table_has_no_suspects_and_each_connection_once(
        connections in vec((a_port(), 0..WIDGETS, 0..WIDGETS), 0..30),
        order in Just((0..WIDGETS).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut table: Table = (0..WIDGETS).map(widget).collect();
        for (port, first, second) in connections {
            connect(&mut table, port, first, second);
        }
        let halves: usize = table.iter().map(|widget| widget.peers.iter().count()).sum();
        let (found, suspects, connections) = audit(&table, &order);
        prop_assert_eq!((found.len(), suspects, connections), (0, 0, halves as u64 / 2));
    }
}

#[test]
fn two_widgets_may_be_connected_at_several_ports() {
    let mut table: Table = (0..2).map(widget).collect();
    for port in Port::ALL {
        connect(&mut table, port, 0, 1);
    }
    assert_eq!(audit(&table, &[0, 1]), (BTreeSet::new(), 0, 3));
    plant(&mut table, Fault::Half(1, Port::Q));
    let names = None;
    let expected = Violation::OneSided { serial: serial(0), port: Port::Q, peer: serial(1), names };
    assert_eq!(audit(&table, &[1, 0]), (BTreeSet::from([expected]), 1, 2));
}

#[test]
fn a_violation_is_one_printable_line_and_one_object() {
    let hostile = Violation::Foreign { key: "a".to_owned(), why: "the item \u{1b}[31m\nis no widget".to_owned() };
    assert_eq!(hostile.to_string(), "foreign       the item \\u{1b}[31m\\nis no widget");
    let one = Violation::OneSided { serial: serial(1), port: Port::P, peer: serial(2), names: Some(serial(3)) };
    assert_eq!(one.to_string(), "one-sided     P of 1 is connected to 2, which is connected to 3");
    let object = serde_json::json!({
        "violation": "one-sided", "serial": "1", "port": "P", "peer": "2", "peer_names": "3"
    });
    assert_eq!(one.json(), object);
}
