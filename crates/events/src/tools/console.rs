//! Where a command prints, what stops it, and how it ends.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::ToolError;

/// How a command ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A check failed, or the answer to a question was no.
    Failed,
    /// Something was left, or it was stopped before the end.
    Partly,
}

/// The streams of a command, and the signal that stops it.
pub struct Console<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// What a person should know beside the results.
    pub notes: &'a mut dyn Write,
    pub stop: &'a CancellationToken,
}

impl fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console<'_> {
    pub(super) fn print(&mut self, text: impl fmt::Display) -> Result<(), ToolError> {
        write!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(|error| cannot_write(&error))
    }

    pub(super) fn note(&mut self, line: impl fmt::Display) -> Result<(), ToolError> {
        writeln!(self.notes, "{line}").map_err(|error| cannot_write(&error))
    }

    /// Asks a question on the terminal. Any answer but yes is a no, and so is a stop.
    pub(super) async fn confirm(&self, question: &str) -> bool {
        self.stop.run_until_cancelled(ops::confirm(question)).await.unwrap_or_default()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

fn cannot_write(error: &io::Error) -> ToolError {
    ToolError(format!("cannot write the output: {error}"))
}

/// Shows a count on a terminal, with the total if it is known. Elsewhere it shows nothing.
pub(super) fn progress(doing: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = if total.is_some() { "{msg} {human_pos} of {human_len}" } else { "{msg} {human_pos}" };
    if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} {{elapsed_precise}} {template}")) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_message(doing)
}
