//! What a webhook contains, and whether its signature is valid.

use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use serde::Deserialize;
use webhooks::{SIGNATURE, SIGNED_ID, Secret, TIMESTAMP, verify};

/// The longest time between the signed time and the time of the receipt.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// What the headers and the body of a webhook show.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inspected {
    pub(super) id: Option<String>,
    /// The type of the event.
    pub(super) kind: Option<String>,
    pub(super) signature: Signature,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signature {
    Verified,
    /// The sink has no secret.
    Unchecked,
    /// Why it is rejected.
    Rejected(String),
}

impl Inspected {
    pub(super) fn is_rejected(&self) -> bool {
        matches!(self.signature, Signature::Rejected(_))
    }
}

/// The part of a body that the sink reads. Programs differ in the name of the type.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", alias = "event_type")]
    kind: String,
}

pub(super) fn inspect(headers: &HeaderMap, body: &[u8], secrets: &[Secret], now: SystemTime) -> Inspected {
    let header = |name: &'static str| headers.get(name).and_then(|value| value.to_str().ok());
    let signature = match (secrets, header(SIGNED_ID), header(TIMESTAMP), header(SIGNATURE)) {
        ([], ..) => Signature::Unchecked,
        (_, Some(id), Some(timestamp), Some(signatures)) => {
            match verify(secrets, (id, timestamp, signatures), body, now, TOLERANCE) {
                Ok(()) => Signature::Verified,
                Err(rejected) => Signature::Rejected(rejected.to_string()),
            }
        }
        (_, id, timestamp, signatures) => {
            let headers = [(SIGNED_ID, id), (TIMESTAMP, timestamp), (SIGNATURE, signatures)];
            let missing: Vec<_> = headers.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
            Signature::Rejected(format!("missing headers: {}", missing.join(", ")))
        }
    };
    Inspected {
        id: header(SIGNED_ID).map(str::to_owned),
        kind: serde_json::from_slice(body).ok().map(|Event { kind }| kind),
        signature,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use axum::http::HeaderValue;
    use webhooks::Signer;

    use super::*;

    const BODY: &[u8] = br#"{"type":"scan.opened","data":{}}"#;
    const NOW: u64 = 1_760_000_000;

    fn secret(byte: u8) -> Secret {
        Secret::from_bytes(&[byte; 24]).unwrap()
    }

    fn headers(timestamp: u64) -> HeaderMap {
        let signature = Signer::new([&secret(1)]).sign("msg_1", timestamp, BODY);
        [(SIGNED_ID, "msg_1"), (TIMESTAMP, &timestamp.to_string()), (SIGNATURE, &signature)]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn signature(headers: &HeaderMap, secrets: &[Secret]) -> Signature {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let inspected = inspect(headers, BODY, secrets, now);
        assert_eq!(inspected.kind.as_deref(), Some("scan.opened"));
        inspected.signature
    }

    #[test]
    fn one_of_several_secrets_verifies() {
        assert_eq!(signature(&headers(NOW), &[secret(2), secret(1)]), Signature::Verified);
        assert!(matches!(signature(&headers(NOW), &[secret(2)]), Signature::Rejected(_)));
        assert_eq!(signature(&HeaderMap::new(), &[]), Signature::Unchecked);
    }

    #[test]
    fn an_old_webhook_is_rejected() {
        assert_eq!(signature(&headers(NOW - 300), &[secret(1)]), Signature::Verified);
        assert!(matches!(signature(&headers(NOW - 301), &[secret(1)]), Signature::Rejected(_)));
    }

    #[test]
    fn missing_headers_are_named() {
        let mut headers = headers(NOW);
        headers.remove(SIGNATURE);
        let missing = Signature::Rejected("missing headers: webhook-signature".to_owned());
        assert_eq!(signature(&headers, &[secret(1)]), missing);
    }

    #[test]
    fn a_body_that_is_no_event_has_no_type() {
        for body in ["", "[]", "{}", r#"{"type":7}"#, "\u{fffd}"] {
            assert_eq!(inspect(&HeaderMap::new(), body.as_bytes(), &[], UNIX_EPOCH).kind, None, "{body}");
        }
    }
}
