//! Which request a client sends next. Pure.

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;

use crate::operation::{Association, Operation, Taken};
use crate::tools::load::Widgets;
use crate::widget::{Port, Serial};

/// The widgets that many requests concern, so that clients meet.
const HOT: u32 = 30;
/// Connections of its own that a client remembers.
const KEPT: usize = 40;

pub(super) enum Request {
    Get(Serial),
    Write(Operation),
}

pub(super) struct Draw {
    widgets: Widgets,
    hot: Widgets,
    pub(super) random: StdRng,
    connected: VecDeque<(Serial, Port)>,
}

impl Draw {
    pub(super) fn new(widgets: Widgets, random: StdRng) -> Draw {
        let hot = Widgets { count: widgets.count.min(HOT), ..widgets.clone() };
        Draw { widgets, hot, random, connected: VecDeque::new() }
    }

    pub(super) fn request(&mut self) -> Request {
        let widgets = if self.random.random_bool(0.3) { self.hot.clone() } else { self.widgets.clone() };
        let (port, [one, other]) = widgets.pair(&mut self.random);
        let serial = |number| widgets.serial(number).expect("the prefix of the plan is a short text");
        let association = Association { port, serial: serial(one), peer: serial(other) };
        Request::Write(match self.random.random_range(0..100) {
            0..35 => Operation::Connect(association, Taken::Refuse),
            35..55 => Operation::Connect(association, Taken::Replace),
            55..75 => {
                let own = if self.random.random_bool(0.8) { self.connected.pop_front() } else { None };
                let (serial, port) = own.unwrap_or((association.serial, port));
                Operation::Disconnect { serial, port }
            }
            75..80 => Operation::Delete { serial: association.serial, if_match: None },
            80..91 => widgets.create(one).expect("the prefix of the plan is a short text"),
            _ => return Request::Get(association.serial),
        })
    }

    /// Remembers a connection that was made.
    pub(super) fn done(&mut self, operation: &Operation) {
        if let Operation::Connect(Association { port, serial, .. }, _) = operation {
            self.connected.push_back((serial.clone(), *port));
            if self.connected.len() > KEPT {
                self.connected.pop_front();
            }
        }
    }
}
