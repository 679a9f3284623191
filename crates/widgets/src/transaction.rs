//! A transaction: what becomes of each item, and under which condition. [`Action::apply`] is its meaning, which the table and
//! the simulation share. Pure.

use crate::operation::Answer;
use crate::widget::{Name, Port, Ports, Revision, Serial, Timestamp, Widget};

/// Changes of items that DynamoDB applies all at once, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// At most one for each widget. None if only the request is remembered.
    pub actions: Vec<Action>,
    /// Remembers the request by its Idempotency-Key.
    pub request: Option<Request>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// If no widget has this serial number.
    Create(Widget),
    Update(Update),
    /// If the widget is in this state.
    Delete {
        serial: Serial,
        seen: Revision,
    },
}

/// A change of an existing widget. Its version grows by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub serial: Serial,
    /// If the widget is in this state.
    pub seen: Option<Revision>,
    pub links: Vec<Link>,
    pub details: Option<(Name, Ports)>,
    pub updated_at: Timestamp,
}

/// A change of the peer of a port, if the peer is `from`. To get a peer, the widget must have the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub port: Port,
    pub from: Option<Serial>,
    pub to: Option<Serial>,
}

/// A request with an Idempotency-Key, if its id is not stored yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub id: String,
    pub stored: StoredRequest,
    /// In Unix seconds.
    pub expires_at: u64,
    /// In Unix seconds. A stored request that had expired by then counts as absent.
    pub now: u64,
}

/// What is remembered of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// A hash of the operation.
    pub operation: String,
    pub answer: Answer,
}

/// The condition of an action does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmet;

impl Action {
    pub fn serial(&self) -> &Serial {
        match self {
            Action::Create(widget) => &widget.serial,
            Action::Update(update) => &update.serial,
            Action::Delete { serial, .. } => serial,
        }
    }

    /// Returns the item after the action.
    pub fn apply(&self, item: Option<&Widget>) -> Result<Option<Widget>, Unmet> {
        match (self, item) {
            (Action::Create(widget), None) => Ok(Some(widget.clone())),
            (Action::Update(update), Some(widget)) => update.apply(widget).map(Some),
            (Action::Delete { seen, .. }, Some(widget)) if widget.revision == *seen => Ok(None),
            (Action::Create(_), Some(_)) | (Action::Update(_), None) | (Action::Delete { .. }, _) => Err(Unmet),
        }
    }
}

impl Update {
    /// Returns the widget after the update.
    pub fn apply(&self, widget: &Widget) -> Result<Widget, Unmet> {
        if self.seen.is_some_and(|seen| seen != widget.revision) {
            return Err(Unmet);
        }
        let mut updated = widget.clone();
        for Link { port, from, to } in &self.links {
            let has_port = to.is_none() || widget.ports.contains(*port);
            if widget.peers.get(*port) != from.as_ref() || !has_port {
                return Err(Unmet);
            }
            updated.peers.set(*port, to.clone());
        }
        if let Some((name, ports)) = &self.details {
            updated.name = name.clone();
            updated.ports = ports.clone();
        }
        updated.revision.version += 1;
        updated.updated_at = self.updated_at.clone();
        Ok(updated)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::widget::Peers;

    fn serial(text: &str) -> Serial {
        Serial::try_from(text.to_owned()).unwrap()
    }

    fn widget(ports: &[Port]) -> Widget {
        Widget {
            serial: serial("a"),
            name: Name::try_from("w".to_owned()).unwrap(),
            ports: Ports::try_from(ports.to_vec()).unwrap(),
            peers: Peers::default(),
            revision: Revision { incarnation: Uuid::from_u128(1), version: 3 },
            created_at: Timestamp::stored("then"),
            updated_at: Timestamp::stored("then"),
        }
    }

    fn update(links: Vec<Link>) -> Update {
        Update { serial: serial("a"), seen: None, links, details: None, updated_at: Timestamp::stored("now") }
    }

    fn link(from: Option<&str>, to: Option<&str>) -> Link {
        Link { port: Port::P, from: from.map(serial), to: to.map(serial) }
    }

    #[test]
    fn a_create_needs_a_free_serial_number() {
        let action = Action::Create(widget(&[Port::P]));
        assert_eq!(action.apply(None), Ok(Some(widget(&[Port::P]))));
        assert_eq!(action.apply(Some(&widget(&[Port::P]))), Err(Unmet));
    }

    #[test]
    fn a_delete_needs_the_state_that_was_seen() {
        let item = widget(&[Port::P]);
        let delete = |seen| Action::Delete { serial: serial("a"), seen };
        assert_eq!(delete(item.revision).apply(Some(&item)), Ok(None));
        assert_eq!(delete(item.revision).apply(None), Err(Unmet));
        for other in
            [Revision { version: 4, ..item.revision }, Revision { incarnation: Uuid::from_u128(2), ..item.revision }]
        {
            assert_eq!(delete(other).apply(Some(&item)), Err(Unmet));
        }
    }

    #[test]
    fn an_update_needs_an_item_in_the_state_that_was_seen() {
        let item = widget(&[Port::P]);
        let any = update(Vec::new());
        assert_eq!(Action::Update(any.clone()).apply(None), Err(Unmet));
        let seen = |version| Update { seen: Some(Revision { version, ..item.revision }), ..any.clone() };
        assert!(seen(3).apply(&item).is_ok());
        assert_eq!(seen(4).apply(&item), Err(Unmet));
    }

    #[test]
    fn a_link_needs_the_peer_before_it_and_a_port_to_connect() {
        let mut free = widget(&[Port::P, Port::Q]);
        let connected = update(vec![link(None, Some("b"))]).apply(&free).unwrap();
        assert_eq!(connected.peers.get(Port::P), Some(&serial("b")));
        assert_eq!((connected.revision.version, connected.updated_at.as_str()), (4, "now"));
        assert_eq!(update(vec![link(None, Some("b"))]).apply(&connected), Err(Unmet));
        assert_eq!(update(vec![link(Some("c"), None)]).apply(&connected), Err(Unmet));
        let freed = update(vec![link(Some("b"), None)]).apply(&connected).unwrap();
        assert_eq!(freed.peers, free.peers);
        free.ports = Ports::try_from(vec![Port::Q]).unwrap();
        assert_eq!(update(vec![link(None, Some("b"))]).apply(&free), Err(Unmet));
    }

    #[test]
    fn an_update_with_an_unmet_link_changes_no_other_port() {
        let item = widget(&[Port::P, Port::Q]);
        let other = Link { port: Port::Q, from: Some(serial("c")), to: None };
        assert_eq!(update(vec![link(None, Some("b")), other]).apply(&item), Err(Unmet));
    }

    #[test]
    fn details_replace_the_name_and_the_ports() {
        let item = widget(&[Port::P]);
        let details = (Name::try_from("v".to_owned()).unwrap(), Ports::try_from(vec![Port::R]).unwrap());
        let updated = Update { details: Some(details.clone()), ..update(Vec::new()) }.apply(&item).unwrap();
        assert_eq!((updated.name, updated.ports), details);
        assert_eq!((updated.created_at, updated.revision.version), (item.created_at, 4));
    }
}
