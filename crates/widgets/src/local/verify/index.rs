//! Finds the requests that concern a widget or a port.

use std::collections::HashMap;

use super::{Effect, Write};
use crate::widget::{Port, Serial};

pub(super) struct Index<'a> {
    creates: HashMap<&'a Serial, Vec<&'a Write>>,
    deletes: HashMap<&'a Serial, Vec<&'a Write>>,
    connects: HashMap<(&'a Serial, Port), Vec<&'a Write>>,
    disconnects: HashMap<(&'a Serial, Port), Vec<&'a Write>>,
}

impl<'a> Index<'a> {
    pub(super) fn of(writes: &'a [Write]) -> Index<'a> {
        let mut index = Index {
            creates: HashMap::new(),
            deletes: HashMap::new(),
            connects: HashMap::new(),
            disconnects: HashMap::new(),
        };
        for write in writes {
            match &write.effect {
                Effect::Created(serial) => index.creates.entry(serial).or_default().push(write),
                Effect::Deleted(serial) => index.deletes.entry(serial).or_default().push(write),
                Effect::Connected { port, ends, .. } => {
                    for end in ends {
                        index.connects.entry((end, *port)).or_default().push(write);
                    }
                }
                Effect::Disconnected { serial, port } => {
                    index.disconnects.entry((serial, *port)).or_default().push(write);
                }
            }
        }
        index
    }

    pub(super) fn creates(&self, serial: &Serial) -> Vec<&'a Write> {
        self.creates.get(serial).cloned().unwrap_or_default()
    }

    pub(super) fn deletes(&self, serial: &Serial) -> Vec<&'a Write> {
        self.deletes.get(serial).cloned().unwrap_or_default()
    }

    /// Returns the requests that connect this port to any widget.
    pub(super) fn connects(&self, serial: &Serial, port: Port) -> Vec<&'a Write> {
        self.connects.get(&(serial, port)).cloned().unwrap_or_default()
    }

    /// Returns the requests that connect these two widgets.
    pub(super) fn connects_both(&self, port: Port, ends: [&Serial; 2]) -> Vec<&'a Write> {
        self.connects(ends[0], port).into_iter().filter(|write| joins(write, ends)).collect()
    }

    /// Returns the requests that can have ended a connection of these two widgets.
    pub(super) fn may_disconnect(&self, port: Port, ends: [&Serial; 2]) -> Vec<&'a Write> {
        self.others(port, ends, |write| matches!(write.effect, Effect::Connected { replaces: true, .. }))
    }

    /// Returns the requests after which these two widgets are not connected.
    pub(super) fn must_disconnect(&self, port: Port, ends: [&Serial; 2]) -> Vec<&'a Write> {
        self.others(port, ends, |_| true)
    }

    /// Returns deletions of these widgets, disconnections of their port, and some of its connections to other widgets.
    fn others(&self, port: Port, ends: [&Serial; 2], counts: impl Fn(&Write) -> bool) -> Vec<&'a Write> {
        let mut found = Vec::new();
        for end in ends {
            found.extend(self.deletes(end));
            found.extend(self.disconnects.get(&(end, port)).into_iter().flatten());
            found.extend(self.connects(end, port).into_iter().filter(|write| !joins(write, ends) && counts(write)));
        }
        found
    }
}

fn joins(write: &Write, ends: [&Serial; 2]) -> bool {
    match &write.effect {
        Effect::Connected { ends: [one, other], .. } => [one, other] == ends || [other, one] == ends,
        Effect::Created(_) | Effect::Deleted(_) | Effect::Disconnected { .. } => false,
    }
}
