//! What can go wrong at a port: the answers of the store and the topic, and what a delivery does beside arriving.

use std::fmt;
use std::time::Duration;

use crate::consumer::ports::Verb;

/// What the store does with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The condition decides.
    Truly,
    /// A failed answer, of a write that happened or did not.
    Unavailable {
        written: bool,
    },
    Throttled,
    HotKey,
    /// There is no table.
    Misconfigured,
    Refused,
    ForeignRow,
    /// No answer ever, of a write that happened or did not.
    Never {
        written: bool,
    },
}

/// One attempt at the store, as a script sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) port: u16,
    /// None for a write by itself.
    pub(super) verb: Option<Verb>,
    /// From 1, over all keys.
    pub(super) number: usize,
    /// From 1, of this key.
    pub(super) of_key: usize,
    /// Since the world began.
    pub(super) at: Duration,
}

/// One batch at the store, as a script sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calling {
    /// From 1.
    pub(super) number: usize,
    /// Since the world began.
    pub(super) at: Duration,
}

/// One letter at the topic, as a script sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posting {
    /// From 1.
    pub(super) number: usize,
    /// One, if it is bare.
    pub(super) attributes: usize,
    /// Since the world began.
    pub(super) at: Duration,
}

/// How the topic takes one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publishing {
    Well,
    Unavailable,
    /// The letter is there, and the answer is lost.
    Unanswered,
    Invalid,
    Never,
}

/// What else a delivery does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivering {
    Well,
    /// It comes again, unless it is acked by then: a lease that ran out, or Pub/Sub's own duplicate.
    TwiceAfter(Duration),
}

/// A closure that can be printed as a part of the world.
pub(super) struct Script<I, O>(Box<dyn FnMut(I) -> O + Send>);

impl<I, O> Script<I, O> {
    pub(super) fn new(script: impl FnMut(I) -> O + Send + 'static) -> Script<I, O> {
        Script(Box::new(script))
    }

    pub(super) fn ask(&mut self, about: I) -> O {
        (self.0)(about)
    }
}

impl<I, O> fmt::Debug for Script<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a script")
    }
}
