//! Opaque page tokens: where the next page of a query begins. Pure.
//!
//! A token has the version of its format, the time when it was issued, a hash of the query, and the position. It is not
//! secret and not signed: a client can only choose another position in a query that it may make anyway.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::problem::{EXPIRED_PAGE_TOKEN, INVALID_PAGE_TOKEN, Problem};

/// How long a token is valid at least. A client that still pages after this time may have missed changes for a day.
pub const VALID_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A newer program may use another format. Its tokens are refused, so that a client starts again.
const VERSION: u8 = 1;
const HOUR: u64 = 60 * 60;
const QUERY_BYTES: usize = 8;
/// No position is longer than a key of DynamoDB.
const MAX_POSITION_BYTES: usize = 2048;

/// Returns the token for a position in the results of this query, which is any unique description of it.
pub fn encode(query: &str, position: &str, now: SystemTime) -> String {
    // Equal pages have equal tokens for an hour, so that a client can keep a page by its ETag.
    let issued = (seconds(now) / HOUR * HOUR).to_be_bytes();
    let bytes = [&[VERSION][..], &issued, &hash(query), position.as_bytes()].concat();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the position in a token of this query.
pub fn decode(token: &str, query: &str, now: SystemTime) -> Result<String, Problem> {
    let invalid = |detail: &str| Problem::new(&INVALID_PAGE_TOKEN, detail);
    if token.len() > 2 * MAX_POSITION_BYTES {
        return Err(invalid("the page token is longer than any that this API returns"));
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid("the page token is not base64url"))?;
    let parts = bytes.split_first().and_then(|(version, rest)| {
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (of_query, position) = rest.split_first_chunk::<QUERY_BYTES>()?;
        Some((*version, u64::from_be_bytes(*issued), of_query, position))
    });
    let (version, issued, of_query, position) = parts.ok_or_else(|| invalid("the page token is too short"))?;
    if version != VERSION {
        return Err(invalid("another version of this program has issued the page token"));
    }
    if *of_query != hash(query) {
        return Err(invalid("the page token belongs to another query"));
    }
    if seconds(now).saturating_sub(issued) > VALID_FOR.as_secs() + HOUR {
        return Err(Problem::new(&EXPIRED_PAGE_TOKEN, "the page token is older than 24 hours"));
    }
    String::from_utf8(position.to_vec()).map_err(|_| invalid("the page token has no position"))
}

fn hash(query: &str) -> [u8; QUERY_BYTES] {
    let digest = Sha256::digest(query.as_bytes());
    *digest.first_chunk().expect("a digest of 32 bytes")
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn problem(token: &str, query: &str, now: SystemTime) -> &'static str {
        decode(token, query, now).unwrap_err().kind().name
    }

    #[test]
    fn a_token_belongs_to_one_query_for_a_day() {
        let token = encode("hosts/1.1.1.7", "1.1.1.7#80#HTTP", at(2 * HOUR - 1));
        let day = VALID_FOR.as_secs();
        assert_eq!(decode(&token, "hosts/1.1.1.7", at(2 * HOUR + day)), Ok("1.1.1.7#80#HTTP".to_owned()));
        assert_eq!(problem(&token, "hosts/1.1.1.7", at(2 * HOUR + day + 1)), "expired-page-token");
        assert_eq!(token, encode("hosts/1.1.1.7", "1.1.1.7#80#HTTP", at(HOUR)), "an equal page");
        assert_eq!(problem(&token, "hosts/1.1.1.8", at(1000)), "invalid-page-token");
        // The clocks of two instances differ.
        assert!(decode(&token, "hosts/1.1.1.7", at(0)).is_ok());
    }

    #[test]
    fn a_token_of_another_version_is_refused() {
        let mut bytes = URL_SAFE_NO_PAD.decode(encode("q", "p", at(0))).unwrap();
        bytes[0] = VERSION + 1;
        assert_eq!(problem(&URL_SAFE_NO_PAD.encode(bytes), "q", at(0)), "invalid-page-token");
    }

    proptest! {
        #[test]
        fn a_token_returns_its_position(query: String, position: String, now in 0..u64::from(u32::MAX)) {
            let token = encode(&query, &position, at(now));
            prop_assert_eq!(decode(&token, &query, at(now)), Ok(position));
        }

        #[test]
        fn no_token_panics(token: String, bytes: Vec<u8>) {
            prop_assert!(decode(&token, "q", at(0)).is_err());
            let _ = decode(&URL_SAFE_NO_PAD.encode(bytes), "q", at(0));
        }
    }
}
