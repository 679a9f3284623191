//! The open streams of a subscription: how many messages each may take, and which of them to wake. This module is pure.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::leases::StreamId;
use super::window::Window;

// Limits one response, so that a stream does not take the whole backlog. It is enough for a stream at full rate.
pub(super) const MAX_BATCH_MESSAGES: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Streams {
    open: HashMap<StreamId, Stream>,
    last_id: u64,
    /// Streams below their limits that polled and got nothing, the longest waiting first. Some may have got messages since.
    idle: VecDeque<StreamId>,
    /// The number of streams that were woken and have not polled yet.
    woken: usize,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) window: Window,
    /// How long a message is leased to this stream.
    pub(super) lease: Duration,
    state: State,
}

/// Whether a stream can take messages, and what it needs if it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    NeedsMessages,
    NeedsRoom,
    /// The stream was woken and polls next.
    Woken,
}

impl Streams {
    pub(super) fn open(&mut self, window: Window, lease: Duration) -> StreamId {
        self.last_id += 1;
        let id = StreamId(self.last_id);
        self.open.insert(id, Stream { window, lease, state: State::Active });
        id
    }

    pub(super) fn close(&mut self, id: StreamId) {
        if self.open.remove(&id).is_some_and(|stream| stream.state == State::Woken) {
            self.woken -= 1;
        }
        self.idle.retain(|idle| *idle != id);
    }

    pub(super) fn set_lease(&mut self, id: StreamId, lease: Duration) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.lease = lease;
        }
    }

    /// Returns how many of the `ready` messages a stream may take now: an equal share for each stream that has room.
    pub(super) fn poll(&mut self, id: StreamId, ready: usize) -> Option<(usize, &mut Stream)> {
        let with_room = self.open.values().filter(|stream| stream.window.has_room()).count();
        let reserved = self.reserved();
        let stream = self.open.get_mut(&id)?;
        let woken = std::mem::replace(&mut stream.state, State::Active) == State::Woken;
        if woken {
            self.woken -= 1;
        }
        // Ready messages are reserved for the streams that were woken for them. Otherwise the first stream, which polls
        // again as soon as its messages are sent, would take all of them.
        let share =
            if woken || ready > reserved { ready.div_ceil(with_room.max(1)).min(MAX_BATCH_MESSAGES) } else { 0 };
        Some((share, stream))
    }

    /// Remembers a stream that got nothing, to wake it once it can take messages.
    pub(super) fn wait(&mut self, id: StreamId) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        if stream.window.has_room() {
            stream.state = State::NeedsMessages;
            self.queue_up(id);
        } else {
            stream.state = State::NeedsRoom;
        }
    }

    /// Makes room on a stream after a message on it was settled.
    pub(super) fn release(&mut self, id: StreamId, bytes: usize) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.window.release(bytes);
        if stream.state == State::NeedsRoom && stream.window.has_room() {
            stream.state = State::NeedsMessages;
            self.queue_up(id);
        }
    }

    /// Returns the streams to wake, each of them once. There are never more woken streams than ready messages. No
    /// further stream is woken while the streams that were woken before can take all ready messages.
    pub(super) fn streams_to_wake(&mut self, ready: usize) -> Vec<StreamId> {
        let mut streams = Vec::new();
        if ready <= self.reserved() {
            return streams;
        }
        while self.woken < ready
            && let Some(id) = self.idle.pop_front()
        {
            // A stream that polled by itself and got messages is not waiting any more.
            if let Some(stream) = self.open.get_mut(&id).filter(|stream| stream.state == State::NeedsMessages) {
                stream.state = State::Woken;
                self.woken += 1;
                streams.push(id);
            }
        }
        streams
    }

    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    fn reserved(&self) -> usize {
        self.woken * MAX_BATCH_MESSAGES
    }

    fn queue_up(&mut self, id: StreamId) {
        if !self.idle.contains(&id) {
            self.idle.push_back(id);
        }
    }
}
