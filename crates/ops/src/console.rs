//! Runs the commands of operators: where a command prints, what stops it, and how it ends.

use std::fmt;
use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::Pipe;
use crate::signals::Signals;

/// Some of the work was done, and some was left.
const PARTLY_DONE: u8 = 3;
/// The reader of stdout closed it, e.g. `head`. A shell shows this code for a program that SIGPIPE ended.
const CLOSED: u8 = 141;

/// Why a command failed: what failed, why, and what to do, in one to three lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

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
    pub fn print(&mut self, text: impl fmt::Display) -> Result<(), ToolError> {
        write!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(|error| cannot_write(&error))
    }

    pub fn note(&mut self, line: impl fmt::Display) -> Result<(), ToolError> {
        writeln!(self.notes, "{line}").map_err(|error| cannot_write(&error))
    }

    /// Asks a question on the terminal. Any answer but yes is a no, and so is a stop.
    pub async fn confirm(&self, question: &str) -> bool {
        self.stop.run_until_cancelled(crate::confirm(question)).await.unwrap_or_default()
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

fn cannot_write(error: &io::Error) -> ToolError {
    ToolError(format!("cannot write the output: {error}"))
}

/// Shows a count on a terminal, with the total if it is known. Elsewhere it shows nothing.
pub fn progress(doing: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = if total.is_some() { "{msg} {human_pos} of {human_len}" } else { "{msg} {human_pos}" };
    if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} {{elapsed_precise}} {template}")) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_message(doing)
}

/// Runs a command and returns its exit code. The first signal asks it to stop, and the second one ends it at once.
pub async fn run(
    work: impl AsyncFnOnce(&mut Console<'_>) -> Result<Outcome, ToolError>,
) -> Result<ExitCode, ToolError> {
    let listening = Signals::listen().map_err(|error| ToolError(format!("cannot listen for signals: {error}")));
    let (mut signals, stop) = (listening?, CancellationToken::new());
    let (mut out, mut notes) = (Pipe::new(io::BufWriter::new(io::stdout())), io::stderr());
    let ended = {
        let mut console = Console { out: &mut out, notes: &mut notes, stop: &stop };
        let mut work = pin!(work(&mut console));
        let ended = tokio::select! {
            biased;
            _ = signals.next() => None,
            ended = &mut work => Some(ended),
        };
        match ended {
            Some(ended) => ended,
            None => {
                stop.cancel();
                tokio::select! {
                    biased;
                    second = signals.next() => return Ok(ExitCode::from(second.exit_code())),
                    ended = work => ended,
                }
            }
        }
    };
    exit_code(ended, out.is_closed)
}

fn exit_code(ended: Result<Outcome, ToolError>, is_closed: bool) -> Result<ExitCode, ToolError> {
    if is_closed {
        return Ok(ExitCode::from(CLOSED));
    }
    Ok(match ended? {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::FAILURE,
        Outcome::Partly => ExitCode::from(PARTLY_DONE),
    })
}
