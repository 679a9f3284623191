//! From JSON to operations. Collects everything that is wrong with a body, with a pointer to each fault. Pure.

use std::fmt;

use http_api::problem::INVALID_REQUEST;
use http_api::{FieldError, Problem, ProblemType};
use serde_json::{Map, Value};

use super::problems::{INVALID_ASSOCIATION, INVALID_BATCH, INVALID_WIDGET};
use crate::operation::{Association, IfMatch, Operation, Taken};
use crate::widget::{Invalid, Name, Port, Ports, Serial};

/// The most operations of a batch.
pub(super) const MAX_BATCH: usize = 100;
/// A body may have thousands of faults, and its answer has at most this many.
const MAX_ERRORS: usize = 20;

pub(super) fn json(body: &[u8]) -> Result<Value, Problem> {
    let malformed = |error| Problem::new(&INVALID_REQUEST, format!("the body is not JSON: {error}"));
    serde_json::from_slice(body).map_err(malformed)
}

pub(super) fn create(body: &Value) -> Result<Operation, Problem> {
    let mut faults = Faults::default();
    let operation = faults.members(body, &["name", "serial_number", "ports"]).and_then(|it| faults.create(it));
    faults.end(operation, &INVALID_WIDGET)
}

/// A merge patch (RFC 7396), in which no member can be removed.
pub(super) fn change(serial: Serial, body: &Value, if_match: Option<IfMatch>) -> Result<Operation, Problem> {
    let mut faults = Faults::default();
    let members = faults.members(body, &["name", "ports"]);
    let given = |name| members.and_then(|members| members.get(name));
    let (name, ports) = (given("name"), given("ports"));
    let name = name.and_then(|name| faults.text("/name", name, Name::try_from));
    let ports = ports.and_then(|ports| faults.ports(ports));
    faults.end(Some(Operation::Change { serial, name, ports, if_match }), &INVALID_WIDGET)
}

pub(super) fn connect(body: &Value, taken: Taken) -> Result<Operation, Problem> {
    let mut faults = Faults::default();
    let members = faults.members(body, &["port_type", "widget_serial_num", "peer_widget_serial_num"]);
    let association = members.and_then(|members| faults.association(members));
    faults.end(association.map(|association| Operation::Connect(association, taken)), &INVALID_ASSOCIATION)
}

/// Returns the elements of a batch.
pub(super) fn batch(body: &Value) -> Result<&[Value], Problem> {
    let invalid = |detail: String| Problem::new(&INVALID_BATCH, detail);
    match body {
        Value::Array(elements) if (1..=MAX_BATCH).contains(&elements.len()) => Ok(elements),
        Value::Array(elements) => {
            Err(invalid(format!("the array has {} operations; expected 1 to {MAX_BATCH}", elements.len())))
        }
        other => Err(invalid(format!("the body is {}; expected an array of operations", kind(other)))),
    }
}

/// Parses an element of `POST /widgets:batch`.
pub(super) fn of_widget(element: &Value) -> Result<Operation, Problem> {
    let mut faults = Faults::default();
    let operation = match faults.operation(element, ["create", "delete"]) {
        Some(true) => faults
            .members(element, &["operation", "name", "serial_number", "ports"])
            .and_then(|members| faults.create(members)),
        Some(false) => faults
            .members(element, &["operation", "serial_number"])
            .and_then(|members| faults.member(members, "serial_number", Serial::try_from))
            .map(|serial| Operation::Delete { serial, if_match: None }),
        None => None,
    };
    faults.end(operation, &INVALID_WIDGET)
}

/// Parses an element of `POST /widgets/associations:batch`.
pub(super) fn of_association(element: &Value) -> Result<Operation, Problem> {
    let mut faults = Faults::default();
    let operation = match faults.operation(element, ["connect", "disconnect"]) {
        Some(true) => {
            let known = ["operation", "port_type", "widget_serial_num", "peer_widget_serial_num", "replace"];
            faults.members(element, &known).and_then(|members| {
                let taken = faults.replace(members);
                Some(Operation::Connect(faults.association(members)?, taken?))
            })
        }
        Some(false) => faults.members(element, &["operation", "port_type", "widget_serial_num"]).and_then(|members| {
            let port = faults.port_type(members);
            let serial = faults.member(members, "widget_serial_num", Serial::try_from);
            Some(Operation::Disconnect { serial: serial?, port: port? })
        }),
        None => None,
    };
    faults.end(operation, &INVALID_ASSOCIATION)
}

