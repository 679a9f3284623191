//! The messages in memory: which one is stored next, and whose visibility must be extended. Pure: the time is an argument.
//!
//! Every client has a queue of its own. The clients are served in rotation, and none has more than its share of what is stored at the same
//! time. So a client with many messages in memory delays those of others by one message each. A message is never released to make
//! room, because each release counts as a failed attempt. So when the messages of one client fill the memory, no others are
//! received until some of them are stored. Message groups let SQS itself prevent that.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// The limits of what is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most messages in memory.
    pub messages: usize,
    /// The most bytes of these messages. The requests that wait for messages may exceed it by what they receive.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits in the queue of its client.
    Waiting,
    /// It is being stored.
    Running,
    /// It is durable, and waits for its deletion.
    Done,
}

#[derive(Debug)]
struct Known {
    client: Arc<str>,
    bytes: usize,
    received: Instant,
    visible_at: Instant,
    /// When to extend the visibility, or to note its end. `None` after its end.
    due_at: Option<Instant>,
    stage: Stage,
}

/// What the messages of one client do. Its `waiting` is in the order of the tickets.
#[derive(Debug, Default)]
struct Client {
    waiting: VecDeque<Ticket>,
    running: usize,
    is_queued: bool,
}

/// The messages in memory.
#[derive(Debug)]
pub struct Flow {
    limits: Limits,
    next: u64,
    messages: HashMap<Ticket, Known>,
    bytes: usize,
    /// How many messages the open requests may return.
    reserved: usize,
    running: usize,
    clients: HashMap<Arc<str>, Client>,
    /// The clients that may start a message, each once, in their order.
    ready: VecDeque<Arc<str>>,
    /// The messages with a due time.
    due: BTreeSet<(Instant, Ticket)>,
}

impl Flow {
    pub fn new(limits: Limits) -> Flow {
        Flow {
            limits,
            next: 0,
            messages: HashMap::new(),
            bytes: 0,
            reserved: 0,
            running: 0,
            clients: HashMap::new(),
            ready: VecDeque::new(),
            due: BTreeSet::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether no message waits or is being stored.
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.clients.is_empty()
    }

    /// Reserves room for the messages of a request. Returns whether there is any.
    pub fn reserve(&mut self, messages: usize) -> bool {
        let has_room = self.bytes < self.limits.bytes
            && self.messages.len() + self.reserved + messages <= self.limits.messages.max(messages);
        if has_room {
            self.reserved += messages;
        }
        has_room
    }

    /// Ends a reservation, when the request has ended.
    pub fn end_reservation(&mut self, messages: usize) {
        self.reserved -= messages;
    }

    /// Takes a message that was received. `asked` is when the request began: SQS counts the visibility from its answer, which is
    /// later.
    pub fn receive(&mut self, client: &str, bytes: usize, asked: Instant) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        let client: Arc<str> = match self.clients.get_key_value(client) {
            Some((name, _)) => Arc::clone(name),
            None => client.into(),
        };
        let (stage, visible_at) = (Stage::Waiting, asked);
        let message = Known { client: Arc::clone(&client), bytes, received: asked, visible_at, due_at: None, stage };
        self.messages.insert(ticket, message);
        self.bytes += bytes;
        self.extended(ticket, asked);
        self.clients.entry(Arc::clone(&client)).or_default().waiting.push_back(ticket);
        self.queue_client(&client);
        ticket
    }

    /// Returns the next message to store, if one may start.
    pub fn start(&mut self) -> Option<Ticket> {
        if self.running >= self.limits.running {
            return None;
        }
        let name = self.ready.pop_front()?;
        let client = self.clients.get_mut(&name)?;
        client.is_queued = false;
        let ticket = client.waiting.pop_front()?;
        client.running += 1;
        self.running += 1;
        self.messages.get_mut(&ticket)?.stage = Stage::Running;
        self.queue_client(&name);
        Some(ticket)
    }

    /// Notes that a message is durable. Another one may start, and this one stays in memory until it is deleted.
    pub fn finish(&mut self, ticket: Ticket) {
        if let Some(message) = self.messages.get_mut(&ticket) {
            let before = std::mem::replace(&mut message.stage, Stage::Done);
            let client = Arc::clone(&message.client);
            self.leave(ticket, before, &client);
        }
    }

    /// Forgets a message: it is deleted from the queue, or left to it.
    pub fn forget(&mut self, ticket: Ticket) {
        let Some(message) = self.messages.remove(&ticket) else { return };
        if let Some(due_at) = message.due_at {
            self.due.remove(&(due_at, ticket));
        }
        self.bytes -= message.bytes;
        self.leave(ticket, message.stage, &message.client);
    }

