//! The rules of connections, for one widget beside all of its peers at one moment. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ops::terminal::sanitize;
use serde_json::{Value, json};

use crate::table::Row;
use crate::widget::{Port, Serial, Widget};

/// What a table had at one moment.
pub(super) type Snapshot = BTreeMap<Serial, Row>;

/// A rule that a table breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// An item that is no widget.
    Foreign { key: String, why: String },
    /// A widget is connected to itself.
    Itself { serial: Serial, port: Port },
    /// A widget is connected at a port that it does not have.
    NoSuchPort { serial: Serial, port: Port, peer: Serial },
    /// A widget names one that does not exist.
    MissingPeer { serial: Serial, port: Port, peer: Serial },
    /// A widget names one that names another one, or none.
    OneSided { serial: Serial, port: Port, peer: Serial, names: Option<Serial> },
}

impl Violation {
    fn name(&self) -> &'static str {
        match self {
            Violation::Foreign { .. } => "foreign",
            Violation::Itself { .. } => "itself",
            Violation::NoSuchPort { .. } => "no-such-port",
            Violation::MissingPeer { .. } => "missing-peer",
            Violation::OneSided { .. } => "one-sided",
        }
    }

    pub(super) fn json(&self) -> Value {
        let kind = self.name();
        match self {
            Violation::Foreign { key, why } => json!({ "violation": kind, "key": key, "detail": why }),
            Violation::Itself { serial, port } => json!({ "violation": kind, "serial": serial, "port": port }),
            Violation::NoSuchPort { serial, port, peer } | Violation::MissingPeer { serial, port, peer } => {
                json!({ "violation": kind, "serial": serial, "port": port, "peer": peer })
            }
            Violation::OneSided { serial, port, peer, names } => {
                json!({ "violation": kind, "serial": serial, "port": port, "peer": peer, "peer_names": names })
            }
        }
    }
}

/// One line. Serial numbers are printable, and the texts of foreign items are made so.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}  ", self.name())?;
        match self {
            Violation::Foreign { why, .. } => f.write_str(&sanitize(why, 300)),
            Violation::Itself { serial, port } => write!(f, "{port} of {serial} is connected to itself"),
            Violation::NoSuchPort { serial, port, peer } => {
                write!(f, "{serial} is connected to {peer} at {port}, which it does not have")
            }
            Violation::MissingPeer { serial, port, peer } => {
                write!(f, "{port} of {serial} is connected to {peer}, which does not exist")
            }
            Violation::OneSided { serial, port, peer, names: Some(other) } => {
                write!(f, "{port} of {serial} is connected to {peer}, which is connected to {other}")
            }
            Violation::OneSided { serial, port, peer, names: None } => {
                write!(f, "{port} of {serial} is connected to {peer}, which is not connected")
            }
        }
    }
}

/// Returns the other widgets that a widget names, each one once. The rules can be checked in a snapshot that has them all.
pub(super) fn peers_of(snapshot: &Snapshot, serial: &Serial) -> Vec<Serial> {
    let Some(Row::Widget(widget)) = snapshot.get(serial) else { return Vec::new() };
    let peers: BTreeSet<_> = widget.peers.iter().map(|(_, peer)| peer).filter(|peer| *peer != serial).collect();
    peers.into_iter().cloned().collect()
}

/// Returns the rules that one widget breaks. Those that its peers break belong to them.
pub(super) fn violations(snapshot: &Snapshot, serial: &Serial) -> Vec<Violation> {
    match snapshot.get(serial) {
        None | Some(Row::Missing) => Vec::new(),
        Some(Row::Foreign(foreign)) => {
            vec![Violation::Foreign { key: foreign.key.clone(), why: foreign.to_string() }]
        }
        Some(Row::Widget(widget)) => {
            widget.peers.iter().flat_map(|(port, peer)| of_half(snapshot, widget, port, peer)).collect()
        }
    }
}

fn of_half(snapshot: &Snapshot, widget: &Widget, port: Port, peer: &Serial) -> Vec<Violation> {
    let serial = || widget.serial.clone();
    let mut violations = Vec::new();
    if !widget.ports.contains(port) {
        violations.push(Violation::NoSuchPort { serial: serial(), port, peer: peer.clone() });
    }
    let names = match snapshot.get(peer) {
        _ if *peer == widget.serial => {
            violations.push(Violation::Itself { serial: serial(), port });
            return violations;
        }
        None | Some(Row::Missing) => {
            violations.push(Violation::MissingPeer { serial: serial(), port, peer: peer.clone() });
            return violations;
        }
        Some(Row::Widget(found)) => found.peers.get(port),
        Some(Row::Foreign(_)) => None,
    };
    if names != Some(&widget.serial) {
        let names = names.cloned();
        violations.push(Violation::OneSided { serial: serial(), port, peer: peer.clone(), names });
    }
    violations
}
