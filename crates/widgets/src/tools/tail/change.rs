//! What a record of the stream means: the differences between two images of a widget. Pure.

use std::fmt;

use ops::terminal::sanitize;
use serde_json::{Value, json};

use crate::table::item::Foreign;
use crate::widget::{Name, Port, Ports, Serial, Timestamp, Widget};

const MAX_SHOWN: usize = 300;

/// An image of an item.
pub(super) type Image = Option<Result<Widget, Foreign>>;

/// One difference of a widget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Created {
        name: Name,
        ports: Ports,
    },
    Renamed {
        to: Name,
    },
    Ports(Ports),
    Connected {
        port: Port,
        peer: Serial,
    },
    Disconnected {
        port: Port,
        peer: Serial,
    },
    Deleted,
    /// Something else than this program wrote the item.
    Foreign {
        why: String,
    },
}

/// The key of an item in printable characters, when it was written if that is known, and what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) serial: String,
    pub(super) updated_at: Option<Timestamp>,
    pub(super) changes: Vec<Change>,
}

impl Changes {
    pub(super) fn of(old: Image, new: Image) -> Changes {
        let serial = [&new, &old].into_iter().flatten().next().map(|image| match image {
            Ok(widget) => widget.serial.as_str().to_owned(),
            Err(foreign) => foreign.key.clone(),
        });
        let updated_at = new.as_ref().and_then(|new| Some(new.as_ref().ok()?.updated_at.clone()));
        let changes = match (old, new) {
            (_, Some(Err(foreign))) => vec![Change::Foreign { why: foreign.to_string() }],
            (_, None) => vec![Change::Deleted],
            (None | Some(Err(_)), Some(Ok(new))) => created(&new),
            (Some(Ok(old)), Some(Ok(new))) if old.revision.incarnation != new.revision.incarnation => created(&new),
            (Some(Ok(old)), Some(Ok(new))) => differences(&old, &new),
        };
        Changes { serial: serial.unwrap_or_default(), updated_at, changes }
    }
}

fn created(new: &Widget) -> Vec<Change> {
    let connected = new.peers.iter().map(|(port, peer)| Change::Connected { port, peer: peer.clone() });
    let created = Change::Created { name: new.name.clone(), ports: new.ports.clone() };
    std::iter::once(created).chain(connected).collect()
}

fn differences(old: &Widget, new: &Widget) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.name != new.name {
        changes.push(Change::Renamed { to: new.name.clone() });
    }
    if old.ports != new.ports {
        changes.push(Change::Ports(new.ports.clone()));
    }
    for port in Port::ALL {
        let (before, after) = (old.peers.get(port), new.peers.get(port));
        if before == after {
            continue;
        }
        changes.extend(before.map(|peer| Change::Disconnected { port, peer: peer.clone() }));
        changes.extend(after.map(|peer| Change::Connected { port, peer: peer.clone() }));
    }
    changes
}

fn list(ports: &Ports) -> String {
    ports.iter().map(Port::name).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &Name| sanitize(name.as_str(), MAX_SHOWN);
        match self {
            Change::Created { name, ports } => write!(f, "created as {} with {}", shown(name), list(ports)),
            Change::Renamed { to } => write!(f, "renamed to {}", shown(to)),
            Change::Ports(ports) => write!(f, "ports {}", list(ports)),
            Change::Connected { port, peer } => write!(f, "connected {port} to {peer}"),
            Change::Disconnected { port, peer } => write!(f, "disconnected {port} from {peer}"),
            Change::Deleted => f.write_str("deleted"),
            Change::Foreign { why } => write!(f, "foreign: {}", sanitize(why, MAX_SHOWN)),
        }
    }
}

impl Change {
    pub(super) fn json(&self) -> Value {
        match self {
            Change::Created { name, ports } => json!({ "change": "created", "name": name, "ports": ports }),
            Change::Renamed { to } => json!({ "change": "renamed", "name": to }),
            Change::Ports(ports) => json!({ "change": "ports", "ports": ports }),
            Change::Connected { port, peer } => json!({ "change": "connected", "port": port, "peer": peer }),
            Change::Disconnected { port, peer } => json!({ "change": "disconnected", "port": port, "peer": peer }),
            Change::Deleted => json!({ "change": "deleted" }),
            Change::Foreign { why } => json!({ "change": "foreign", "detail": why }),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::table::item::parse_widget;
    use crate::widget::{Peers, Revision};

    fn serial(text: &str) -> Serial {
        Serial::try_from(text.to_owned()).unwrap()
    }

    fn widget(incarnation: u128, peers: &[(Port, &str)]) -> Widget {
        let mut named = Peers::default();
        for (port, peer) in peers {
            named.set(*port, Some(serial(peer)));
        }
        Widget {
            serial: serial("1"),
            name: Name::try_from("a\u{202e}b".to_owned()).unwrap(),
            ports: Ports::try_from(vec![Port::P, Port::R]).unwrap(),
            peers: named,
            revision: Revision { incarnation: Uuid::from_u128(incarnation), version: 1 },
            created_at: Timestamp::stored("t0"),
            updated_at: Timestamp::stored("t1"),
        }
    }

    fn texts(old: Option<Widget>, new: Option<Widget>) -> Vec<String> {
        let changes = Changes::of(old.map(Ok), new.map(Ok));
        assert_eq!(changes.serial, "1");
        changes.changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_difference_is_a_change() {
        let (free, taken) = (widget(1, &[]), widget(1, &[(Port::P, "2"), (Port::R, "2")]));
        assert_eq!(texts(None, Some(free.clone())), ["created as a\\u{202e}b with P, R"]);
        assert_eq!(texts(Some(free.clone()), None), ["deleted"]);
        let connected = ["connected P to 2", "connected R to 2"];
        assert_eq!(texts(Some(free.clone()), Some(taken.clone())), connected);
        let moved = widget(1, &[(Port::P, "3"), (Port::R, "2")]);
        assert_eq!(texts(Some(taken.clone()), Some(moved)), ["disconnected P from 2", "connected P to 3"]);
        let mut changed = free.clone();
        changed.name = Name::try_from("c".to_owned()).unwrap();
        changed.ports = Ports::try_from(vec![Port::Q]).unwrap();
        assert_eq!(texts(Some(free.clone()), Some(changed)), ["renamed to c", "ports Q"]);
        assert_eq!(texts(Some(taken), Some(widget(2, &[]))), ["created as a\\u{202e}b with P, R"]);
        assert_eq!(texts(Some(free.clone()), Some(free)), [""; 0]);
    }

    #[test]
    fn a_foreign_item_is_shown_as_such() {
        let foreign = || Some(parse_widget(&dynamodb::Item::new()));
        let changes = Changes::of(Some(Ok(widget(1, &[]))), foreign());
        assert!(matches!(&changes.changes[..], [Change::Foreign { .. }]), "{changes:?}");
        assert_eq!(Changes::of(foreign(), None).changes, [Change::Deleted]);
        assert_eq!(Changes::of(foreign(), Some(Ok(widget(1, &[])))).changes.len(), 1);
    }
}
