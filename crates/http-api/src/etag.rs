//! Strong entity tags, and JSON responses that have one.

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The hash of a body: two bodies have the same tag only if they are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag(String);

impl Etag {
    pub fn of(body: &[u8]) -> Etag {
        Etag(format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(body)[..16])))
    }

    /// Returns the tag of a value's JSON, which [`json`] sends.
    pub fn of_json(value: &impl Serialize) -> Etag {
        Etag::of(&to_vec(value))
    }

    fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("base64url is ASCII")
    }
}

/// Returns whether a header such as `If-Match` lists one of these tags, or is `*`. `None` without the header.
///
/// A weak tag in the header never matches: a client that sends one has not received it from here.
pub fn matches(headers: &HeaderMap, name: &HeaderName, tags: &[Etag]) -> Option<bool> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let mut listed = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    Some(listed.any(|listed| listed == "*" || tags.iter().any(|tag| tag.0 == listed)))
}

/// Returns a value as JSON with its tag, or 304 without a body if the client has it already.
pub fn json(headers: &HeaderMap, value: &impl Serialize) -> Response {
    let body = to_vec(value);
    let tag = Etag::of(&body);
    let cache = HeaderValue::from_static("private, no-cache");
    let tags = [(ETAG, tag.header()), (CACHE_CONTROL, cache)];
    if matches(headers, &IF_NONE_MATCH, std::slice::from_ref(&tag)) == Some(true) {
        return (StatusCode::NOT_MODIFIED, tags).into_response();
    }
    (tags, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

fn to_vec(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the types of an API have text as keys")
}

#[cfg(test)]
mod tests {
    use hyper::header::IF_MATCH;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (IF_MATCH, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn only_strong_tags_match() {
        let (tag, other) = (Etag::of(b"a"), Etag::of(b"b"));
        let found = |values: &[&str]| matches(&headers(values), &IF_MATCH, std::slice::from_ref(&tag));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&["*"]), Some(true));
        assert_eq!(found(&[&tag.0]), Some(true));
        assert_eq!(found(&[&format!("{}, {}", other.0, tag.0)]), Some(true));
        assert_eq!(found(&[&other.0, &tag.0]), Some(true));
        assert_eq!(found(&[&other.0]), Some(false));
        assert_eq!(found(&[&format!("W/{}", tag.0)]), Some(false));
        assert_eq!(found(&[""]), Some(false));
    }

    #[test]
    fn a_client_that_has_the_body_gets_304() {
        let first = json(&HeaderMap::new(), &[1, 2]);
        let tag = first.headers()[ETAG].clone();
        let second = json(&HeaderMap::from_iter([(IF_NONE_MATCH, tag.clone())]), &[1, 2]);
        assert_eq!((second.status(), &second.headers()[ETAG]), (StatusCode::NOT_MODIFIED, &tag));
        let changed = json(&HeaderMap::from_iter([(IF_NONE_MATCH, tag)]), &[1, 3]);
        assert_eq!(changed.status(), StatusCode::OK);
    }
}
