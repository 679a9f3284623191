//! What became of the letters of a redrive, and how it is said. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use humantime::format_duration;
use indicatif::HumanCount;

use super::UNSEEN;
use super::redrive::{End, MOST_REDRIVES};
use super::text::harmless;

const LONGEST: usize = 64;
const LONGEST_DETAIL: usize = 200;

/// Letters by what became of them.
#[derive(Debug, Default)]
pub(super) struct Report {
    redriven: BTreeMap<(String, Arc<str>), u64>,
    left: BTreeMap<Left, u64>,
}

/// Why a letter was left where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    OtherReason(String),
    TooOften,
    /// It was redriven in this run, and rejected since.
    RejectedAgain,
    NoTopic(String),
    /// The topic refuses this very message.
    Refused(String),
    /// The topic could not be published to.
    Failed,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Left::OtherReason(reason) => write!(f, "of another reason: {}", harmless(reason, LONGEST)),
            Left::TooOften => write!(f, "redriven {MOST_REDRIVES} times already; --force redrives them all the same"),
            Left::RejectedAgain => write!(f, "rejected again meanwhile: the consumers do not accept them yet"),
            Left::NoTopic(why) => write!(f, "{why}; name their topic with --topic"),
            Left::Refused(detail) => write!(f, "refused by the topic: {}", harmless(detail, LONGEST_DETAIL)),
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

    /// Returns whether every dead letter of the chosen reasons was redriven.
    pub(super) fn is_complete(&self) -> bool {
        self.left.keys().all(|left| matches!(left, Left::OtherReason(_)))
    }

    /// The closing line, and a line for each kind of letters.
    pub(super) fn write(&self, end: End, dry_run: bool, flushed: bool, out: &mut impl Write) -> io::Result<()> {
        let (what, total, each) = match dry_run {
            true => ("Dry run", "Would be redriven", "would be redriven"),
            false => ("Redrive", "Redriven", "redriven"),
        };
        let how = if matches!(end, End::Stopped | End::Failed) { "stopped before the end" } else { "finished" };
        let (redriven, left) = (HumanCount(self.redriven.values().sum()), HumanCount(self.left.values().sum()));
        writeln!(out, "{what} {how}. {total}: {redriven}, left: {left}")?;
        for ((reason, topic), count) in &self.redriven {
            writeln!(out, "  {} {each}: {} to {topic}", HumanCount(*count), harmless(reason, LONGEST))?;
        }
        for (why, count) in &self.left {
            writeln!(out, "  {} left: {why}", HumanCount(*count))?;
        }
        match end {
            End::Limit(limit) => {
                writeln!(out, "There may be more: the limit of {} is reached.", HumanCount(limit as u64))?
            }
            End::Held(held) => writeln!(
                out,
                "There may be more: {} letters are the most that a run holds back. Run it again, or redrive other \
                 reasons first.",
                HumanCount(held as u64)
            )?,
            End::Quiet(quiet) => {
                let unseen = if self.redriven.is_empty() && self.left.is_empty() { UNSEEN } else { "" };
                writeln!(out, "No more came for {}.{unseen}", format_duration(quiet))?
            }
            End::Stopped | End::Failed => writeln!(out, "What was not redriven was given back.")?,
        }
        if !flushed {
            writeln!(out, "The last acknowledgements were not sent in time: some letters may be redriven once more.")?;
        }
        out.flush()
    }
}
