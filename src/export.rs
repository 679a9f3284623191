//! `mini-scan export`: writes every record of the table as JSON lines or CSV, by a parallel scan. Never writes to the
//! table. An interrupted export continues where its output ends.

mod budget;
mod checkpoint;
mod filter;
mod format;
mod output;
mod pacer;
mod reader;

use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::time::Instant;

use self::checkpoint::{Checkpoint, Identity, Progress};
use self::output::Output;
use self::reader::Reader;
use crate::dynamo::{self, Content, Page, Pages};
use crate::service::{Endpoints, SetupError, table_error, within};
use ops::terminal::sanitize;

pub(crate) use checkpoint::{LoadError, load, replace};
pub use filter::{Filter, unix_seconds};
pub use format::Format;
pub use output::is_overwritten;
pub(crate) use pacer::{Cost, Pacer};

/// A kill loses the work since the last checkpoint, but nothing that the output does not get again.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
const MAX_KEY_CHARS: usize = 100;

/// What to export, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub endpoints: Endpoints,
    pub table: String,
    pub filter: Filter,
    pub format: Format,
    /// `None` is stdout.
    pub output: Option<PathBuf>,
    /// Only with an output file.
    pub resume: Option<PathBuf>,
    pub segments: NonZeroU32,
    /// Per second.
    pub max_read_units: Option<NonZeroU32>,
}

/// How an export ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Stopped,
}

/// Exports to the file, or to `stdout`, until the end or until `stop`. Reports the result to `notes`.
pub async fn run(
    task: &Export,
    stop: impl Future<Output = ()>,
    stdout: &mut impl Write,
    notes: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let (began, mut stop) = (Instant::now(), pin!(stop));
    let look = async {
        let client = task.endpoints.dynamo().await?;
        let content = dynamo::content(&client, &task.table).await?;
        Ok((client, content))
    };
    let found = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before the first record was read".to_owned())),
        found = within(look, dynamo::Problem::Unreachable) => found,
    };
    let (client, content) = found.map_err(|problem| table_error(&task.endpoints, &task.table, problem))?;
    let (mut checkpoint, mut output) = open(task, stdout)?;
    check_table(task, &mut checkpoint, content.as_ref())?;
    let is_resumed = checkpoint.counts.scanned > 0;
    let pages = Pages::new(client, task.table.clone(), task.filter.of_pages());
    let segments = u32::try_from(checkpoint.segments.len()).unwrap_or(u32::MAX);
    let rate = task.max_read_units.map(|units| f64::from(units.get()));
    let reader = Reader::new(pages, task.table.clone(), segments, rate);
    let bar = progress(content.map(|content| content.rows));
    let outcome = copy(task, &reader, stop, &mut checkpoint, &mut output, &bar).await;
    bar.finish_and_clear();
    let (took, throttled) = (began.elapsed(), reader.throttled());
    let summary = Summary { checkpoint: &checkpoint, outcome: outcome?, took, throttled, is_resumed };
    summary.write(task, &output, notes).map_err(SetupError::cannot_write)?;
    Ok(summary.outcome)
}

/// Opens the output, after the checkpoint that covers it.
fn open<'a>(task: &Export, stdout: &'a mut impl Write) -> Result<(Checkpoint, Output<'a>), SetupError> {
    let identity = Identity::new(&task.table, task.format, &task.filter);
    let new = |identity, output| Checkpoint::new(identity, output, task.segments.get());
    let Some(path) = &task.output else { return Ok((new(identity, String::new()), Output::stream(stdout))) };
    let location = output::location(path).map_err(|error| output::cannot_create(path, &error))?;
    let Some(resume) = &task.resume else { return Ok((new(identity, location), Output::create(path)?)) };
    let cannot_resume = |why: String| SetupError(format!("{} (--resume): {why}", resume.display()));
    match Checkpoint::load(resume).map_err(|error| cannot_resume(error.to_string()))? {
        Some(found) => match identity.difference(&found.task) {
            Some(flag) => Err(cannot_resume(format!(
                "the export began with another value of {flag}.\nPass the same value, or choose another file."
            ))),
            None => {
                let output = Output::reopen(path, &found)?;
                Ok((found, output))
            }
        },
        None if path.exists() => Err(output::exists(path)),
        None => {
            // First, so that a kill between the two files can be resumed too.
            let checkpoint = new(identity, location);
            checkpoint.save(resume).map_err(|error| cannot_resume(format!("it cannot be written: {error}")))?;
            Ok((checkpoint, Output::create(path)?))
        }
    }
}

/// Refuses to continue an export of an earlier table of this name.
fn check_table(task: &Export, checkpoint: &mut Checkpoint, content: Option<&Content>) -> Result<(), SetupError> {
    let id = content.and_then(|content| content.id.clone());
    match (&checkpoint.table_id, &id) {
        (Some(earlier), Some(now)) if earlier != now => Err(SetupError(format!(
            "table {} (--table) was deleted and created again since the export began.\nTo export it from the start, \
             delete the output and the --resume file.",
            task.table
        ))),
        _ => {
            checkpoint.table_id = id;
            Ok(())
        }
    }
}

