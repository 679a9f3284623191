//! The faults that a script can inject into the ports: answers of the store and the topic, deliveries and acks that go
//! wrong, and streams that end.

use std::fmt;
use std::time::Duration;

use crate::consumer::ports::Verb;

/// The store's answer to one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The condition decides.
    Normal,
    /// An error. The scan is written or not.
    Unavailable {
        written: bool,
    },
    Throttled,
    HotKey,
    MissingTable,
    Refused,
    ForeignRow,
    /// No answer. The scan is written or not.
    Hang {
        written: bool,
    },
}

/// One attempt to write a scan, as a script sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) port: u16,
    /// `None` for a PutItem.
    pub(super) verb: Option<Verb>,
    /// The number of this attempt among all attempts, from 1.
    pub(super) number: usize,
    /// The number of this attempt among those for its key, from 1.
    pub(super) of_key: usize,
    /// The number of other calls in flight.
    pub(super) others: usize,
    /// The simulated time since the start.
    pub(super) at: Duration,
}

/// One batch call, as a script sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchCall {
    /// The number of this call, from 1.
    pub(super) number: usize,
    /// The simulated time since the start.
    pub(super) at: Duration,
}

/// One publish of a dead letter, as a script sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublishCall {
    /// The number of this publish, from 1.
    pub(super) number: usize,
    /// The number of attributes, which is 1 for a dead letter with its reason alone.
    pub(super) attributes: usize,
    /// The simulated time since the start.
    pub(super) at: Duration,
}

/// The topic's answer to one publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishAnswer {
    Normal,
    Unavailable,
    /// The dead letter is published, but the response is lost.
    ResponseLost,
    Invalid,
    Hang,
}

/// A fault of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryFault {
    None,
    /// The message is redelivered unless it is acked by then, e.g. because its lease expired.
    RedeliverAfter(Duration),
}

/// A fault of one ack. The client learns of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckFault {
    None,
    /// The server does not receive the ack. It redelivers the message when the lease ends, after this time.
    Lost(Duration),
    /// The server receives the ack, and redelivers the message once more after this time.
    RedeliverAfter(Duration),
}

/// A stream that was opened or has delivered a message, as a script sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamEvent {
    /// The number of messages that the worker has received.
    pub(super) received: usize,
    /// The simulated time since the start.
    pub(super) at: Duration,
}

/// A closure that implements `Debug`, because it is a part of the state.
pub(super) struct Script<I, O>(Box<dyn FnMut(I) -> O + Send>);

impl<I, O> Script<I, O> {
    pub(super) fn new(script: impl FnMut(I) -> O + Send + 'static) -> Script<I, O> {
        Script(Box::new(script))
    }

    pub(super) fn call(&mut self, input: I) -> O {
        (self.0)(input)
    }
}

impl<I, O> fmt::Debug for Script<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a script")
    }
}
