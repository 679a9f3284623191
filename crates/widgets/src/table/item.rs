//! The items of widgets and of remembered requests. Pure.

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb::values::{number, string, text, whole};
use dynamodb::{EXPIRES_AT, Item, StoreError, StoreErrorKind};
use ops::terminal::sanitize;
use uuid::Uuid;

use crate::transaction::{Request, StoredRequest};
use crate::widget::{Name, Peers, Port, Ports, Revision, Serial, Timestamp, Widget};

pub const SERIAL: &str = "serial";
pub const NAME: &str = "name";
/// The names of the ports, as a set of strings.
pub const PORTS: &str = "ports";
pub const INCARNATION: &str = "incarnation";
pub const VERSION: &str = "version";
pub const CREATED_AT: &str = "created_at";
pub const UPDATED_AT: &str = "updated_at";

/// The key of a remembered request: a hash of its caller and its Idempotency-Key.
pub const ID: &str = "id";
/// A hash of the operation.
pub const REQUEST: &str = "request";
/// The answer, as JSON.
pub const OUTCOME: &str = "outcome";

const MAX_SHOWN: usize = 80;
/// More changes than any widget ever has.
const MAX_VERSION: u64 = 1 << 53;

/// Returns the attribute with the peer of a port. It is absent if the port is free.
pub fn peer_attribute(port: Port) -> &'static str {
    match port {
        Port::P => "p",
        Port::Q => "q",
        Port::R => "r",
    }
}

pub fn key(serial: &Serial) -> Item {
    Item::from([(SERIAL.to_owned(), text(serial.as_str()))])
}

pub(super) fn ports_value(ports: &Ports) -> AttributeValue {
    AttributeValue::Ss(ports.iter().map(|port| port.name().to_owned()).collect())
}

pub fn widget_item(widget: &Widget) -> Item {
    let Widget { serial, name, ports, peers, revision, created_at, updated_at } = widget;
    let mut item = key(serial);
    let mut set = |name: &str, value: AttributeValue| _ = item.insert(name.to_owned(), value);
    set(NAME, text(name.as_str()));
    set(PORTS, ports_value(ports));
    set(INCARNATION, text(revision.incarnation.to_string()));
    set(VERSION, number(revision.version));
    set(CREATED_AT, text(created_at.as_str()));
    set(UPDATED_AT, text(updated_at.as_str()));
    for (port, peer) in peers.iter() {
        set(peer_attribute(port), text(peer.as_str()));
    }
    item
}

/// An item that this program did not write, or a newer version of it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the item {key} is no {what}: {attribute} is missing or not valid")]
pub struct Foreign {
    /// Its key, in printable characters.
    pub key: String,
    what: &'static str,
    pub attribute: &'static str,
}

impl From<Foreign> for StoreError {
    fn from(foreign: Foreign) -> StoreError {
        StoreError { kind: StoreErrorKind::ForeignRow, detail: foreign.to_string() }
    }
}

fn foreign(item: &Item, key: &str, what: &'static str, attribute: &'static str) -> Foreign {
    Foreign { key: sanitize(string(item, key).unwrap_or("?"), MAX_SHOWN), what, attribute }
}

pub fn parse_widget(item: &Item) -> Result<Widget, Foreign> {
    parse(item).map_err(|attribute| foreign(item, SERIAL, "widget", attribute))
}

/// Returns the widget, or the name of the first attribute that does not fit.
fn parse(item: &Item) -> Result<Widget, &'static str> {
    let attribute = |name| string(item, name).map(str::to_owned).ok_or(name);
    let incarnation = string(item, INCARNATION).and_then(|text| Uuid::try_parse(text).ok()).ok_or(INCARNATION)?;
    let version = whole(item, VERSION).filter(|version| *version <= MAX_VERSION).ok_or(VERSION)?;
    let time = |name| {
        let text = string(item, name).filter(|text| humantime::parse_rfc3339(text).is_ok()).ok_or(name)?;
        Ok::<_, &'static str>(Timestamp::stored(text))
    };
    let mut peers = Peers::default();
    for port in Port::ALL {
        let name = peer_attribute(port);
        if item.contains_key(name) {
            peers.set(port, Some(Serial::try_from(attribute(name)?).map_err(|_| name)?));
        }
    }
    Ok(Widget {
        serial: Serial::try_from(attribute(SERIAL)?).map_err(|_| SERIAL)?,
        name: Name::try_from(attribute(NAME)?).map_err(|_| NAME)?,
        ports: parse_ports(item).ok_or(PORTS)?,
        peers,
        revision: Revision { incarnation, version },
        created_at: time(CREATED_AT)?,
        updated_at: time(UPDATED_AT)?,
    })
}