/// What is wrong with a body.
#[derive(Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    /// Notes a fault. Returns nothing, so that the caller can return it as the missing value.
    fn add<T>(&mut self, pointer: impl Into<String>, detail: impl fmt::Display) -> Option<T> {
        if self.0.len() < MAX_ERRORS {
            self.0.push(FieldError { pointer: pointer.into(), detail: detail.to_string() });
        }
        None
    }

    fn end(self, parsed: Option<Operation>, kind: &'static ProblemType) -> Result<Operation, Problem> {
        match (parsed, self.0) {
            (Some(parsed), errors) if errors.is_empty() => Ok(parsed),
            (_, errors) => {
                let detail = errors.first().map_or_else(String::new, |error| error.detail.clone());
                Err(Problem::new(kind, detail).errors(errors))
            }
        }
    }

    /// Returns the members of an object. Each one that is not known is a fault: it may be misspelt.
    fn members<'a>(&mut self, body: &'a Value, known: &[&str]) -> Option<&'a Map<String, Value>> {
        let Value::Object(members) = body else {
            return self.add("", format!("expected an object, not {}", kind(body)));
        };
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            let escaped = name.replace('~', "~0").replace('/', "~1");
            self.add::<()>(format!("/{escaped}"), format!("expected only {}", known.join(", ")));
        }
        Some(members)
    }

    fn member<T>(
        &mut self,
        members: &Map<String, Value>,
        name: &str,
        parse: impl FnOnce(String) -> Result<T, Invalid>,
    ) -> Option<T> {
        let pointer = format!("/{name}");
        match members.get(name) {
            Some(value) => self.text(&pointer, value, parse),
            None => self.add(pointer, format!("{name} is missing")),
        }
    }

    fn text<T>(&mut self, pointer: &str, value: &Value, parse: impl FnOnce(String) -> Result<T, Invalid>) -> Option<T> {
        let Value::String(text) = value else {
            return self.add(pointer, format!("expected a string, not {}", kind(value)));
        };
        match parse(text.clone()) {
            Ok(parsed) => Some(parsed),
            Err(invalid) => self.add(pointer, invalid),
        }
    }

    fn create(&mut self, members: &Map<String, Value>) -> Option<Operation> {
        let serial = self.member(members, "serial_number", Serial::try_from);
        let name = self.member(members, "name", Name::try_from);
        let ports = match members.get("ports") {
            Some(ports) => self.ports(ports),
            None => self.add("/ports", "ports is missing"),
        };
        Some(Operation::Create { serial: serial?, name: name?, ports: ports? })
    }

    fn ports(&mut self, value: &Value) -> Option<Ports> {
        let Value::Array(values) = value else {
            return self.add("/ports", format!("expected an array, not {}", kind(value)));
        };
        let mut ports = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let pointer = format!("/ports/{index}");
            match self.text(&pointer, value, |text| Port::parse(&text)) {
                Some(port) if ports.contains(&port) => _ = self.add::<()>(pointer, Invalid::DuplicatePorts),
                Some(port) => ports.push(port),
                None => {}
            }
        }
        match Ports::try_from(ports) {
            Ok(ports) => Some(ports),
            // If no port is valid, each one is a fault already.
            Err(invalid) if values.is_empty() => self.add("/ports", invalid),
            Err(_) => None,
        }
    }

    fn port_type(&mut self, members: &Map<String, Value>) -> Option<Port> {
        self.member(members, "port_type", |text| Port::parse(&text))
    }

    fn association(&mut self, members: &Map<String, Value>) -> Option<Association> {
        let port = self.port_type(members);
        let serial = self.member(members, "widget_serial_num", Serial::try_from);
        let peer = self.member(members, "peer_widget_serial_num", Serial::try_from);
        if serial.is_some() && serial == peer {
            self.add::<()>("/peer_widget_serial_num", "a widget cannot be connected to itself");
        }
        Some(Association { port: port?, serial: serial?, peer: peer? })
    }

    fn replace(&mut self, members: &Map<String, Value>) -> Option<Taken> {
        match members.get("replace") {
            None | Some(Value::Bool(false)) => Some(Taken::Refuse),
            Some(Value::Bool(true)) => Some(Taken::Replace),
            Some(other) => self.add("/replace", format!("expected true or false, not {}", kind(other))),
        }
    }

    /// Returns whether an element asks for the first of two operations, which is the default.
    fn operation(&mut self, element: &Value, names: [&str; 2]) -> Option<bool> {
        match element.get("operation") {
            None => Some(true),
            Some(Value::String(name)) if name == names[0] => Some(true),
            Some(Value::String(name)) if name == names[1] => Some(false),
            Some(_) => self.add("/operation", format!("expected {} or {}", names[0], names[1])),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
