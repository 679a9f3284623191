//! Counts and prints the results of a redrive or a purge. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use indicatif::HumanCount;

use super::reader::Closed;
use super::redrive::MAX_REDRIVES;
use super::selection::NotSelected;
use super::{HIDDEN_HINT, Outcome};
use crate::pubsub::PASSING_LEASE;
use crate::service::SetupError;
use ops::terminal::sanitize;

const MAX_CHARS: usize = 64;
const MAX_DETAIL_CHARS: usize = 200;

/// What a run does, or in a dry run would do, with the dead letters that it does not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Redrive,
    WouldRedrive,
    Purge,
    WouldPurge,
}

/// Why a run stopped reading dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Idle(Duration),
    /// During the idle timeout, Pub/Sub delivered dead letters that the run had read before.
    Repeated(Duration),
    Limit(usize),
    /// The operator did not confirm.
    Declined,
    Stopped,
    Failed,
}

/// The dead letters of a run, counted by result.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// By reason, and the topic of a redriven message.
    done: BTreeMap<(String, Option<Arc<str>>), u64>,
    left: BTreeMap<Left, u64>,
}

/// Why a run left a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    NotSelected(NotSelected),
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
    NotConfirmed,
    /// The lease ended before the operator confirmed.
    LeaseEnded,
    NotAcked,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Left::NotSelected(why) => write!(f, "{why}"),
            Left::TooOften => write!(f, "already redriven {MAX_REDRIVES} times; add --force to redrive them again"),
            Left::RejectedAgain => write!(f, "rejected again during this run: the consumers do not accept them yet"),
            Left::NoTopic(why) => write!(f, "{why}; choose a topic with --topic"),
            Left::Refused(detail) => write!(f, "refused by the topic: {}", sanitize(detail, MAX_DETAIL_CHARS)),
            Left::Failed => write!(f, "not published"),
            Left::Unverified => write!(f, "kept, because the topic is or may be the dead-letter topic itself"),
            Left::NotConfirmed => write!(f, "not confirmed"),
            Left::LeaseEnded => write!(f, "confirmed too late, because their leases had ended; run it again"),
            Left::NotAcked => write!(f, "not acknowledged by Pub/Sub; run it again"),
        }
    }
}

impl Report {
    pub(super) fn redriven(&mut self, reason: String, topic: Arc<str>) {
        *self.done.entry((reason, Some(topic))).or_default() += 1;
    }

    pub(super) fn purged(&mut self, reason: String) {
        *self.done.entry((reason, None)).or_default() += 1;
    }

    pub(super) fn left(&mut self, why: Left) {
        *self.left.entry(why).or_default() += 1;
    }

    /// Returns whether the run left dead letters that were selected.
    fn left_selected(&self) -> bool {
        self.left.keys().any(|left| !matches!(left, Left::NotSelected(_)))
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
        written.map_err(SetupError::cannot_write)?;
        Ok(match end? {
            End::Declined => Outcome::Stopped,
            End::Stopped | End::Repeated(_) => Outcome::Partly,
            _ if self.left_selected() => Outcome::Partly,
            _ => Outcome::Done,
        })
    }

    /// Writes the question's dead letters by reason.
    pub(super) fn write_selected(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "Selected: {}", HumanCount(self.done.values().sum()))?;
        for ((reason, _), count) in &self.done {
            writeln!(out, "  {} selected: {}", HumanCount(*count), sanitize(reason, MAX_CHARS))?;
        }
        out.flush()
    }

    /// Writes the closing line, one line for each result, and why the run ended.
    fn write(&self, verb: Verb, end: End, closed: Closed, out: &mut impl Write) -> io::Result<()> {
        let (what, total, each) = match verb {
            Verb::Redrive => ("Redrive", "Redriven", "redriven"),
            Verb::WouldRedrive => ("Dry run", "Would be redriven", "would be redriven"),
            Verb::Purge => ("Purge", "Deleted", "deleted"),
            Verb::WouldPurge => ("Dry run", "Would be deleted", "would be deleted"),
        };
        let how = match end {
            End::Stopped | End::Failed => "stopped before the end",
            End::Declined => "cancelled",
            End::Idle(_) | End::Repeated(_) | End::Limit(_) => "finished",
        };
        let (done, left) = (HumanCount(self.done.values().sum()), HumanCount(self.left.values().sum()));
        writeln!(out, "{what} {how}. {total}: {done}, left: {left}")?;
        for ((reason, topic), count) in &self.done {
            let destination = topic.as_ref().map_or(String::new(), |topic| format!(" to {topic}"));
            writeln!(out, "  {} {each}: {}{destination}", HumanCount(*count), sanitize(reason, MAX_CHARS))?;
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
                let hint = if self.done.is_empty() && self.left.is_empty() { HIDDEN_HINT } else { "" };
                writeln!(out, "No more arrived for {}.{hint}", format_duration(idle))?
            }
            End::Declined => writeln!(out, "Nothing was deleted.")?,
            End::Stopped | End::Failed => writeln!(out, "The run released the dead letters that are left.")?,
        }
        if closed.passed_over > 0 {
            writeln!(
                out,
                "Pub/Sub redelivers up to {} of the dead letters left only after {}, because the run could not keep all of \
                 them leased.",
                HumanCount(closed.passed_over as u64),
                format_duration(PASSING_LEASE)
            )?;
        }
        if !closed.flushed {
            writeln!(
                out,
                "The last acknowledgements were not sent in time: some of these dead letters may be delivered again."
            )?;
        }
        out.flush()
    }
}
