//! Which widgets exist, and which operations come one after the other. Pure.

use std::collections::{HashMap, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::operation::{Association, Operation, Taken};
use crate::widget::{Invalid, Name, Port, Ports, Serial};

/// Connections that are not disconnected yet, so that a disconnect rarely overtakes its connect.
const KEPT: usize = 500;
/// How many pairs of widgets are looked at for two free ports.
const DRAWS: usize = 16;

/// The widgets of a run: numbers below `count`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widgets {
    pub prefix: String,
    pub count: u32,
}

impl Widgets {
    /// Returns the request that creates a widget. Any two of them have a port in common.
    pub fn create(&self, number: u32) -> Result<Operation, Invalid> {
        let name = Name::try_from(format!("widget {number}"))?;
        Ok(Operation::Create { serial: self.serial(number)?, name, ports: Ports::try_from(ports(number).to_vec())? })
    }

    pub fn serial(&self, number: u32) -> Result<Serial, Invalid> {
        Serial::try_from(format!("{}{number:08}", self.prefix))
    }

    /// Returns two different widgets, and a port that both have.
    pub(crate) fn pair(&self, random: &mut StdRng) -> (Port, [u32; 2]) {
        let number = random.random_range(0..self.count);
        let peer = (number + random.random_range(1..self.count)) % self.count;
        let common: Vec<Port> = ports(number).iter().copied().filter(|port| ports(peer).contains(port)).collect();
        (common[random.random_range(0..common.len())], [number, peer])
    }
}

fn ports(number: u32) -> &'static [Port] {
    match number % 4 {
        0 => &Port::ALL,
        1 => &[Port::P, Port::Q],
        2 => &[Port::P, Port::R],
        _ => &[Port::Q, Port::R],
    }
}

/// An endless sequence of operations, in which half of all operations connect free ports. It assumes that the widgets were not
/// connected before, and that each operation is done.
#[derive(Debug)]
pub struct Stream {
    widgets: Widgets,
    random: StdRng,
    peers: HashMap<(u32, Port), u32>,
    /// Connections in the order in which they were made. Some of them do not exist any more.
    made: VecDeque<Edge>,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    port: Port,
    ends: [u32; 2],
}

impl Stream {
    /// There must be two widgets.
    pub fn new(widgets: Widgets, seed: u64) -> Stream {
        assert!(widgets.count >= 2, "a connection needs two widgets");
        Stream { widgets, random: StdRng::seed_from_u64(seed), peers: HashMap::new(), made: VecDeque::new() }
    }

    /// Returns the next operation.
    pub fn operation(&mut self) -> Result<Operation, Invalid> {
        let wanted = self.random.random_range(0..10);
        let free = if wanted < 5 { self.free() } else { None };
        if let Some(edge) = free {
            return self.connect(edge, Taken::Refuse);
        }
        let edge = if wanted < 9 && self.made.len() > KEPT { self.oldest() } else { None };
        match edge {
            Some(Edge { port, ends: [number, peer] }) => {
                self.peers.remove(&(number, port));
                self.peers.remove(&(peer, port));
                Ok(Operation::Disconnect { serial: self.widgets.serial(number)?, port })
            }
            None => {
                let edge = self.pair();
                self.connect(edge, Taken::Replace)
            }
        }
    }

    fn connect(&mut self, edge: Edge, taken: Taken) -> Result<Operation, Invalid> {
        let Edge { port, ends: [number, peer] } = edge;
        for (end, other) in [(number, peer), (peer, number)] {
            if let Some(before) = self.peers.insert((end, port), other).filter(|before| *before != other) {
                self.peers.remove(&(before, port));
            }
        }
        self.made.push_back(edge);
        let (serial, peer) = (self.widgets.serial(number)?, self.widgets.serial(peer)?);
        Ok(Operation::Connect(Association { port, serial, peer }, taken))
    }

    /// Returns a connection that may be made.
    fn free(&mut self) -> Option<Edge> {
        for _ in 0..DRAWS {
            let Edge { port, ends } = self.pair();
            if ends.iter().all(|end| !self.peers.contains_key(&(*end, port))) {
                return Some(Edge { port, ends });
            }
        }
        None
    }

    /// Returns a connection between any two widgets.
    fn pair(&mut self) -> Edge {
        let (port, ends) = self.widgets.pair(&mut self.random);
        Edge { port, ends }
    }

    /// Returns the connection that was made first, of those that exist.
    fn oldest(&mut self) -> Option<Edge> {
        while let Some(edge) = self.made.pop_front() {
            let Edge { port, ends: [number, peer] } = edge;
            if self.peers.get(&(number, port)) == Some(&peer) {
                return Some(edge);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn widgets(count: u32) -> Widgets {
        Widgets { prefix: "w-".to_owned(), count }
    }

    #[test]
    fn the_same_seed_gives_the_same_operations() {
        let some = |seed| {
            let mut stream = Stream::new(widgets(100), seed);
            (0..1_000).map(|_| stream.operation().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
    }

    #[test]
    fn all_operations_succeed_if_they_are_done_one_after_the_other() {
        let mut stream = Stream::new(widgets(2_000), 7);
        let (mut peers, mut counts) = (BTreeMap::new(), BTreeMap::<_, u32>::new());
        for _ in 0..50_000 {
            let operation = stream.operation().unwrap();
            *counts.entry(operation.name()).or_default() += 1;
            match operation {
                Operation::Connect(Association { port, serial, peer }, taken) => {
                    assert_ne!(serial, peer);
                    for (end, other) in [(&serial, &peer), (&peer, &serial)] {
                        let before = peers.insert((end.clone(), port), other.clone());
                        assert!(before.is_none() || taken == Taken::Replace);
                        if let Some(before) = before.filter(|before| before != other) {
                            peers.remove(&(before, port));
                        }
                    }
                }
                Operation::Disconnect { serial, port } => {
                    let peer = peers.remove(&(serial, port)).unwrap();
                    assert!(peers.remove(&(peer, port)).is_some());
                }
                _ => unreachable!("the stream neither creates nor deletes"),
            }
        }
        let share = |name| f64::from(counts[name]) / 50_000.0;
        assert!(share("connect") > 0.4 && share("disconnect") > 0.3 && share("replace") > 0.05, "{counts:?}");
    }

    #[test]
    fn two_widgets_are_enough() {
        let mut stream = Stream::new(widgets(2), 7);
        assert!((0..1_000).all(|_| stream.operation().is_ok()));
    }
}
