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
