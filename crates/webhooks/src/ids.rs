//! The ids of endpoints and of webhooks.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The id of an endpoint: 1 to 1024 printable ASCII characters, so that it can stand in keys of stores and in logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of an endpoint must have 1 to 1024 printable ASCII characters without spaces")]
pub struct InvalidEndpointId;

impl EndpointId {
    const MAX_LENGTH: usize = 1024;

    pub fn parse(id: impl Into<String>) -> Result<EndpointId, InvalidEndpointId> {
        let id = id.into();
        let is_valid = (1..=Self::MAX_LENGTH).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        if is_valid { Ok(EndpointId(id)) } else { Err(InvalidEndpointId) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The value of the header `webhook-id`. It is the same for the first attempt, each retry, a replay and a redrive, so that
/// a receiver can recognize duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebhookId(String);

impl WebhookId {
    const PREFIX: &str = "msg_";
    /// 192 bits: nobody finds two events with the same id, even if they choose the identities.
    const HASHED_BYTES: usize = 24;
    const LENGTH: usize = Self::PREFIX.len() + Self::HASHED_BYTES / 3 * 4;

    /// Hashes what identifies an event, e.g. the parts of its key, together with the endpoint.
    pub fn of(event: &[&[u8]], endpoint: &EndpointId) -> WebhookId {
        let mut context = digest::Context::new(&SHA256);
        // Each part follows its length. Without it, `ab` and `c` would have the hash of `a` and `bc`.
        for part in event.iter().copied().chain([endpoint.0.as_bytes()]) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let hash = context.finish();
        WebhookId(format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(&hash.as_ref()[..Self::HASHED_BYTES])))
    }

    /// Reads an id from a store. Other text returns None.
    pub fn from_stored(id: &str) -> Option<WebhookId> {
        let hash = id.strip_prefix(Self::PREFIX)?;
        let is_valid = id.len() == Self::LENGTH
            && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        is_valid.then(|| WebhookId(id.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(id: &str) -> EndpointId {
        EndpointId::parse(id).unwrap()
    }

    #[test]
    fn the_id_of_a_webhook_never_changes_between_versions() {
        let id = WebhookId::of(&[b"client-1", b"event-1"], &endpoint("orders"));
        assert_eq!(id.as_str(), "msg__MRZc5WacohrgEkX_Rp1xOup2HDtCFTk");
    }

    #[test]
    fn an_endpoint_id_has_printable_characters() {
        for id in ["", "a b", "a\n", "ä", &"x".repeat(1025)] {
            assert_eq!(EndpointId::parse(id), Err(InvalidEndpointId), "{id:?}");
        }
        assert_eq!(endpoint("tenant/7#a").as_str(), "tenant/7#a");
    }

    #[test]
    fn only_an_id_of_this_crate_is_read_from_a_store() {
        let long = format!("msg_{}", "x".repeat(33));
        for id in ["", "msg_", "msg_a.b", &long, &format!("msg_{}\n", "x".repeat(31)), &"x".repeat(36)] {
            assert_eq!(WebhookId::from_stored(id), None, "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn an_id_is_that_of_its_event_and_endpoint(
            events in prop::collection::vec(prop::collection::vec(prop::collection::vec(0..3u8, 0..4), 0..4), 2),
            endpoints in prop::collection::vec("[ab]{1,3}", 2),
        ) {
            let id = |index: usize| {
                let parts: Vec<&[u8]> = events[index].iter().map(Vec::as_slice).collect();
                WebhookId::of(&parts, &endpoint(&endpoints[index]))
            };
            prop_assert_eq!(id(0) == id(1), events[0] == events[1] && endpoints[0] == endpoints[1]);
            prop_assert_eq!(WebhookId::from_stored(id(0).as_str()), Some(id(0)));
            // The signature covers `id.timestamp.body`, so an id without a dot cannot be mistaken for another one.
            prop_assert!(!id(0).as_str().contains('.'));
        }
    }
}
