//! Strong entity tags, and JSON responses that have one.

use std::fmt;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The hash of a body, or the name of its state: two bodies have the same tag only if they are the same.
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

    /// Takes the name of a state, of visible ASCII characters without quotation marks and commas.
    pub fn opaque(state: impl fmt::Display) -> Etag {
        Etag(format!("\"{state}\""))
    }

    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a tag has visible ASCII characters")
    }
}

/// Returns whether `If-Match` lists one of these tags, or is `*`. `None` without the header.
///
/// A weak tag never matches, because it does not stand for one body.
pub fn if_match(headers: &HeaderMap, tags: &[Etag]) -> Option<bool> {
    headers.contains_key(IF_MATCH).then(|| listed(headers, &IF_MATCH).any(|listed| is_one_of(listed, tags)))
}

/// What `If-Match` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// `*`: any state, if there is one.
    Any,
    /// The states of strong tags. Others never match.
    States(Vec<String>),
}

impl Listed {
    /// Returns what the header lists. `None` without the header.
    pub fn if_match(headers: &HeaderMap) -> Option<Listed> {
        if !headers.contains_key(IF_MATCH) {
            return None;
        }
        if listed(headers, &IF_MATCH).any(|tag| tag == "*") {
            return Some(Listed::Any);
        }
        let states = listed(headers, &IF_MATCH).filter_map(|tag| tag.strip_prefix('"')?.strip_suffix('"'));
        Some(Listed::States(states.map(str::to_owned).collect()))
    }
}

/// Returns whether `If-None-Match` lists this tag, or is `*`. A proxy that compresses bodies makes tags weak.
fn has_already(headers: &HeaderMap, tag: &Etag) -> bool {
    let mut listed = listed(headers, &IF_NONE_MATCH).map(|listed| listed.strip_prefix("W/").unwrap_or(listed));
    listed.any(|listed| is_one_of(listed, std::slice::from_ref(tag)))
}

fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn is_one_of(listed: &str, tags: &[Etag]) -> bool {
    listed == "*" || tags.iter().any(|tag| tag.0 == listed)
}

/// Returns a value as JSON with its tag, or 304 without a body if the client has it already.
pub fn json(headers: &HeaderMap, value: &impl Serialize) -> Response {
    let body = to_vec(value);
    respond(headers, &Etag::of(&body), body)
}

/// Returns a value as JSON with the tag of its state, or 304 without a body if the client has it already.
pub fn json_of(headers: &HeaderMap, tag: &Etag, value: &impl Serialize) -> Response {
    respond(headers, tag, to_vec(value))
}

fn respond(headers: &HeaderMap, tag: &Etag, body: Vec<u8>) -> Response {
    let cache = HeaderValue::from_static("private, no-cache");
    let tags = [(ETAG, tag.header()), (CACHE_CONTROL, cache)];
    if has_already(headers, tag) {
        return (StatusCode::NOT_MODIFIED, tags).into_response();
    }
    (tags, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

fn to_vec(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the types of an API have text as keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (IF_MATCH, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn only_strong_tags_allow_a_change() {
        let (tag, other) = (Etag::of(b"a"), Etag::of(b"b"));
        let found = |values: &[&str]| if_match(&headers(values), std::slice::from_ref(&tag));
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
    fn a_state_is_read_back_from_its_tag() {
        let listed = |values: &[&str]| Listed::if_match(&headers(values));
        let states = |states: &[&str]| Some(Listed::States(states.iter().map(|it| (*it).to_owned()).collect()));
        assert_eq!(listed(&[]), None);
        assert_eq!(listed(&["\"a.1\", \"b\"", "\"c\""]), states(&["a.1", "b", "c"]));
        assert_eq!(listed(&["W/\"a\", b, \"", ""]), states(&[]));
        assert_eq!(listed(&["\"a\"", "*"]), Some(Listed::Any));
        assert_eq!(if_match(&headers(&["\"a.1\""]), &[Etag::opaque("a.1")]), Some(true));
    }

    #[test]
    fn a_client_that_has_the_body_gets_304() {
        let first = json(&HeaderMap::new(), &[1, 2]);
        let tag = first.headers()[ETAG].clone();
        for known in [tag.clone(), HeaderValue::from_str(&format!("\"x\", W/{}", tag.to_str().unwrap())).unwrap()] {
            let second = json(&HeaderMap::from_iter([(IF_NONE_MATCH, known)]), &[1, 2]);
            assert_eq!((second.status(), &second.headers()[ETAG]), (StatusCode::NOT_MODIFIED, &tag));
        }
        let changed = json(&HeaderMap::from_iter([(IF_NONE_MATCH, tag)]), &[1, 3]);
        assert_eq!(changed.status(), StatusCode::OK);
    }
}
