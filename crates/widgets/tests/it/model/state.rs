//! The model: what a map of widgets answers to each operation.

use std::collections::{BTreeMap, BTreeSet};

use widget_registry::widget::{Port, Widget};

use super::Table;
use super::requests::{Operation, Request, serial_text};

/// A status, and the name of a problem.
pub(super) type Answer = (u16, String);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    name: String,
    ports: BTreeSet<Port>,
    peers: BTreeMap<Port, usize>,
    /// The number of its creation, and its version.
    revision: (usize, u64),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    widgets: BTreeMap<usize, Item>,
    keys: BTreeMap<usize, (Operation, Answer)>,
    created: usize,
}

fn ok(status: u16) -> Answer {
    (status, String::new())
}

fn problem(status: u16, name: &str) -> Answer {
    (status, name.to_owned())
}

fn not_found() -> Answer {
    problem(404, "widget-not-found")
}

impl Model {
    pub(super) fn len(&self) -> usize {
        self.widgets.len()
    }

    /// Does an operation. `before` is what its client has read.
    pub(super) fn answer(&mut self, before: &Model, request: &Request) -> Answer {
        let operation = &request.operation;
        let Some(key) = request.key else { return self.run(before, operation) };
        match self.keys.get(&key) {
            Some((first, answer)) if first == operation => answer.clone(),
            Some(_) => problem(422, "idempotency-key-reused"),
            None => {
                let answer = self.run(before, operation);
                self.keys.insert(key, (operation.clone(), answer.clone()));
                answer
            }
        }
    }

    fn run(&mut self, before: &Model, operation: &Operation) -> Answer {
        let result = match operation {
            Operation::Create { serial, name, ports } => Ok(self.create(*serial, name, ports)),
            Operation::Change { serial, name, ports, if_match } => self
                .may_change(before, *serial, *if_match)
                .and_then(|()| self.change(*serial, name.as_deref(), ports.as_ref())),
            Operation::Delete { serial, if_match } => {
                self.may_change(before, *serial, *if_match).map(|()| self.delete(*serial))
            }
            Operation::Connect { port, pair, replace } => self.connect(*port, *pair, *replace),
            Operation::Disconnect { serial, port } => self.disconnect(*serial, *port),
        };
        result.unwrap_or_else(|refused| refused)
    }

    fn may_change(&self, before: &Model, serial: usize, if_match: bool) -> Result<(), Answer> {
        let widget = self.widgets.get(&serial).ok_or_else(not_found)?;
        let read = before.widgets.get(&serial).map(|widget| widget.revision);
        match if_match && read != Some(widget.revision) {
            true => Err(problem(412, "precondition-failed")),
            false => Ok(()),
        }
    }

    fn create(&mut self, serial: usize, name: &str, ports: &BTreeSet<Port>) -> Answer {
        match self.widgets.get(&serial) {
            Some(widget) if (&*widget.name, &widget.ports) == (name, ports) => ok(200),
            Some(_) => problem(409, "widget-exists"),
            None => {
                self.created += 1;
                let (name, ports, revision) = (name.to_owned(), ports.clone(), (self.created, 1));
                self.widgets.insert(serial, Item { name, ports, peers: BTreeMap::new(), revision });
                ok(201)
            }
        }
    }

    fn change(&mut self, serial: usize, name: Option<&str>, ports: Option<&BTreeSet<Port>>) -> Result<Answer, Answer> {
        let widget = self.widgets.get_mut(&serial).ok_or_else(not_found)?;
        let (name, ports) = (name.unwrap_or(&widget.name).to_owned(), ports.unwrap_or(&widget.ports).clone());
        if widget.peers.keys().any(|port| !ports.contains(port)) {
            return Err(problem(409, "port-taken"));
        }
        if (&name, &ports) != (&widget.name, &widget.ports) {
            (widget.name, widget.ports) = (name, ports);
            widget.revision.1 += 1;
        }
        Ok(ok(200))
    }

    fn delete(&mut self, serial: usize) -> Answer {
        self.widgets.remove(&serial);
        for widget in self.widgets.values_mut() {
            let connected = widget.peers.len();
            widget.peers.retain(|_, peer| *peer != serial);
            widget.revision.1 += u64::from(widget.peers.len() < connected);
        }
        ok(204)
    }

    fn connect(&mut self, port: Port, pair: [usize; 2], replace: bool) -> Result<Answer, Answer> {
        let [first, second] = pair;
        self.have_port(&pair, port)?;
        let peers = pair.map(|serial| self.widgets[&serial].peers.get(&port).copied());
        if peers == [Some(second), Some(first)] {
            return Ok(ok(200));
        }
        if !replace && peers != [None, None] {
            return Err(problem(409, "port-taken"));
        }
        for former in peers.into_iter().flatten() {
            self.set(former, port, None);
        }
        self.set(first, port, Some(second));
        self.set(second, port, Some(first));
        Ok(ok(200))
    }

    fn disconnect(&mut self, serial: usize, port: Port) -> Result<Answer, Answer> {
        self.have_port(&[serial], port)?;
        let not_connected = || problem(404, "not-connected");
        let peer = self.widgets[&serial].peers.get(&port).copied().ok_or_else(not_connected)?;
        self.set(serial, port, None);
        self.set(peer, port, None);
        Ok(ok(204))
    }

    fn have_port(&self, serials: &[usize], port: Port) -> Result<(), Answer> {
        let widgets: Option<Vec<_>> = serials.iter().map(|serial| self.widgets.get(serial)).collect();
        match widgets.ok_or_else(not_found)?.iter().all(|widget| widget.ports.contains(&port)) {
            true => Ok(()),
            false => Err(problem(422, "no-such-port")),
        }
    }

    fn set(&mut self, serial: usize, port: Port, peer: Option<usize>) {
        let widget = self.widgets.get_mut(&serial).expect("each peer exists");
        match peer {
            Some(peer) => widget.peers.insert(port, peer),
            None => widget.peers.remove(&port),
        };
        widget.revision.1 += 1;
    }

    /// Returns whether the table has exactly these widgets, each after as many changes.
    pub(super) fn describes(&self, case: usize, table: &Table) -> bool {
        table.len() == self.widgets.len()
            && self.widgets.iter().all(|(serial, item)| {
                let same =
                    |widget: &Widget| widget.serial.as_str() == serial_text(case, *serial) && item.is(case, widget);
                table.values().any(same)
            })
    }
}

impl Item {
    fn is(&self, case: usize, widget: &Widget) -> bool {
        let peers = widget.peers.iter().map(|(port, peer)| (port, peer.to_string()));
        let expected = self.peers.iter().map(|(port, peer)| (*port, serial_text(case, *peer)));
        self.name == widget.name.as_str()
            && self.ports.iter().copied().eq(widget.ports.iter())
            && expected.eq(peers)
            && self.revision.1 == widget.revision.version
    }
}
