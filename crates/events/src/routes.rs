//! Where the events of each client are delivered: the table `routes`, a cache of it, and changes by operators.

mod directory;
mod item;
mod table;

use std::collections::BTreeMap;

use webhooks::SealedSecret;

pub use directory::{Directory, Found, wanted};
pub use table::{RouteTable, Routes, SPEC};

/// The target that the attributes of the row itself describe.
pub const MAIN: &str = "main";

/// The targets of a client, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub client_id: String,
    pub targets: BTreeMap<String, Target>,
}

/// An endpoint of a client. `Debug` hides its URL, because URLs may contain secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub url: String,
    /// `None` selects events of all types.
    pub event_types: Option<Vec<String>>,
    /// The signing secret, encrypted for this endpoint. Without one, webhooks are not signed.
    pub secret: Option<SealedSecret>,
    pub state: State,
}

/// What the deliverers found out about a URL. A target with another URL begins without it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Since when there have been only failures, in Unix seconds.
    pub failing_since: Option<u64>,
    /// Why nothing is delivered, e.g. `gone`.
    pub disabled: Option<String>,
}

impl Target {
    /// Returns an active target without a secret.
    pub fn new(url: impl Into<String>) -> Target {
        Target { url: url.into(), event_types: None, secret: None, state: State::default() }
    }

    /// Whether it gets events of this type.
    pub fn wants(&self, event_type: &str) -> bool {
        self.event_types.as_ref().is_none_or(|types| types.iter().any(|wanted| wanted == event_type))
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Target { event_types, state, .. } = self;
        f.debug_struct("Target").field("event_types", event_types).field("state", state).finish_non_exhaustive()
    }
}

/// Why a row is no route: a person wrote it in another form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the route in the table is not valid: {0}")]
pub struct Unreadable(pub String);