    /// Removes a message from what its client does.
    fn leave(&mut self, ticket: Ticket, stage: Stage, name: &Arc<str>) {
        let Some(client) = self.clients.get_mut(name) else { return };
        match stage {
            Stage::Running => {
                client.running -= 1;
                self.running -= 1;
            }
            Stage::Waiting => {
                if let Ok(index) = client.waiting.binary_search(&ticket) {
                    client.waiting.remove(index);
                }
            }
            Stage::Done => return,
        }
        if client.waiting.is_empty() && std::mem::take(&mut client.is_queued) {
            self.ready.retain(|other| other != name);
        }
        if client.waiting.is_empty() && client.running == 0 {
            self.clients.remove(name);
        }
        self.queue_client(name);
    }

    /// Returns up to `max` messages whose visibility must be extended by [`Limits::visibility`] now. Report the result of each
    /// one with [`Flow::extended`], [`Flow::not_extended`] or [`Flow::expired`].
    pub fn extend(&mut self, now: Instant, max: usize) -> Vec<Ticket> {
        let due = self.due.range(..=(now, Ticket(u64::MAX))).map(|(_, ticket)| *ticket);
        let due: Vec<_> = due.filter(|ticket| self.messages[ticket].visible_at > now).take(max).collect();
        for ticket in &due {
            // Until its result is known, it is due when its visibility ends.
            self.set_due(*ticket, Some(self.messages[ticket].visible_at));
        }
        due
    }

    /// Notes that SQS has extended the visibility of a message. `asked` is when the request began.
    pub fn extended(&mut self, ticket: Ticket, asked: Instant) {
        let Some(message) = self.messages.get_mut(&ticket) else { return };
        message.visible_at = asked + self.limits.visibility;
        let due_at = asked + self.limits.visibility * 2 / 3;
        let is_last = due_at + self.limits.visibility >= message.received + self.limits.max_invisible;
        let due_at = if is_last { message.visible_at } else { due_at };
        self.set_due(ticket, Some(due_at));
    }

    /// Notes that the visibility of a message was not extended, and is to be extended then. It ends when it did before.
    pub fn not_extended(&mut self, ticket: Ticket, retry_at: Instant) {
        if let Some(Known { due_at: Some(_), visible_at, .. }) = self.messages.get(&ticket) {
            let due_at = retry_at.min(*visible_at);
            self.set_due(ticket, Some(due_at));
        }
    }

    /// Notes that a message is visible to others already.
    pub fn expired(&mut self, ticket: Ticket, now: Instant) {
        if let Some(message @ Known { due_at: Some(_), .. }) = self.messages.get_mut(&ticket) {
            message.visible_at = now;
            self.set_due(ticket, Some(now));
        }
    }

    /// Returns the messages that are visible to others since the last call, and forgets those that are not being stored:
    /// another receipt of them comes.
    pub fn lost(&mut self, now: Instant) -> Vec<Ticket> {
        let due = self.due.range(..=(now, Ticket(u64::MAX))).map(|(_, ticket)| *ticket);
        let lost: Vec<_> = due.filter(|ticket| self.messages[ticket].visible_at <= now).collect();
        for ticket in &lost {
            self.set_due(*ticket, None);
            if self.messages[ticket].stage != Stage::Running {
                self.forget(*ticket);
            }
        }
        lost
    }

    /// Returns whether a message is in memory.
    pub fn holds(&self, ticket: Ticket) -> bool {
        self.messages.contains_key(&ticket)
    }

    /// Returns when to call [`Flow::lost`] and then [`Flow::extend`] again.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.due.first().map(|(due_at, _)| *due_at)
    }

    /// Returns the messages that wait or are being stored, the oldest first.
    pub fn unfinished(&self) -> Vec<Ticket> {
        let unfinished = self.messages.iter().filter(|(_, message)| message.stage != Stage::Done);
        let mut tickets: Vec<_> = unfinished.map(|(ticket, _)| *ticket).collect();
        tickets.sort_unstable();
        tickets
    }

    fn set_due(&mut self, ticket: Ticket, at: Option<Instant>) {
        let Some(message) = self.messages.get_mut(&ticket) else { return };
        if let Some(before) = std::mem::replace(&mut message.due_at, at) {
            self.due.remove(&(before, ticket));
        }
        if let Some(at) = at {
            self.due.insert((at, ticket));
        }
    }

    /// Queues the client, if it may start a message and is not queued.
    fn queue_client(&mut self, name: &Arc<str>) {
        let Some(client) = self.clients.get_mut(name) else { return };
        let may_start = !client.waiting.is_empty() && client.running < self.limits.running_per_client;
        if may_start && !std::mem::replace(&mut client.is_queued, true) {
            self.ready.push_back(Arc::clone(name));
        }
    }
}

#[cfg(test)]
mod tests;
