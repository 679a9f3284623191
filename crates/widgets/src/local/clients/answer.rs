//! What an answer means for the widgets. Pure.

use serde_json::Value;

use super::super::verify::{Effect, Fact};
use crate::client::{NoAnswer, Response};
use crate::operation::{Association, Operation, Taken};
use crate::widget::{Port, Serial};

/// What an answer means for its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It was done or refused.
    Final,
    /// It may have been done, or may be done later.
    Unknown,
    NotDone,
    /// No correct API answers this.
    Unexpected(String),
}

pub(super) fn meaning(response: Result<&Response, &NoAnswer>) -> Meaning {
    let response = match response {
        Ok(response) => response,
        Err(NoAnswer::NotSent(_)) => return Meaning::NotDone,
        Err(NoAnswer::Lost(_)) => return Meaning::Unknown,
    };
    match (response.status, response.problem()) {
        (200 | 201 | 204 | 404 | 409, _) => Meaning::Final,
        (503, Some("store-unavailable" | "overloaded")) => Meaning::NotDone,
        (503, Some("unknown-outcome" | "timeout")) => Meaning::Unknown,
        _ => Meaning::Unexpected(format!("{response:?}")),
    }
}

/// Returns what a request changes if it is done.
pub(super) fn effect(operation: &Operation) -> Option<Effect> {
    match operation {
        Operation::Create { serial, .. } => Some(Effect::Created(serial.clone())),
        Operation::Delete { serial, .. } => Some(Effect::Deleted(serial.clone())),
        Operation::Connect(Association { port, serial, peer }, taken) => Some(Effect::Connected {
            port: *port,
            ends: [serial.clone(), peer.clone()],
            replaces: *taken == Taken::Replace,
        }),
        Operation::Disconnect { serial, port } => Some(Effect::Disconnected { serial: serial.clone(), port: *port }),
        Operation::Change { .. } => None,
    }
}

/// Returns what the answer to a GET shows.
pub(super) fn facts(serial: &Serial, response: Option<&Response>) -> Vec<Fact> {
    let Some(response) = response else { return Vec::new() };
    match response.status {
        404 => vec![Fact::Missing(serial.clone())],
        200 => {
            let ports = response.body["ports"].as_array().map_or(&[][..], Vec::as_slice);
            let ports = ports.iter().filter_map(|port| Port::parse(port.as_str()?).ok());
            let facts = ports.map(|port| match parse(&response.body["connections"][port.name()]) {
                Some(peer) => Fact::Connected { serial: serial.clone(), port, peer },
                None => Fact::Free { serial: serial.clone(), port },
            });
            facts.chain([Fact::Exists(serial.clone())]).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns what a refusal shows.
pub(super) fn refusal(operation: &Operation, response: &Response) -> Result<Fact, String> {
    let detail = response.body["detail"].as_str().unwrap_or_default();
    let words: Vec<&str> = detail.split_whitespace().collect();
    let text = |word: &str| Serial::try_from(word.trim_end_matches(['.', ',']).to_owned()).ok();
    let serial = |word: Option<&&str>| word.and_then(|word| text(word));
    let after = |name: &str| serial(words.iter().skip_while(|word| **word != name).nth(1));
    let port = || words.iter().skip_while(|word| **word != "port").nth(1).and_then(|port| Port::parse(port).ok());
    let fact = match (response.problem(), operation) {
        (Some("widget-not-found"), _) => after("widget").map(Fact::Missing),
        (Some("port-taken"), Operation::Connect(..)) => {
            match (after("widget"), port(), parse(&response.body["connected_to"])) {
                (Some(serial), Some(port), Some(peer)) => Some(Fact::Connected { serial, port, peer }),
                _ => None,
            }
        }
        (Some("not-connected"), Operation::Disconnect { serial, port }) => {
            Some(Fact::Free { serial: serial.clone(), port: *port })
        }
        _ => None,
    };
    fact.ok_or_else(|| format!("{response:?}"))
}

fn parse(value: &Value) -> Option<Serial> {
    Serial::try_from(value.as_str()?.to_owned()).ok()
}
