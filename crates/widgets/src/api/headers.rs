//! The parts of a request beside its body: the serial number in its path, and its headers.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use axum::http::request::Parts;
use http_api::problem::INVALID_REQUEST;
use http_api::{Caller, IDEMPOTENCY_KEY, Listed, Problem};
use serde::Deserialize;

use super::problems::{NO_SUCH_PORT, WIDGET_NOT_FOUND};
use crate::operation::IfMatch;
use crate::registry::RequestKey;
use crate::widget::{Invalid, Port, Revision, Serial};

/// The longest Idempotency-Key.
const MAX_KEY: usize = 255;

/// The serial number in a path, percent-decoded. A text that is none names no widget.
#[derive(Debug, Clone)]
pub(super) struct SerialPath(pub(super) Serial);

/// The serial number and the port in a path.
#[derive(Debug, Clone)]
pub(super) struct PortPath(pub(super) Serial, pub(super) Port);

impl<S: Send + Sync> FromRequestParts<S> for SerialPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<SerialPath, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        serial(path.ok().map(|path| path.0)).map(SerialPath)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PortPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PortPath, Problem> {
        let path = axum::extract::Path::<(String, String)>::from_request_parts(parts, state).await;
        let (text, port) = path.map(|path| path.0).unwrap_or_default();
        let serial = serial(Some(text))?;
        let port = Port::parse(&port).map_err(|invalid| Problem::new(&NO_SUCH_PORT, invalid.to_string()))?;
        Ok(PortPath(serial, port))
    }
}

/// Text that is not UTF-8 is `None`.
fn serial(text: Option<String>) -> Result<Serial, Problem> {
    let parsed = text.ok_or(Invalid::Serial).and_then(Serial::try_from);
    parsed.map_err(|invalid| Problem::new(&WIDGET_NOT_FOUND, format!("the path names no widget: {invalid}")))
}

/// Returns the states in which a request may change a widget. A tag that this API never sends matches no state.
pub(super) fn if_match(headers: &HeaderMap) -> Option<IfMatch> {
    Some(match Listed::if_match(headers)? {
        Listed::Any => IfMatch::Any,
        Listed::States(states) => {
            IfMatch::Revisions(states.iter().filter_map(|state| Revision::parse(state)).collect())
        }
    })
}

/// Refuses a condition that an endpoint does not have, so that nobody relies on it.
pub(super) fn no_if_match(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(IF_MATCH) {
        let detail = "an association has no ETag; send If-Match only to change or delete a widget";
        return Err(Problem::new(&INVALID_REQUEST, detail));
    }
    Ok(())
}

/// The query of an endpoint that has no parameters.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

/// The Idempotency-Key of a request, if it has one.
#[derive(Debug, Clone)]
pub(super) struct Key(Option<(Caller, String)>);

impl Key {
    pub(super) fn of(headers: &HeaderMap, caller: &Caller) -> Result<Key, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(Key(None)) };
        let text = value.to_str().unwrap_or_default();
        let is_valid = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid || values.next().is_some() {
            let detail = format!("Idempotency-Key must be sent once, with 1 to {MAX_KEY} visible ASCII characters");
            return Err(Problem::new(&INVALID_REQUEST, detail));
        }
        Ok(Key(Some((caller.clone(), text.to_owned()))))
    }

    pub(super) fn of_request(&self) -> Option<RequestKey> {
        self.0.as_ref().map(|(caller, key)| RequestKey::new(&caller.name, key, None))
    }

    /// Returns the key of an operation of a batch.
    pub(super) fn of_part(&self, part: usize) -> Option<RequestKey> {
        self.0.as_ref().map(|(caller, key)| RequestKey::new(&caller.name, key, Some(part)))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_visible_and_sent_once() {
        let caller = Caller { name: "ci".into() };
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            Key::of(&headers, &caller).map(|key| key.of_request().is_some()).map_err(|problem| problem.kind().status)
        };
        assert_eq!(of(&[]), Ok(false));
        assert_eq!(of(&["7f9c-\"x\""]), Ok(true));
        assert_eq!(of(&[&"k".repeat(MAX_KEY)]), Ok(true));
        for values in [&[""][..], &["a b"], &["é"], &[&"k".repeat(MAX_KEY + 1)], &["a", "a"]] {
            assert_eq!(of(values), Err(400), "{values:?}");
        }
    }

    #[test]
    fn a_tag_that_was_never_sent_matches_nothing() {
        let of = |value: &'static str| if_match(&HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_static(value))]));
        assert_eq!(if_match(&HeaderMap::new()), None);
        assert_eq!(of("*"), Some(IfMatch::Any));
        assert_eq!(of("\"x\", 7"), Some(IfMatch::Revisions(Vec::new())));
        let tag = "\"00000000-0000-0000-0000-000000000007.12\"";
        assert!(matches!(of(tag), Some(IfMatch::Revisions(revisions)) if revisions[0].version == 12));
    }
}
