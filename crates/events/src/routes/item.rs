//! The rows of the table `routes`. A row with only `client_id` and `target_url` is a route. Pure.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use webhooks::SealedSecret;

use super::{MAIN, Route, State, Target, Unreadable};
use crate::key::is_target_name;

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) const CLIENT_ID: &str = "client_id";
pub(super) const TARGETS: &str = "targets";
pub(super) const TARGET_URL: &str = "target_url";
pub(super) const EVENT_TYPES: &str = "event_types";
pub(super) const SECRET: &str = "secret";
/// What the deliverers found out, as a map.
pub(super) const STATE: &str = "state";
const FAILING_SINCE: &str = "failing_since";
const DISABLED: &str = "disabled";
/// The URL that a state is about.
const URL_HASH: &str = "url_hash";

/// The attributes of a target.
pub(super) const OF_TARGET: [&str; 4] = [TARGET_URL, EVENT_TYPES, SECRET, STATE];

/// Whether a row has no target yet: its map is written before its first member.
pub(super) fn is_empty(item: &Item) -> bool {
    let has_none = item.get(TARGETS).is_some_and(|further| further.as_m().is_ok_and(|further| further.is_empty()));
    has_none && !item.contains_key(TARGET_URL)
}

/// Reads a row.
pub(super) fn route(item: &Item) -> Result<Route, Unreadable> {
    let client_id = item.get(CLIENT_ID).and_then(|value| value.as_s().ok());
    let client_id = client_id.ok_or_else(|| Unreadable(format!("{CLIENT_ID} is no string")))?;
    let mut targets = BTreeMap::new();
    if item.contains_key(TARGET_URL) {
        targets.insert(MAIN.to_owned(), target(item)?);
    }
    if let Some(further) = item.get(TARGETS) {
        let further = further.as_m().map_err(|_| Unreadable(format!("{TARGETS} is no map")))?;
        for (name, value) in further {
            let of_name = |why: &str| Unreadable(format!("{TARGETS}.{name} {why}"));
            if name == MAIN || !is_target_name(name) {
                return Err(of_name("has a name that is not allowed"));
            }
            let item = value.as_m().map_err(|_| of_name("is no map"))?;
            targets.insert(
                name.clone(),
                target(item).map_err(|Unreadable(why)| of_name(&format!("is not valid: {why}")))?,
            );
        }
    }
    if targets.is_empty() {
        return Err(Unreadable(format!("it has neither {TARGET_URL} nor {TARGETS}")));
    }
    Ok(Route { client_id: client_id.clone(), targets })
}

fn target(item: &Item) -> Result<Target, Unreadable> {
    let wrong = |name: &str, expected: &str| Unreadable(format!("{name} is no {expected}"));
    let text = |name: &str| match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::S(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(wrong(name, "string, or it is empty")),
    };
    let url = text(TARGET_URL)?.ok_or_else(|| Unreadable(format!("{TARGET_URL} is missing")))?;
    let event_types = item.get(EVENT_TYPES).map(strings).transpose();
    let event_types = event_types.map_err(|()| wrong(EVENT_TYPES, "list of strings"))?;
    let secret = match item.get(SECRET) {
        None => None,
        Some(AttributeValue::B(bytes)) => Some(SealedSecret::from_stored(bytes.as_ref().to_vec())),
        Some(_) => return Err(wrong(SECRET, "sealed secret: set it with `event-pipeline routes add`")),
    };
    let state = item.get(STATE).map(|value| state(value, &url)).unwrap_or_default();
    Ok(Target { url, event_types, secret, state })
}

/// Reads a state. That of another URL counts as none.
fn state(value: &AttributeValue, url: &str) -> State {
    let of_url = |map: &&Item| map.get(URL_HASH).and_then(|hash| hash.as_s().ok()) == Some(&url_hash(url));
    let Some(map) = value.as_m().ok().filter(of_url) else { return State::default() };
    State {
        failing_since: map.get(FAILING_SINCE).and_then(|seconds| seconds.as_n().ok()?.parse().ok()),
        disabled: map.get(DISABLED).and_then(|reason| reason.as_s().ok()).cloned(),
    }
}

