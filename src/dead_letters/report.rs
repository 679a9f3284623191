//! Counts and prints the results of a redrive. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use humantime::format_duration;
use indicatif::HumanCount;

use super::HIDDEN_HINT;
use super::reader::Closed;
use super::redrive::{End, MAX_REDRIVES};
use super::text::sanitize;
use crate::pubsub::PASSING_LEASE;

const MAX_CHARS: usize = 64;
const MAX_DETAIL_CHARS: usize = 200;

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
    pub(super) fn left_selected(&self) -> bool {
        self.left.keys().any(|left| !matches!(left, Left::OtherReason(_)))
    }

    /// Writes the closing line, one line for each result, and why the run ended.
    pub(super) fn write(&self, end: End, dry_run: bool, closed: Closed, out: &mut impl Write) -> io::Result<()> {
        let (what, total, each) = match dry_run {
            true => ("Dry run", "Would be redriven", "would be redriven"),
            false => ("Redrive", "Redriven", "redriven"),
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
