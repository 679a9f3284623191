//! Signatures of the scheme `v1`: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// The header with the id of a webhook.
pub const SIGNED_ID: &str = "webhook-id";
/// The header with the time of the attempt, in seconds.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures, separated by spaces.
pub const SIGNATURE: &str = "webhook-signature";

const SCHEME: &str = "v1,";
/// No receiver needs more signatures. A hostile sender must not cause more work.
const MAX_CHECKED: usize = 16;

/// Signs with each secret of an endpoint. During a rotation an endpoint has two.
#[derive(Clone)]
pub struct Signer {
    keys: Vec<hmac::Key>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signer({} secrets)", self.keys.len())
    }
}

impl Signer {
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Signer {
        Signer { keys: secrets.into_iter().map(key).collect() }
    }

    /// Returns the value of the header [`SIGNATURE`]: one signature per secret, in the order of the secrets.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let sign = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            update(&mut context, id, &timestamp.to_string(), body);
            format!("{SCHEME}{}", STANDARD.encode(context.sign()))
        };
        self.keys.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.bytes())
}

fn update(context: &mut hmac::Context, id: &str, timestamp: &str, body: &[u8]) {
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
}

/// Why a receiver must reject a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    #[error("the header {TIMESTAMP} is not a number of seconds")]
    InvalidTimestamp,
    #[error("the time of the attempt is too far from the current time")]
    OutsideTolerance,
    #[error("no signature in the header {SIGNATURE} is valid")]
    NoValidSignature,
}

/// Verifies a request as a receiver does: the time within `tolerance` of `now`, and one valid signature.
pub fn verify(
    secrets: &[Secret],
    (id, timestamp, signatures): (&str, &str, &str),
    body: &[u8],
    now: SystemTime,
    tolerance: Duration,
) -> Result<(), Rejected> {
    let seconds: u64 = timestamp.parse().map_err(|_| Rejected::InvalidTimestamp)?;
    let sent = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(Rejected::InvalidTimestamp)?;
    let distance = now.duration_since(sent).unwrap_or_else(|error| error.duration());
    if distance > tolerance {
        return Err(Rejected::OutsideTolerance);
    }
    let signatures = signatures.split(' ').filter_map(|signature| signature.strip_prefix(SCHEME)).take(MAX_CHECKED);
    let mut signatures = signatures.filter_map(|signature| STANDARD.decode(signature).ok());
    let keys: Vec<_> = secrets.iter().map(key).collect();
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let is_valid = |signature: Vec<u8>| keys.iter().any(|key| hmac::verify(key, &signed, &signature).is_ok());
    if signatures.any(is_valid) { Ok(()) } else { Err(Rejected::NoValidSignature) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn secret(byte: u8) -> Secret {
        Secret::from_bytes(&[byte; 24]).unwrap()
    }

    /// The vector of the specification and of its reference libraries.
    #[test]
    fn signs_the_vector_of_the_specification() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = Signer::new([&secret]).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let headers = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", signature.as_str());
        assert_eq!(verify(&[secret], headers, body, at(1_614_265_330), TOLERANCE), Ok(()));
    }

    #[test]
    fn signs_with_both_secrets_during_a_rotation() {
        let (old, new, other) = (secret(1), secret(2), secret(3));
        let signatures = Signer::new([&new, &old]).sign("msg_1", 1000, b"body");
        assert_eq!(signatures.split(' ').count(), 2);
        let verify_with = |secret: &Secret| {
            verify(std::slice::from_ref(secret), ("msg_1", "1000", &signatures), b"body", at(1000), TOLERANCE)
        };
        assert_eq!(verify_with(&old), Ok(()));
        assert_eq!(verify_with(&new), Ok(()));
        assert_eq!(verify_with(&other), Err(Rejected::NoValidSignature));
    }

    #[test]
    fn rejects_times_outside_of_the_tolerance() {
        let signature = Signer::new([&secret(1)]).sign("msg_1", 1000, b"");
        let verify_at =
            |timestamp, now| verify(&[secret(1)], ("msg_1", timestamp, &signature), b"", at(now), TOLERANCE);
        assert_eq!(verify_at("1000", 1300), Ok(()));
        assert_eq!(verify_at("1000", 700), Ok(()));
        assert_eq!(verify_at("1000", 1301), Err(Rejected::OutsideTolerance));
        assert_eq!(verify_at("1000", 699), Err(Rejected::OutsideTolerance));
        assert_eq!(verify_at("18446744073709551615", 1000), Err(Rejected::InvalidTimestamp));
        assert_eq!(verify_at("-1", 1000), Err(Rejected::InvalidTimestamp));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Signer::new([&secret(1)])), "Signer(1 secrets)");
    }

    proptest! {
        #[test]
        fn a_changed_request_is_rejected(
            body in prop::collection::vec(any::<u8>(), 1..64),
            timestamp in 1_000u64..2_000,
            part in 0..4usize,
            position in any::<prop::sample::Index>(),
        ) {
            let mut signature = Signer::new([&secret(7)]).sign("msg_1", timestamp, &body);
            let (mut id, mut sent, mut changed) = ("msg_1".to_owned(), timestamp, body.clone());
            prop_assert_eq!(
                verify(&[secret(7)], (&id, &sent.to_string(), &signature), &changed, at(timestamp), TOLERANCE), Ok(()));
            match part {
                0 => id.push('x'),
                1 => sent += 1,
                2 => changed[position.index(body.len())] ^= 1,
                _ => signature.replace_range(5..6, if &signature[5..6] == "A" { "B" } else { "A" }),
            }
            prop_assert_eq!(
                verify(&[secret(7)], (&id, &sent.to_string(), &signature), &changed, at(timestamp), TOLERANCE),
                Err(Rejected::NoValidSignature)
            );
        }

        #[test]
        fn no_header_makes_a_receiver_panic(
            id in ".*", timestamp in ".*", signatures in prop_oneof![".*", "(v1,[A-Za-z0-9+/=]{0,50} ?){0,30}"],
        ) {
            let _ = verify(&[secret(1)], (&id, &timestamp, &signatures), b"", at(0), TOLERANCE);
        }
    }
}