/// Returns the attribute of a state.
pub(super) fn of_state(state: &State, url: &str) -> AttributeValue {
    let values = [
        (URL_HASH, Some(AttributeValue::S(url_hash(url)))),
        (FAILING_SINCE, state.failing_since.map(|seconds| AttributeValue::N(seconds.to_string()))),
        (DISABLED, state.disabled.clone().map(AttributeValue::S)),
    ];
    AttributeValue::M(values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// Returns the attributes of a target of a row.
pub(super) fn of_target<'a>(item: &'a Item, target: &str) -> Option<&'a Item> {
    match target {
        MAIN => Some(item),
        name => item.get(TARGETS)?.as_m().ok()?.get(name)?.as_m().ok(),
    }
}

fn url_hash(url: &str) -> String {
    Sha256::digest(url)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a list or a set of strings.
fn strings(value: &AttributeValue) -> Result<Vec<String>, ()> {
    match value {
        AttributeValue::L(values) => values.iter().map(|value| value.as_s().cloned().map_err(|_| ())).collect(),
        AttributeValue::Ss(values) => Ok(values.clone()),
        _ => Err(()),
    }
}

/// Returns the attributes of a target. Those that it does not have are missing.
pub(super) fn attributes(target: &Target) -> Item {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let Target { url, event_types, secret, state } = target;
    let types = event_types.as_ref().map(|types| AttributeValue::L(types.iter().map(|name| text(name)).collect()));
    let values = [
        (TARGET_URL, Some(text(url))),
        (EVENT_TYPES, types),
        (SECRET, secret.as_ref().map(|secret| AttributeValue::B(Blob::new(secret.as_bytes())))),
        (STATE, (*state != State::default()).then(|| of_state(state, url))),
    ];
    values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> AttributeValue {
        AttributeValue::S(text.to_owned())
    }

    fn row(attributes: &[(&str, AttributeValue)]) -> Item {
        let client = (CLIENT_ID.to_owned(), text("acme"));
        attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).chain([client]).collect()
    }

    #[test]
    fn a_row_with_a_url_is_a_route_to_one_target_for_all_types() {
        let route = route(&row(&[(TARGET_URL, text("http://mock-sink:8080"))])).unwrap();
        assert_eq!(route.targets, BTreeMap::from([(MAIN.to_owned(), Target::new("http://mock-sink:8080"))]));
        assert!(route.targets[MAIN].wants("order.created"));
    }

    #[test]
    fn every_attribute_of_each_target_is_read_as_it_was_written() {
        let target = Target {
            event_types: Some(vec!["a".to_owned()]),
            secret: Some(SealedSecret::from_stored(vec![1, 2])),
            state: State { failing_since: Some(7), disabled: Some("gone".to_owned()) },
            ..Target::new("https://acme.example")
        };
        let mut item =
            row(&[(TARGETS, AttributeValue::M([("audit".to_owned(), AttributeValue::M(attributes(&target)))].into()))]);
        item.extend(attributes(&target));
        let route = route(&item).unwrap();
        assert_eq!(
            route.targets,
            BTreeMap::from([("audit".to_owned(), target.clone()), (MAIN.to_owned(), target.clone())])
        );
        assert!(target.wants("a") && !target.wants("b"));
    }

    #[test]
    fn a_new_url_begins_without_the_state_of_the_old_one() {
        let state = State { failing_since: Some(7), disabled: Some("gone".to_owned()) };
        let mut item = row(&[]);
        item.extend(attributes(&Target { state, ..Target::new("https://old.example") }));
        item.insert(TARGET_URL.to_owned(), text("https://new.example"));
        assert_eq!(route(&item).unwrap().targets[MAIN], Target::new("https://new.example"));
    }

    #[test]
    fn a_row_in_another_form_is_unreadable_with_the_reason() {
        let url = (TARGET_URL, text("https://acme.example"));
        let inner = |name: &str, value| (TARGETS, AttributeValue::M([(name.to_owned(), value)].into()));
        for (attributes, expected) in [
            (vec![], "neither target_url nor targets"),
            (vec![(TARGET_URL, AttributeValue::N("7".to_owned()))], "target_url is no string"),
            (vec![(TARGET_URL, text(""))], "target_url is no string"),
            (vec![url.clone(), (EVENT_TYPES, text("a"))], "event_types is no list"),
            (vec![url.clone(), (SECRET, text("whsec_"))], "routes add"),
            (vec![url.clone(), (TARGETS, text("a"))], "targets is no map"),
            (vec![inner("a", text("b"))], "targets.a is no map"),
            (vec![inner("a", AttributeValue::M(Item::new()))], "targets.a is not valid: target_url is missing"),
            (vec![inner("main", AttributeValue::M(Item::new()))], "not allowed"),
        ] {
            let error = route(&row(&attributes)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
