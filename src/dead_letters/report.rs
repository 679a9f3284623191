//! Counts and prints the results of a redrive. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use indicatif::HumanCount;

use super::reader::Closed;
use super::redrive::MAX_REDRIVES;
use super::text::sanitize;
use super::{HIDDEN_HINT, Outcome};
use crate::pubsub::PASSING_LEASE;
use crate::service::SetupError;

const MAX_CHARS: usize = 64;
const MAX_DETAIL_CHARS: usize = 200;

/// What a run does, or in a dry run would do, with the dead letters that it does not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Redrive,
    WouldRedrive,
}

/// Why a run stopped reading dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Idle(Duration),
    /// During the idle timeout, Pub/Sub delivered dead letters that the run had read before.
    Repeated(Duration),
    Limit(usize),
    Stopped,
    Failed,
}

/// The dead letters of a run, counted by result.
#[derive(Debug, Default)]
pub(super) struct Report {
    redriven: BTreeMap<(String, Arc<str>), u64>,
    left: BTreeMap<Left, u64>,
}

/// Why a run did not redrive a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    OtherReason(String),
    TooOften,
    /// This run had redriven it, and a consumer rejected it again.
    RejectedAgain,
    NoTopic(String),
    /// The topic refused this message.
    Refused(String),
    /// Publishing failed, and may succeed later.
    Failed,
    /// The message was published, perhaps to the dead-letter topic.
    Unverified,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Left::OtherReason(reason) => write!(f, "not selected by --reason: {}", sanitize(reason, MAX_CHARS)),
            Left::TooOften => write!(f, "already redriven {MAX_REDRIVES} times; add --force to redrive them again"),
            Left::RejectedAgain => write!(f, "rejected again during this run: the consumers do not accept them yet"),
            Left::NoTopic(why) => write!(f, "{why}; choose a topic with --topic"),
            Left::Refused(detail) => write!(f, "refused by the topic: {}", sanitize(detail, MAX_DETAIL_CHARS)),
            Left::Failed => write!(f, "not published"),
            Left::Unverified => write!(f, "kept, because the topic is or may be the dead-letter topic itself"),
        }
    }
}

impl Report {
    pub(super) fn redriven(&mut self, reason: String, topic: Arc<str>) {
        *self.redriven.entry((reason, topic)).or_default() += 1;
    }

    pub(super) fn left(&mut self, why: Left) {
        *self.left.entry(why).or_default() += 1;
    }

    /// Returns whether the run left dead letters that were selected.
    fn left_selected(&self) -> bool {
        self.left.keys().any(|left| !matches!(left, Left::OtherReason(_)))
    }

    /// Writes the report of a run and returns how it ended.
    pub(super) fn finish(
        &self,
        verb: Verb,
        end: Result<End, SetupError>,
        closed: Closed,
        out: &mut impl Write,
    ) -> Result<Outcome, SetupError> {
        let reported = end.as_ref().map_or(End::Failed, |end| *end);
        let written = self.write(verb, reported, closed, out);
        written.map_err(|error| SetupError(format!("cannot write the output: {error}")))?;
        Ok(match end? {
            End::Stopped | End::Repeated(_) => Outcome::Partly,
            _ if self.left_selected() => Outcome::Partly,
            _ => Outcome::Done,
        })
    }

    /// Writes the closing line, one line for each result, and why the run ended.
    fn write(&self, verb: Verb, end: End, closed: Closed, out: &mut impl Write) -> io::Result<()> {
        let (what, total, each) = match verb {
            Verb::Redrive => ("Redrive", "Redriven", "redriven"),
            Verb::WouldRedrive => ("Dry run", "Would be redriven", "would be redriven"),
        };
        let how = if matches!(end, End::Stopped | End::Failed) { "stopped before the end" } else { "finished" };
        let (redriven, left) = (HumanCount(self.redriven.values().sum()), HumanCount(self.left.values().sum()));
        writeln!(out, "{what} {how}. {total}: {redriven}, left: {left}")?;
        for ((reason, topic), count) in &self.redriven {
            writeln!(out, "  {} {each}: {} to {topic}", HumanCount(*count), sanitize(reason, MAX_CHARS))?;
        }
        for (why, count) in &self.left {
            writeln!(out, "  {} left: {why}", HumanCount(*count))?;
        }
        match end {
            End::Limit(limit) => {
                writeln!(out, "There may be more: the limit of {} was reached.", HumanCount(limit as u64))?
            }
            End::Repeated(idle) => writeln!(
                out,
                "There may be more: for {}, Pub/Sub delivered only dead letters that the run had read before.",
                format_duration(idle)
            )?,
            End::Idle(idle) => {
                let hint = if self.redriven.is_empty() && self.left.is_empty() { HIDDEN_HINT } else { "" };
                writeln!(out, "No more arrived for {}.{hint}", format_duration(idle))?
            }
            End::Stopped | End::Failed => writeln!(out, "The run released the dead letters that it did not redrive.")?,
        }
        if closed.passed_over > 0 {
            writeln!(
                out,
                "Pub/Sub delivers up to {} of the dead letters left again only after {}: the run could not keep all leased.",
                HumanCount(closed.passed_over as u64),
                format_duration(PASSING_LEASE)
            )?;
        }
        if !closed.flushed {
            writeln!(out, "The last acknowledgements were not sent in time: some dead letters may be redriven again.")?;
        }
        out.flush()
    }
}