/// Copies page after page, each segment in its own order. Writes a checkpoint at the start, after the first records, every
/// second and at the end.
async fn copy(
    task: &Export,
    reader: &Reader,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    checkpoint: &mut Checkpoint,
    output: &mut Output<'_>,
    bar: &ProgressBar,
) -> Result<Outcome, SetupError> {
    let next = |segment: u32, after: Option<String>| async move { reader.read(segment, after.as_deref()).await };
    if output.is_empty() {
        output.write(task.format.header().as_bytes())?;
    }
    save(task, checkpoint, output)?;
    let mut reading = FuturesUnordered::new();
    for (segment, progress) in (0_u32..).zip(&checkpoint.segments) {
        match progress {
            Progress::Start => reading.push(next(segment, None)),
            Progress::After(key) => reading.push(next(segment, Some(key.clone()))),
            Progress::Done => {}
        }
    }
    let mut saved = Instant::now();
    let outcome = loop {
        let page = tokio::select! {
            biased;
            () = &mut stop => break Ok(Outcome::Stopped),
            page = reading.next() => page,
        };
        let (segment, page) = match page {
            None => break Ok(Outcome::Done),
            Some(Ok(page)) => page,
            // What the other segments have written stays.
            Some(Err(error)) => break Err(error),
        };
        write_page(task, segment, &page, checkpoint, output)?;
        if let Some(last) = page.last {
            reading.push(next(segment, Some(last)));
        }
        bar.set_position(checkpoint.counts.scanned);
        bar.set_message(format!("{} exported", HumanCount(checkpoint.counts.exported)));
        // An output without covered bytes cannot be continued.
        let is_first = checkpoint.length == 0 && !output.is_empty();
        if is_first || saved.elapsed() >= CHECKPOINT_INTERVAL {
            save(task, checkpoint, output)?;
            saved = Instant::now();
        }
    };
    save(task, checkpoint, output)?;
    outcome
}

fn write_page(
    task: &Export,
    segment: u32,
    page: &Page,
    checkpoint: &mut Checkpoint,
    output: &mut Output<'_>,
) -> Result<(), SetupError> {
    let chosen: Vec<_> = page.rows.iter().filter(|row| task.filter.accepts(row)).collect();
    output.write(&task.format.rows(chosen.iter().copied()))?;
    let counts = &mut checkpoint.counts;
    counts.exported += chosen.len() as u64;
    counts.scanned += page.scanned;
    counts.foreign += page.foreign.len() as u64;
    counts.read_units += page.read_units;
    if counts.first_foreign.is_none() {
        counts.first_foreign = page.foreign.first().cloned();
    }
    checkpoint.segments[segment as usize] = page.last.clone().map_or(Progress::Done, Progress::After);
    Ok(())
}

fn save(task: &Export, checkpoint: &mut Checkpoint, output: &mut Output<'_>) -> Result<(), SetupError> {
    output.sync(checkpoint)?;
    let Some(path) = &task.resume else { return Ok(()) };
    let saved = checkpoint.save(path);
    saved.map_err(|error| SetupError(format!("{} (--resume) cannot be written: {error}", path.display())))
}

/// Returns a progress bar, which is hidden if stderr is not a terminal.
pub(crate) fn progress(rows: Option<u64>) -> ProgressBar {
    let (bar, template) = match rows {
        // The count is up to six hours old, so a new table may have none.
        Some(rows) if rows > 0 => {
            (ProgressBar::new(rows), "  {bar:30} {human_pos} of about {human_len} rows · {msg} · {per_sec}")
        }
        _ => (ProgressBar::new_spinner(), "  {spinner} {human_pos} rows · {msg} · {per_sec}"),
    };
    bar.enable_steady_tick(Duration::from_millis(500));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The lines after an export.
struct Summary<'a> {
    checkpoint: &'a Checkpoint,
    outcome: Outcome,
    took: Duration,
    /// Requests, in this run.
    throttled: u64,
    is_resumed: bool,
}

impl Summary<'_> {
    fn write(&self, task: &Export, output: &Output<'_>, notes: &mut impl Write) -> std::io::Result<()> {
        let Checkpoint { counts, length, .. } = self.checkpoint;
        let noun = |count, noun: &str| format!("{} {noun}{}", HumanCount(count), if count == 1 { "" } else { "s" });
        if counts.foreign > 0 {
            let first = sanitize(counts.first_foreign.as_deref().unwrap_or_default(), MAX_KEY_CHARS);
            let rows = noun(counts.foreign, "row");
            writeln!(notes, "warning: left out {rows} that no scan wrote; the first key is {first}")?;
        }
        if self.throttled > 0 {
            writeln!(notes, "DynamoDB throttled {}, which the export repeated.", noun(self.throttled, "request"))?;
        }
        let target = match output.path() {
            Some(path) => format!(" to {} ({})", path.display(), HumanBytes(*length)),
            None => String::new(),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of units is positive")]
        let units = counts.read_units.round() as u64;
        writeln!(
            notes,
            "Exported {} of {} of table {}{target} in {}: {}{}.",
            noun(counts.exported, "record"),
            noun(counts.scanned, "row"),
            task.table,
            HumanDuration(self.took),
            noun(units, "read unit"),
            if self.is_resumed { ", with the runs before" } else { "" },
        )?;
        match (self.outcome, &task.resume) {
            (Outcome::Done, _) => Ok(()),
            (Outcome::Stopped, Some(_)) => {
                writeln!(notes, "Stopped before the end. To continue, run the same command.")
            }
            (Outcome::Stopped, None) => {
                writeln!(notes, "Stopped before the end. Without --resume it cannot be continued.")
            }
        }
    }
}
