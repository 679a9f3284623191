//! A subscription: an endpoint with its owner and filter.

use std::fmt;

use webhooks::{DisabledReason, EndpointId, SealedSecret};

use super::filter::Filter;

/// An endpoint that is told of changes. All times are Unix seconds. `Debug` hides its URL, because URLs may contain secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscription {
    pub id: EndpointId,
    /// Who created it: the name of a token of the API, or what an operator gave.
    pub owner: String,
    pub description: String,
    pub url: String,
    pub filter: Filter,
    pub status: Status,
    /// The newest one is the first.
    pub secrets: Vec<StoredSecret>,
    /// Since when there have been only failures.
    pub failing_since: Option<u64>,
    /// How many attempts each instance makes at the same time.
    pub max_concurrency: u16,
    /// How many attempts each instance starts per second.
    pub max_per_second: Option<u32>,
    pub created: u64,
    pub updated: u64,
    /// Increases with each change, so that no change is lost to another one.
    pub revision: u64,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subscription { id, owner, filter, status, revision, .. } = self;
        f.debug_struct("Subscription")
            .field("id", id)
            .field("owner", owner)
            .field("filter", filter)
            .field("status", status)
            .field("revision", revision)
            .finish_non_exhaustive()
    }
}

/// Whether deliveries are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Active,
    /// Deliveries are stored until it is active again.
    Paused,
    /// Deliveries are dead until it is active again.
    Disabled(DisabledReason),
}

/// A secret that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    pub sealed: SealedSecret,
    /// When an older secret stops to sign. `None` for the newest one.
    pub until: Option<u64>,
}

/// Returns a new id, which nobody can guess.
pub fn new_id() -> EndpointId {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let random: [u8; 20] = rand::random();
    let text: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    EndpointId::parse(format!("wh_{text}")).expect("letters and digits are an id")
}