fn parse_ports(item: &Item) -> Option<Ports> {
    let names = item.get(PORTS)?.as_ss().ok()?;
    let ports: Result<Vec<_>, _> = names.iter().map(|name| Port::parse(name)).collect();
    Ports::try_from(ports.ok()?).ok()
}

pub fn request_item(request: &Request) -> Item {
    let answer = serde_json::to_string(&request.stored.answer).expect("an answer has text, numbers and lists");
    let attributes = [
        (ID, text(&request.id)),
        (REQUEST, text(&request.stored.operation)),
        (OUTCOME, text(answer)),
        (EXPIRES_AT, number(request.expires_at)),
    ];
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub fn parse_request(item: &Item) -> Result<StoredRequest, Foreign> {
    let foreign = |attribute| foreign(item, ID, "request", attribute);
    let operation = string(item, REQUEST).ok_or_else(|| foreign(REQUEST))?.to_owned();
    let answer = string(item, OUTCOME).and_then(|text| serde_json::from_str(text).ok());
    Ok(StoredRequest { operation, answer: answer.ok_or_else(|| foreign(OUTCOME))? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Outcome, Refusal};

    fn serial(text: &str) -> Serial {
        Serial::try_from(text.to_owned()).unwrap()
    }

    fn widget() -> Widget {
        let mut peers = Peers::default();
        peers.set(Port::R, Some(serial("321")));
        Widget {
            serial: serial("123"),
            name: Name::try_from("widget1".to_owned()).unwrap(),
            ports: Ports::try_from(vec![Port::P, Port::R]).unwrap(),
            peers,
            revision: Revision { incarnation: Uuid::from_u128(7), version: 3 },
            created_at: Timestamp::stored("2026-11-22T10:00:00.000Z"),
            updated_at: Timestamp::stored("2026-11-22T10:00:01.000Z"),
        }
    }

    #[test]
    fn a_widget_is_read_back_from_its_item() {
        let item = widget_item(&widget());
        assert_eq!(parse_widget(&item), Ok(widget()));
        let mut names: Vec<_> = item.keys().map(String::as_str).collect();
        names.sort_unstable();
        // A free port has no attribute.
        let expected = ["created_at", "incarnation", "name", "ports", "r", "serial", "updated_at", "version"];
        assert_eq!(names, expected);
    }

    #[test]
    fn an_item_of_another_form_is_foreign_and_names_the_attribute() {
        let strings = |texts: &[&str]| AttributeValue::Ss(texts.iter().map(|text| (*text).to_owned()).collect());
        for (name, value) in [
            (SERIAL, text("a/b\u{1b}")),
            (NAME, text("")),
            (NAME, number(1)),
            (PORTS, text("P")),
            (PORTS, strings(&["P", "S"])),
            (INCARNATION, text("7")),
            (VERSION, AttributeValue::N("-1".to_owned())),
            (VERSION, text("1")),
            ("p", AttributeValue::Null(true)),
            ("r", text("")),
            (UPDATED_AT, number(1)),
        ] {
            let mut item = widget_item(&widget());
            item.insert(name.to_owned(), value);
            let foreign = parse_widget(&item).unwrap_err();
            assert_eq!(foreign.attribute, name);
            assert!(!foreign.to_string().contains('\u{1b}'));
        }
        for name in [SERIAL, NAME, PORTS, INCARNATION, VERSION, CREATED_AT, UPDATED_AT] {
            let mut item = widget_item(&widget());
            item.remove(name);
            assert_eq!(parse_widget(&item).map_err(|foreign| foreign.attribute), Err(name));
        }
    }

    #[test]
    fn attributes_of_a_newer_version_do_not_matter() {
        let mut item = widget_item(&widget());
        item.insert("colour".to_owned(), text("red"));
        assert_eq!(parse_widget(&item), Ok(widget()));
    }

    #[test]
    fn answers_are_read_back_from_the_item_of_their_request() {
        let refusal = Refusal::PortTaken { serial: serial("1"), port: Port::P, by: serial("2") };
        for answer in [Ok(Outcome::Exists(widget())), Ok(Outcome::Disconnected), Err(refusal)] {
            let stored = StoredRequest { operation: "hash".to_owned(), answer };
            let request = Request { id: "id".to_owned(), stored: stored.clone(), expires_at: 9, now: 3 };
            assert_eq!(parse_request(&request_item(&request)), Ok(stored));
        }
        let empty = Item::from([(ID.to_owned(), text("id"))]);
        assert_eq!(parse_request(&empty).map_err(|foreign| foreign.attribute), Err(REQUEST));
    }
}
