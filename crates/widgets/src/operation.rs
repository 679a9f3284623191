//! What a client asks for, what it is answered, and every reason to refuse it. Pure.

use serde::{Deserialize, Serialize};

use crate::widget::{Name, Port, Ports, Revision, Serial, Widget};

/// A request that writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Operation {
    Create {
        serial: Serial,
        name: Name,
        ports: Ports,
    },
    /// Renames a widget, or replaces the set of its ports. `None` leaves a part as it is.
    Change {
        serial: Serial,
        name: Option<Name>,
        ports: Option<Ports>,
        if_match: Option<IfMatch>,
    },
    Delete {
        serial: Serial,
        if_match: Option<IfMatch>,
    },
    Connect(Association, Taken),
    Disconnect {
        serial: Serial,
        port: Port,
    },
}

impl Operation {
    /// Returns its name in metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Create { .. } => "create",
            Operation::Change { .. } => "change",
            Operation::Delete { .. } => "delete",
            Operation::Connect(_, Taken::Refuse) => "connect",
            Operation::Connect(_, Taken::Replace) => "replace",
            Operation::Disconnect { .. } => "disconnect",
        }
    }
}

/// A connection between the same port of two widgets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    pub port: Port,
    pub serial: Serial,
    pub peer: Serial,
}

/// What a connect does with a port that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Taken {
    Refuse,
    /// Disconnects both widgets from the peers that they had.
    Replace,
}

/// The states of a widget in which an operation may change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum IfMatch {
    /// Any state, as long as the widget exists.
    Any,
    Revisions(Vec<Revision>),
}

impl IfMatch {
    pub fn allows(&self, revision: Revision) -> bool {
        match self {
            IfMatch::Any => true,
            IfMatch::Revisions(revisions) => revisions.contains(&revision),
        }
    }
}

/// The definitive answer to an operation.
pub type Answer = Result<Outcome, Refusal>;

/// What an operation did. It can be stored, so that a repeated request gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Created(Widget),
    /// The widget existed with the same content. Nothing was written.
    Exists(Widget),
    Changed(Widget),
    /// The widget had the wanted content. Nothing was written.
    Unchanged(Widget),
    Deleted,
    Connected(Association),
    /// Both widgets were connected to each other. Nothing was written.
    AlreadyConnected(Association),
    Disconnected,
}

/// Why an operation was not done. It changed nothing. It can be stored as an [`Outcome`] can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("there is no widget {0}")]
    MissingWidget(Serial),
    #[error("the widget {serial} exists with another name or other ports")]
    OtherContent { serial: Serial },
    #[error("the widget {serial} has no port {port}")]
    NoSuchPort { serial: Serial, port: Port },
    #[error("a widget cannot be connected to itself")]
    SameWidget,
    #[error("the port {port} of the widget {serial} is connected to {by}")]
    PortTaken { serial: Serial, port: Port, by: Serial },
    #[error("the port {port} of the widget {serial} is not connected")]
    NotConnected { serial: Serial, port: Port },
    /// The condition `If-Match` of the request does not hold.
    #[error("the widget {serial} has changed")]
    Changed { serial: Serial },
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
    /// Two items contradict each other, so a person must look at them.
    #[error("the widgets {serial} and {peer} contradict each other about the port {port}")]
    Contradiction { serial: Serial, peer: Serial, port: Port },
}
