//! Random requests, and how a client sends one.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Map, Value, json};
use widget_registry::widget::{Port, Serial};

use super::Table;
use super::state::{Answer, Model};
use crate::support::with_timeout;

const WIDGETS: usize = 4;
const KEYS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Create {
        serial: usize,
        name: String,
        ports: BTreeSet<Port>,
    },
    Change {
        serial: usize,
        name: Option<String>,
        ports: Option<BTreeSet<Port>>,
        /// Only in the state before the step.
        if_match: bool,
    },
    Delete {
        serial: usize,
        /// Only in the state before the step.
        if_match: bool,
    },
    Connect {
        port: Port,
        pair: [usize; 2],
        replace: bool,
    },
    Disconnect {
        serial: usize,
        port: Port,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) client: usize,
    pub(super) operation: Operation,
    /// The number of an Idempotency-Key.
    pub(super) key: Option<usize>,
}

impl Request {
    /// Returns the requests that delete all widgets.
    pub(super) fn deletes() -> Vec<Request> {
        let delete = |serial| Operation::Delete { serial, if_match: false };
        (0..WIDGETS).map(|serial| Request { client: serial, operation: delete(serial), key: None }).collect()
    }
}

/// Returns the serial number of a widget.
pub(super) fn serial_text(case: usize, serial: usize) -> String {
    format!("{}{serial}", serial_prefix(case))
}

/// Returns what the serial numbers of a case have in common.
pub(super) fn serial_prefix(case: usize) -> String {
    format!("{case}-")
}

/// Returns one to four requests. One of them may be sent twice.
pub(super) fn requests(model: &Model) -> impl Strategy<Value = Vec<Request>> + use<> {
    let several = prop_oneof![3 => 1..=1_usize, 2 => 2..=3_usize];
    let request = request(model.len()).boxed();
    (several.prop_flat_map(move |count| prop::collection::vec(request.clone(), count)), prop::bool::weighted(0.15))
        .prop_map(|(mut requests, twice)| {
            if twice {
                let first = &requests[0];
                requests.push(Request { client: first.client + 1, ..first.clone() });
            }
            requests
        })
}

fn request(existing: usize) -> impl Strategy<Value = Request> {
    let key = prop::option::weighted(0.3, 0..KEYS);
    (0..3_usize, operation(existing), key).prop_map(|(client, operation, key)| {
        // The tag would make a repeated request another one.
        let has_tag =
            matches!(operation, Operation::Change { if_match: true, .. } | Operation::Delete { if_match: true, .. });
        Request { client, operation, key: key.filter(|_| !has_tag) }
    })
}

fn operation(existing: usize) -> impl Strategy<Value = Operation> {
    let serial = || 0..WIDGETS;
    let port = || prop::sample::select(vec![Port::P, Port::P, Port::P, Port::Q, Port::R]);
    let name = || prop::sample::select(vec!["v", "w"]).prop_map(str::to_owned);
    let ports = || {
        prop::sample::subsequence(Port::ALL.to_vec(), 1..=3)
            .prop_map(|ports| ports.into_iter().collect::<BTreeSet<_>>())
    };
    let most = || prop_oneof![3 => Just(BTreeSet::from(Port::ALL)), 1 => ports()];
    let creates = if existing < WIDGETS - 1 { 12 } else { 2 };
    prop_oneof![
        creates => (serial(), name(), most()).prop_map(|(serial, name, ports)| Operation::Create { serial, name, ports }),
        2 => (serial(), prop::option::of(name()), prop::option::of(ports()), any::<bool>()).prop_map(
            |(serial, name, ports, if_match)| Operation::Change { serial, name, ports, if_match }
        ),
        2 => (serial(), any::<bool>()).prop_map(|(serial, if_match)| Operation::Delete { serial, if_match }),
        9 => (port(), serial(), 1..WIDGETS, any::<bool>()).prop_map(|(port, serial, distance, replace)| {
            Operation::Connect { port, pair: [serial, (serial + distance) % WIDGETS], replace }
        }),
        5 => (serial(), port()).prop_map(|(serial, port)| Operation::Disconnect { serial, port }),
    ]
}

pub(super) async fn send(
    client: &reqwest::Client,
    url: &str,
    case: usize,
    request: &Request,
    before: &Table,
) -> Answer {
    let (method, path, body) = parts(case, &request.operation);
    let mut sent = client.request(method, format!("{url}{path}")).body(body.to_string());
    if let Operation::Change { serial, if_match: true, .. } | Operation::Delete { serial, if_match: true } =
        &request.operation
    {
        sent = sent.header("if-match", tag(before, &serial_text(case, *serial)));
    }
    if let Some(key) = request.key {
        sent = sent.header("idempotency-key", format!("{case}-{key}"));
    }
    let response = with_timeout("a response", sent.send()).await.expect("a response");
    let status = response.status().as_u16();
    let body: Value = serde_json::from_str(&response.text().await.expect("a body")).unwrap_or_default();
    let problem = body["type"].as_str().and_then(|kind| kind.strip_prefix("/docs/problems#"));
    (status, problem.unwrap_or_default().to_owned())
}

/// Returns the tag of a widget, or one that no widget has.
fn tag(table: &Table, serial: &str) -> String {
    let serial = Serial::try_from(serial.to_owned()).expect("a serial number");
    table.get(&serial).map_or("\"none\"".to_owned(), |widget| format!("\"{}\"", widget.revision))
}

fn parts(case: usize, operation: &Operation) -> (Method, String, Value) {
    let widget = |serial: &usize| format!("/widgets/{}", serial_text(case, *serial));
    let names = |ports: &BTreeSet<Port>| ports.iter().map(|port| port.name()).collect::<Vec<_>>();
    match operation {
        Operation::Create { serial, name, ports } => {
            let body = json!({"name": name, "serial_number": serial_text(case, *serial), "ports": names(ports)});
            (Method::POST, "/widgets".to_owned(), body)
        }
        Operation::Change { serial, name, ports, .. } => {
            let mut body = Map::new();
            body.extend(name.iter().map(|name| ("name".to_owned(), json!(name))));
            body.extend(ports.iter().map(|ports| ("ports".to_owned(), json!(names(ports)))));
            (Method::PATCH, widget(serial), Value::Object(body))
        }
        Operation::Delete { serial, .. } => (Method::DELETE, widget(serial), Value::Null),
        Operation::Connect { port, pair, replace } => {
            let [serial, peer] = pair.map(|serial| serial_text(case, serial));
            let body = json!({"port_type": port.name(), "widget_serial_num": serial, "peer_widget_serial_num": peer});
            (Method::PUT, format!("/widgets/associations?replace={replace}"), body)
        }
        Operation::Disconnect { serial, port } => {
            let path = format!("/widgets/associations/{}/{port}", serial_text(case, *serial));
            (Method::DELETE, path, Value::Null)
        }
    }
}
