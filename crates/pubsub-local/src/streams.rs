//! Who takes messages from a subscription: the open streams, what each may have, and which of them to wake. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::leases::StreamId;
use super::window::Window;

// Bounds one response, so that no stream takes a whole backlog at once; enough to carry a stream at full rate.
pub(super) const MAX_BATCH_MESSAGES: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Streams {
    open: HashMap<StreamId, Stream>,
    opened_ever: u64,
    /// Streams that asked in vain and have room, longest waiting first; also some that were served since.
    idle: VecDeque<StreamId>,
    /// How many streams were woken and have not asked yet.
    called: usize,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) window: Window,
    /// How long what it takes is leased to it.
    pub(super) lease: Duration,
    waits: Waits,
}

/// What would let a stream that asked in vain have messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    ForMessages,
    ForRoom,
    /// It was woken, and asks next.
    Called,
}

impl Streams {
    pub(super) fn open(&mut self, window: Window, lease: Duration) -> StreamId {
        self.opened_ever += 1;
        let id = StreamId(self.opened_ever);
        self.open.insert(id, Stream { window, lease, waits: Waits::No });
        id
    }

    pub(super) fn close(&mut self, id: StreamId) {
        if self.open.remove(&id).is_some_and(|stream| stream.waits == Waits::Called) {
            self.called -= 1;
        }
        self.idle.retain(|idle| *idle != id);
    }

    pub(super) fn set_lease(&mut self, id: StreamId, lease: Duration) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.lease = lease;
        }
    }

    /// A stream asks: how many of the `ready` messages it may take now, an even part over the streams that have room.
    pub(super) fn ask(&mut self, id: StreamId, ready: usize) -> Option<(usize, &mut Stream)> {
        let roomy = self.open.values().filter(|stream| stream.window.has_room()).count();
        let promised = self.promised();
        let stream = self.open.get_mut(&id)?;
        let called = std::mem::replace(&mut stream.waits, Waits::No) == Waits::Called;
        if called {
            self.called -= 1;
        }
        // What is ready is for those that were woken for it. Without this the first of them, which asks again as soon
        // as its messages are on their way, would have everything.
        let share = if called || ready > promised { ready.div_ceil(roomy.max(1)).min(MAX_BATCH_MESSAGES) } else { 0 };
        Some((share, stream))
    }

    /// A stream got nothing: it is remembered until there is something for it.
    pub(super) fn wait(&mut self, id: StreamId) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        if stream.window.has_room() {
            stream.waits = Waits::ForMessages;
            self.queue_up(id);
        } else {
            stream.waits = Waits::ForRoom;
        }
    }

    /// Something that a stream held was settled.
    pub(super) fn release(&mut self, id: StreamId, bytes: usize) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.window.release(bytes);
        if stream.waits == Waits::ForRoom && stream.window.has_room() {
            stream.waits = Waits::ForMessages;
            self.queue_up(id);
        }
    }

    /// The streams that should ask again, each named once: no more than there are messages, and in rounds, so that
    /// those that were woken have asked before more are.
    pub(super) fn wakes(&mut self, ready: usize) -> Vec<StreamId> {
        let mut woken = Vec::new();
        if ready <= self.promised() {
            return woken;
        }
        while self.called < ready
            && let Some(id) = self.idle.pop_front()
        {
            // A stream that asked again by itself meanwhile, and was served, waits no longer.
            if let Some(stream) = self.open.get_mut(&id).filter(|stream| stream.waits == Waits::ForMessages) {
                stream.waits = Waits::Called;
                self.called += 1;
                woken.push(id);
            }
        }
        woken
    }

    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    fn promised(&self) -> usize {
        self.called * MAX_BATCH_MESSAGES
    }

    fn queue_up(&mut self, id: StreamId) {
        if !self.idle.contains(&id) {
            self.idle.push_back(id);
        }
    }
}
