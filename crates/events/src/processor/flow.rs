//! The messages in memory: whose turn it is, and whose visibility must be extended. Pure: the time is an argument.
//!
//! Every client has a queue of its own. The clients take turns, and none has more than its share of what is stored at the same
//! time. So a client with a million messages delays the others by one message each. A message is never released to make room,
//! because each release counts as a failed attempt.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The limits of what is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most messages in memory.
    pub messages: usize,
    /// The most bytes of these messages. One message may exceed it alone.
    pub bytes: usize,
    /// The most messages that are stored at the same time.
    pub running: usize,
    /// The most of these of one client.
    pub running_per_client: usize,
    /// How long a message stays invisible after it was received, and after each extension.
    pub visibility: Duration,
    /// SQS ends the invisibility of a message this long after it was received. Extensions beyond it fail.
    pub max_invisible: Duration,
}

/// Names a message in memory. No two messages ever have the same ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

#[derive(Debug)]
struct Held {
    client: Arc<str>,
    bytes: usize,
    received: Instant,
    visible_at: Instant,
    is_running: bool,
}

#[derive(Debug, Default)]
struct Client {
    waiting: VecDeque<Ticket>,
    running: usize,
    has_turn: bool,
}

/// The messages in memory.
#[derive(Debug)]
pub struct Flow {
    limits: Limits,
    next: u64,
    held: HashMap<Ticket, Held>,
    bytes: usize,
    running: usize,
    clients: HashMap<Arc<str>, Client>,
    /// The clients that may start a message, each once, in the order of their turns.
    turns: VecDeque<Arc<str>>,
    /// All messages by when they become visible.
    by_visibility: BTreeSet<(Instant, Ticket)>,
}

impl Flow {
    pub fn new(limits: Limits) -> Flow {
        Flow {
            limits,
            next: 0,
            held: HashMap::new(),
            bytes: 0,
            running: 0,
            clients: HashMap::new(),
            turns: VecDeque::new(),
            by_visibility: BTreeSet::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Returns how many messages may be received now.
    pub fn room(&self) -> usize {
        if self.bytes >= self.limits.bytes { 0 } else { self.limits.messages.saturating_sub(self.held.len()) }
    }

    /// Takes a message that was received. `asked` is when the request began, because the visibility counts from the answer of
    /// SQS, which is later.
    pub fn receive(&mut self, client: &str, bytes: usize, asked: Instant) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        let client: Arc<str> = match self.clients.get_key_value(client) {
            Some((name, _)) => Arc::clone(name),
            None => client.into(),
        };
        let visible_at = asked + self.limits.visibility;
        let held = Held { client: Arc::clone(&client), bytes, received: asked, visible_at, is_running: false };
        self.by_visibility.insert((visible_at, ticket));
        self.held.insert(ticket, held);
        self.bytes += bytes;
        self.clients.entry(Arc::clone(&client)).or_default().waiting.push_back(ticket);
        self.give_turn(&client);
        ticket
    }

    /// Returns the next message to store, if one may start.
    pub fn start(&mut self) -> Option<Ticket> {
        if self.running >= self.limits.running {
            return None;
        }
        let name = self.turns.pop_front()?;
        let client = self.clients.get_mut(&name)?;
        client.has_turn = false;
        let ticket = client.waiting.pop_front()?;
        client.running += 1;
        self.running += 1;
        self.held.get_mut(&ticket)?.is_running = true;
        self.give_turn(&name);
        Some(ticket)
    }

    /// Forgets a message: it is deleted from the queue, or returned to it.
    pub fn forget(&mut self, ticket: Ticket) {
        let Some(held) = self.held.remove(&ticket) else { return };
        self.by_visibility.remove(&(held.visible_at, ticket));
        self.bytes -= held.bytes;
        let name = held.client;
        if let Some(client) = self.clients.get_mut(&name) {
            if held.is_running {
                client.running -= 1;
                self.running -= 1;
            } else {
                client.waiting.retain(|waiting| *waiting != ticket);
            }
            if client.waiting.is_empty() && std::mem::take(&mut client.has_turn) {
                self.turns.retain(|turn| *turn != name);
            }
            if client.waiting.is_empty() && client.running == 0 {
                self.clients.remove(&name);
            }
        }
        self.give_turn(&name);
    }

    /// Returns up to ten messages whose visibility must be extended by [`Limits::visibility`] now, and notes it. Call
    /// [`Flow::not_extended`] for those that SQS refuses.
    pub fn extend(&mut self, now: Instant) -> Vec<Ticket> {
        let soon = now + self.limits.visibility / 3;
        let due = self.by_visibility.iter().take_while(|(visible_at, _)| *visible_at <= soon);
        let due: Vec<_> =
            due.map(|(_, ticket)| *ticket).filter(|ticket| self.may_extend(*ticket, now)).take(10).collect();
        for ticket in &due {
            self.set_visible_at(*ticket, now + self.limits.visibility);
        }
        due
    }

    /// Notes that a message becomes visible when it did before the extension, or that it is visible already.
    pub fn not_extended(&mut self, ticket: Ticket, now: Instant) {
        self.set_visible_at(ticket, now);
    }

    /// Returns the messages that are visible to others, and that wait here. Another receipt of them comes, so they are
    /// forgotten. Those that are being stored go on.
    pub fn lost(&mut self, now: Instant) -> Vec<Ticket> {
        let invisible = self.by_visibility.split_off(&(now, Ticket(u64::MAX)));
        let visible = std::mem::replace(&mut self.by_visibility, invisible);
        let lost: Vec<_> = visible.into_iter().map(|(_, it)| it).filter(|it| !self.held[it].is_running).collect();
        for ticket in &lost {
            self.forget(*ticket);
        }
        lost
    }

    /// Returns when to call [`Flow::extend`] and [`Flow::lost`] again.
    pub fn wakes_at(&self) -> Option<Instant> {
        let (visible_at, ticket) = self.by_visibility.first()?;
        let extend_at = visible_at.checked_sub(self.limits.visibility / 3)?;
        Some(if self.may_extend(*ticket, extend_at) { extend_at } else { *visible_at })
    }

    /// Returns the messages that wait. None of them starts any more. At the end they are made visible to other instances.
    pub fn drain(&mut self) -> Vec<Ticket> {
        let mut waiting: Vec<_> = self.clients.values_mut().flat_map(|client| client.waiting.drain(..)).collect();
        waiting.sort_unstable();
        for name in self.turns.drain(..) {
            if let Some(client) = self.clients.get_mut(&name) {
                client.has_turn = false;
            }
        }
        waiting
    }

    fn may_extend(&self, ticket: Ticket, now: Instant) -> bool {
        let Held { received, visible_at, .. } = &self.held[&ticket];
        *visible_at > now && now + self.limits.visibility < *received + self.limits.max_invisible
    }

    fn set_visible_at(&mut self, ticket: Ticket, at: Instant) {
        let Some(held) = self.held.get_mut(&ticket) else { return };
        self.by_visibility.remove(&(held.visible_at, ticket));
        held.visible_at = at;
        self.by_visibility.insert((at, ticket));
    }

    /// Gives the client a turn, if it may start a message and has none.
    fn give_turn(&mut self, name: &Arc<str>) {
        let Some(client) = self.clients.get_mut(name) else { return };
        let may_start = !client.waiting.is_empty() && client.running < self.limits.running_per_client;
        if may_start && !std::mem::replace(&mut client.has_turn, true) {
            self.turns.push_back(Arc::clone(name));
        }
    }
}

#[cfg(test)]
mod tests;
