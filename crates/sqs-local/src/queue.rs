//! The messages of one queue. This module is pure: times are arguments. It signals each message that becomes visible.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::error::{ApiError, Code};
use super::message::Content;
use super::names::Receipt;
use super::settings::{Number, Settings};

/// The time since 1970.
pub(crate) type Time = Duration;

/// The longest time from a receive to the end of its visibility timeout.
const MAX_VISIBILITY: Duration = Duration::from_secs(43_200);
const MAX_IN_FLIGHT: usize = 120_000;
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// Where a message is. The position is that of its set in [`Queue::sets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Visible,
    Delayed,
    InFlight,
}

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) content: Arc<Content>,
    pub(crate) md5: Arc<str>,
    pub(crate) sent: Time,
    pub(crate) first_received: Option<Time>,
    /// Receives in all queues.
    pub(crate) receives: u32,
    /// The queue that it was moved from as a dead letter.
    pub(crate) source: Option<String>,
    /// Receives in this queue. Dead letters that move in a circle would otherwise never stop.
    receives_here: u32,
    last_received: Time,
    state: State,
    /// Since when it is visible, or when its delay or its visibility timeout ends.
    at: Time,
}

impl Message {
    pub(crate) fn new(content: Arc<Content>, md5: Arc<str>, now: Time) -> Message {
        Message {
            content,
            md5,
            sent: now,
            first_received: None,
            receives: 0,
            source: None,
            receives_here: 0,
            last_received: now,
            state: State::Visible,
            at: now,
        }
    }
}

/// Messages by their ids, and the ids in the order of the times at which something happens to them.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) settings: Settings,
    pub(crate) created: Time,
    pub(crate) modified: Time,
    /// Signalled for each message that becomes visible, and when the queue is deleted.
    pub(crate) arrivals: Arc<Notify>,
    purged: Option<Time>,
    messages: HashMap<u64, Message>,
    /// For each state, the messages in it by their `at`.
    sets: [BTreeSet<(Time, u64)>; 3],
    /// All messages by their `sent`, because dead letters are older than their neighbours.
    by_age: BTreeSet<(Time, u64)>,
}

impl Queue {
    pub(crate) fn new(settings: Settings, now: Time) -> Queue {
        Queue {
            settings,
            created: now,
            modified: now,
            arrivals: Arc::default(),
            purged: None,
            messages: HashMap::new(),
            sets: Default::default(),
            by_age: BTreeSet::new(),
        }
    }

    /// Returns the number of messages in a state.
    pub(crate) fn count(&self, state: State) -> usize {
        self.sets[state as usize].len()
    }

    /// Returns when the next delay or visibility timeout ends.
    pub(crate) fn next_event(&self) -> Option<Time> {
        let first = |state: State| self.sets[state as usize].first().map(|(at, _)| *at);
        first(State::Delayed).into_iter().chain(first(State::InFlight)).min()
    }

    /// Ends delays and visibility timeouts that are due, and drops messages after the retention period.
    pub(crate) fn advance(&mut self, now: Time) {
        let retention = self.seconds(Number::Retention);
        while let Some((sent, id)) = self.by_age.first().copied()
            && sent + retention <= now
        {
            self.take(id);
        }
        for state in [State::Delayed, State::InFlight] {
            while let Some((at, id)) = self.sets[state as usize].first().copied()
                && at <= now
            {
                self.change_state(id, State::Visible, at);
            }
        }
    }

    /// Adds a message that becomes visible after `delay`.
    pub(crate) fn put(&mut self, id: u64, mut message: Message, delay: Duration, now: Time) {
        message.state = if delay.is_zero() { State::Visible } else { State::Delayed };
        message.at = now + delay;
        message.receives_here = 0;
        self.sets[message.state as usize].insert((message.at, id));
        self.by_age.insert((message.sent, id));
        if message.state == State::Visible {
            self.arrivals.notify_one();
        }
        self.messages.insert(id, message);
    }

    /// Removes a message.
    pub(crate) fn take(&mut self, id: u64) -> Option<Message> {
        let message = self.messages.remove(&id)?;
        self.sets[message.state as usize].remove(&(message.at, id));
        self.by_age.remove(&(message.sent, id));
        Some(message)
    }

    /// Returns the message that has been visible for the longest time.
    pub(crate) fn first_visible(&self) -> Option<(u64, &Message)> {
        let (_, id) = self.sets[State::Visible as usize].first()?;
        Some((*id, self.messages.get(id)?))
    }

