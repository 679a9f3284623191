//! The names under which an event is delivered: its endpoint, the id of its webhook, and the body. Pure.

use std::fmt::Write;

use bytes::Bytes;
use webhooks::{EndpointId, WebhookId};

/// The most bytes of the name of a target.
const MAX_TARGET_BYTES: usize = 64;
/// Separates a client from its target. An encoded client never contains it.
const SEPARATOR: char = '.';

/// The target of an event that no target gets, while its dead letter cannot be sent. No client has it.
pub const UNROUTED: &str = "unrouted";

/// Whether a target may have this name: 1 to 64 ASCII letters, digits, `-` and `_`, but not [`UNROUTED`].
pub fn is_target_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_TARGET_BYTES).contains(&name.len()) && name.bytes().all(is_plain) && name != UNROUTED
}

/// Returns the endpoint of a client's target. Returns `None` if the client is too long, or if the name is not allowed.
pub fn endpoint(client_id: &str, target: &str) -> Option<EndpointId> {
    if client_id.is_empty() || !(is_target_name(target) || target == UNROUTED) {
        return None;
    }
    EndpointId::parse(format!("{}{SEPARATOR}{target}", encode(client_id))).ok()
}

/// Returns the client and the name of the target of an endpoint.
pub fn parse_endpoint(id: &EndpointId) -> Option<(String, String)> {
    let (client, target) = id.as_str().rsplit_once(SEPARATOR)?;
    let client = decode(client)?;
    // Another text for the same client would be another endpoint.
    (endpoint(&client, target).as_ref() == Some(id)).then(|| (client, target.to_owned()))
}

/// Returns the id of the webhook of an event: the same for direct dispatch, the stream, each retry, a replay and a redrive.
pub fn webhook_id(client_id: &str, event_key: &str, endpoint: &EndpointId) -> WebhookId {
    WebhookId::of(&[client_id.as_bytes(), event_key.as_bytes()], endpoint)
}

/// Returns the body of a POST. `data` is JSON, and stays as it is.
pub fn body(client_id: &str, event_type: &str, data: &str) -> Bytes {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    format!(r#"{{"client_id":{},"event_type":{},"data":{data}}}"#, text(client_id), text(event_type)).into()
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn decode(encoded: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(encoded.len()), encoded);
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let (hex, after) = escaped.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_names_of_a_delivery_never_change_between_versions() {
        let endpoint = endpoint("acme/eu #1", "main").unwrap();
        assert_eq!(endpoint.as_str(), "acme%2Feu%20%231.main");
        let id = webhook_id("acme/eu #1", "2026-11-22T10:00:00.000Z#order-7", &endpoint);
        assert_eq!(id.as_str(), "msg_c4kb8a-ScdyAspTxmak4dQXO1v3rbox1");
        assert_eq!(
            body("a\"b", "order", r#"{"n":1.50}"#),
            r#"{"client_id":"a\"b","event_type":"order","data":{"n":1.50}}"#
        );
    }

    #[test]
    fn every_client_and_every_name_of_a_target_fit_into_an_endpoint() {
        assert!(endpoint(&"/".repeat(256), &"x".repeat(64)).is_some());
        for target in ["", "a.b", "ä", "a b", &"x".repeat(65)] {
            assert_eq!(endpoint("acme", target), None, "{target}");
        }
        assert_eq!(endpoint("", "main"), None);
    }

    #[test]
    fn other_endpoints_are_not_read() {
        for id in [
            "acme",
            "acme.",
            ".main",
            "a%2.main",
            "a%2fb.main",
            "a%41.main",
            "%FF.main",
            "a%+1.main",
            "a/b.main",
            "a.b.main",
        ] {
            assert_eq!(parse_endpoint(&EndpointId::parse(id).unwrap()), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_names_its_client_and_target(client in "\\PC{1,60}", target in "[a-zA-Z0-9_-]{1,64}") {
            let id = endpoint(&client, &target).unwrap();
            prop_assert_eq!(parse_endpoint(&id), Some((client, target)));
        }

        #[test]
        fn a_body_has_the_client_the_type_and_the_data(client: String, kind: String, number: u64) {
            let data = format!(r#"{{ "number" : {number} }}"#);
            let body = body(&client, &kind, &data);
            let value: Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(&value["client_id"], &client);
            prop_assert_eq!(&value["event_type"], &kind);
            let ending = data + "}";
            prop_assert!(body.ends_with(ending.as_bytes()));
        }
    }
}