    /// Receives up to `max` messages, which stay invisible for `visibility`. A message that has been received
    /// `max_receives` times here goes to `dead_letters` instead. The result does not contain it.
    pub(crate) fn receive(
        &mut self,
        max: usize,
        visibility: Duration,
        max_receives: Option<u32>,
        dead_letters: &mut Vec<(u64, Message)>,
        now: Time,
    ) -> Result<Vec<(Receipt, Message)>, ApiError> {
        let mut received = Vec::new();
        while received.len() < max
            && let Some((_, id)) = self.sets[State::Visible as usize].first().copied()
        {
            let message = self.messages.get_mut(&id).expect("a set contains only ids of messages");
            if max_receives.is_some_and(|most| message.receives_here >= most) {
                dead_letters.extend(self.take(id).map(|message| (id, message)));
                continue;
            }
            if self.sets[State::InFlight as usize].len() >= MAX_IN_FLIGHT {
                break;
            }
            message.receives += 1;
            message.receives_here += 1;
            message.first_received.get_or_insert(now);
            message.last_received = now;
            received.push((Receipt { message: id, receive: message.receives }, message.clone()));
            // Also with a timeout of 0, so that this loop does not receive the message again.
            self.change_state(id, State::InFlight, now + visibility);
        }
        // One signal wakes one receive. It wakes the next one for the messages that it leaves.
        if !received.is_empty() && self.count(State::Visible) > 0 {
            self.arrivals.notify_one();
        }
        if received.is_empty() && self.count(State::InFlight) >= MAX_IN_FLIGHT {
            return Err(ApiError::new(Code::OverLimit, "The queue has too many messages in flight. Delete some."));
        }
        Ok(received)
    }

    /// Deletes a message, if `receipt` is that of its last receive.
    pub(crate) fn delete(&mut self, receipt: Receipt) {
        if self.messages.get(&receipt.message).is_some_and(|message| message.receives == receipt.receive) {
            self.take(receipt.message);
            // Receives that wait because too many messages are in flight can go on.
            if self.count(State::InFlight) + 1 == MAX_IN_FLIGHT {
                self.arrivals.notify_one();
            }
        }
    }

    /// Lets the visibility timeout of a message end `timeout` from now. It has no effect on a message that is visible
    /// again or that was received again.
    pub(crate) fn change_visibility(
        &mut self,
        receipt: Receipt,
        handle: &str,
        timeout: Duration,
        now: Time,
    ) -> Result<(), ApiError> {
        let Some(message) = self.messages.get(&receipt.message) else {
            let reason = "Message does not exist or is not available for visibility timeout change.";
            return Err(ApiError::invalid("ReceiptHandle", handle, reason));
        };
        if now + timeout > message.last_received + MAX_VISIBILITY {
            let reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
            return Err(ApiError::invalid("VisibilityTimeout", timeout.as_secs(), reason));
        }
        if message.state == State::InFlight && message.receives == receipt.receive {
            let state = if timeout.is_zero() { State::Visible } else { State::InFlight };
            self.change_state(receipt.message, state, now + timeout);
        }
        Ok(())
    }

    /// Drops all messages, at most once per minute.
    pub(crate) fn purge(&mut self, name: &str, now: Time) -> Result<(), ApiError> {
        if self.purged.is_some_and(|purged| now < purged + PURGE_INTERVAL) {
            let message = format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds.");
            return Err(ApiError::new(Code::PurgeQueueInProgress, message));
        }
        self.purged = Some(now);
        self.messages.clear();
        self.sets.iter_mut().for_each(BTreeSet::clear);
        self.by_age.clear();
        Ok(())
    }

    /// Checks that each message is in the set of its state and in no other, and in the order of ages.
    #[cfg(test)]
    pub(crate) fn check_sets(&self) {
        assert_eq!(self.sets.iter().map(BTreeSet::len).sum::<usize>(), self.messages.len());
        assert_eq!(self.by_age.len(), self.messages.len());
        for (id, message) in &self.messages {
            assert!(self.sets[message.state as usize].contains(&(message.at, *id)));
            assert!(self.by_age.contains(&(message.sent, *id)));
        }
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.messages.contains_key(&id)
    }

    pub(crate) fn seconds(&self, number: Number) -> Duration {
        Duration::from_secs(self.settings.number(number))
    }

    fn change_state(&mut self, id: u64, state: State, at: Time) {
        let message = self.messages.get_mut(&id).expect("a set contains only ids of messages");
        self.sets[message.state as usize].remove(&(message.at, id));
        self.sets[state as usize].insert((at, id));
        (message.state, message.at) = (state, at);
        if state == State::Visible {
            self.arrivals.notify_one();
        }
    }
}
