//! `mini-scan changes backfill`: compares both tables page by page, at a bounded rate. An interrupted backfill continues
//! where it was, and one that runs again changes nothing.

mod checkpoint;
mod tables;

use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::Duration;

use dynamodb_streams::{DynamoDbLeaseTable, LeaseTable};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::{HumanCount, HumanDuration, ProgressBar};
use tokio::time::Instant;

use self::checkpoint::{Checkpoint, Identity, Progress};
use self::tables::BothTables;
use crate::changes::Rules;
use crate::changes::backfill::{Backfill as Comparison, Counts, Tables};
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::dynamo::{self, Client, HistoryTable, HostTable, PageFilter, Pages, Position};
use crate::export::{Cost, Pacer, progress};
use crate::scan::Key;
use crate::service::{ChangesTables, Endpoints, SetupError, claim_history, leases_prefix, table_error, within};

/// A kill loses the work since the last checkpoint, but the next run does it again.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// What to compare, and how.
#[derive(Debug)]
pub struct Backfill {
    pub endpoints: Endpoints,
    pub tables: ChangesTables,
    pub rules: Rules,
    /// Whether summaries of other masks take new hashes.
    pub rebases: bool,
    pub resume: Option<PathBuf>,
    pub segments: NonZeroU32,
    /// Of reads and writes, per second.
    pub max_units: Option<NonZeroU32>,
}

/// How a backfill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Stopped,
}

/// A page that was compared.
struct Compared {
    segment: usize,
    counts: Counts,
    scanned: u64,
    units: f64,
    /// The key after which the segment continues.
    last: Option<Vec<String>>,
}

struct Run {
    pages: Pages,
    comparison: Comparison<BothTables>,
    tables: ChangesTables,
    resume: Option<PathBuf>,
}

/// Compares until the end or until `stop`. Reports the result to `notes`.
pub async fn run(
    task: Backfill,
    stop: impl Future<Output = ()>,
    notes: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let (began, mut stop) = (Instant::now(), pin!(stop));
    let found = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before the first record was read".to_owned())),
        found = connect(&task) => found,
    };
    let (client, content, history) = found?;
    let scans = HostTable::new(client.clone(), task.tables.scans.clone(), None);
    let pages = Pages::new(client, task.tables.scans.clone(), PageFilter::default());
    let pacer = Pacer::new(task.max_units.map(|units| f64::from(units.get())));
    let identity = Identity {
        scans: task.tables.scans.clone(),
        scans_id: content.as_ref().and_then(|content| content.id.clone()),
        history: task.tables.history.clone(),
        masks: task.rules.masks.id().to_owned(),
        rebases: task.rebases,
    };
    let tables = BothTables::new(scans, history, pacer);
    let mut checkpoint = open(&task, identity, tables.now())?;
    let comparison = Comparison { tables, rules: task.rules, rebases: task.rebases };
    let run = Run { pages, comparison, tables: task.tables, resume: task.resume };
    let bar = progress(content.map(|content| content.rows));
    let outcome = run.passes(&mut checkpoint, stop, &bar).await;
    bar.finish_and_clear();
    let outcome = outcome?;
    let gaps = if outcome == Outcome::Done { run.finish(&checkpoint).await? } else { 0 };
    let written = run.summarize(&checkpoint, outcome, gaps, began.elapsed(), notes);
    written.map_err(SetupError::cannot_write)?;
    Ok(outcome)
}

/// Connects to the tables. Refuses a history that is not that of the table of scans, or that no reader has begun.
async fn connect(task: &Backfill) -> Result<(Client, Option<dynamo::Content>, HistoryTable), SetupError> {
    let Backfill { endpoints, tables, .. } = task;
    let look = async {
        let client = endpoints.dynamo().await?;
        let content = dynamo::content(&client, &tables.scans).await?;
        Ok((client, content))
    };
    let found = within(look, dynamo::Problem::Unreachable).await;
    let (client, content) = found.map_err(|problem| table_error(endpoints, &tables.scans, problem))?;
    let leases = DynamoDbLeaseTable::new(&client, &tables.leases);
    let (prefix, mut after) = (leases_prefix(&tables.scans), None);
    loop {
        let page = leases.scan(&prefix, after.as_ref()).await.map_err(|error| {
            let advice = "Create it with `mini-scan setup changes`.";
            SetupError(format!("table {} (--lease-table) cannot be read: {error}\n{advice}", tables.leases))
        })?;
        if !page.leases.is_empty() {
            break;
        }
        // A record that is deleted before the reader starts would never be closed.
        after = Some(page.next.ok_or_else(|| no_reader(&tables.scans))?);
    }
    let history = claim_history(&client, tables).await?;
    Ok((client, content, history))
}

fn no_reader(scans: &str) -> SetupError {
    SetupError(format!(
        "no reader has read the stream of table {scans} yet.\nStart `mini-scan changes` first, then run the backfill."
    ))
}

fn open(task: &Backfill, identity: Identity, now: u64) -> Result<Checkpoint, SetupError> {
    let new = |identity| Checkpoint::new(identity, task.segments.get(), now);
    let Some(path) = &task.resume else { return Ok(new(identity)) };
    let cannot_resume = |why: String| SetupError(format!("{} (--resume): {why}", path.display()));
    match Checkpoint::load(path).map_err(|error| cannot_resume(error.to_string()))? {
        None => Ok(new(identity)),
        Some(found) => match identity.difference(&found.task) {
            None => Ok(found),
            Some(what) => Err(cannot_resume(format!(
                "the backfill began with {what}.\nContinue it as it began, or delete the file to start again."
            ))),
        },
    }
}

impl Run {
    async fn passes(
        &self,
        checkpoint: &mut Checkpoint,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        bar: &ProgressBar,
    ) -> Result<Outcome, SetupError> {
        for pass in 0..checkpoint.passes.len() {
            if pass == 1 {
                bar.unset_length();
            }
            let outcome = self.pass(pass, checkpoint, stop.as_mut(), bar).await;
            // What was compared before a failure stays.
            self.save(checkpoint)?;
            if outcome? == Outcome::Stopped {
                return Ok(Outcome::Stopped);
            }
        }
        Ok(Outcome::Done)
    }

    /// Compares page after page, each segment in its own order.
    async fn pass(
        &self,
        pass: usize,
        checkpoint: &mut Checkpoint,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        bar: &ProgressBar,
    ) -> Result<Outcome, SetupError> {
        let segments = checkpoint.passes[pass].len();
        let next = |segment, after| Box::pin(self.compare(pass, segment, segments, after));
        let mut comparing = FuturesUnordered::new();
        for (segment, progress) in checkpoint.passes[pass].iter().enumerate() {
            match progress {
                Progress::Start => comparing.push(next(segment, None)),
                Progress::After(key) => comparing.push(next(segment, Some(key.clone()))),
                Progress::Done => {}
            }
        }
        let mut saved = Instant::now();
        loop {
            let compared = tokio::select! {
                biased;
                () = &mut stop => return Ok(Outcome::Stopped),
                compared = comparing.next() => compared,
            };
            let compared = match compared {
                None => return Ok(Outcome::Done),
                Some(compared) => compared.map_err(|error| self.failure(&error))?,
            };
            let Compared { segment, counts, scanned, units, last } = compared;
            checkpoint.counts.add(counts);
            checkpoint.scanned[pass] += scanned;
            checkpoint.units += units;
            checkpoint.passes[pass][segment] = last.clone().map_or(Progress::Done, Progress::After);
            if last.is_some() {
                comparing.push(next(segment, last));
            }
            bar.set_position(checkpoint.scanned[pass]);
            bar.set_message(format!("{} written", HumanCount(written(&checkpoint.counts))));
            if saved.elapsed() >= CHECKPOINT_INTERVAL {
                self.save(checkpoint)?;
                saved = Instant::now();
            }
        }
    }

    async fn compare(
        &self,
        pass: usize,
        segment: usize,
        segments: usize,
        after: Option<Vec<String>>,
    ) -> Result<Compared, StoreError> {
        let part = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let (number, total) = (part(segment), part(segments));
        let tables = &self.comparison.tables;
        let page = async |limit| {
            let (counts, scanned, units, last) = if pass == 0 {
                let after = after.as_ref().and_then(|key| key.first()).map(String::as_str);
                let position = Position { segment: number, segments: total, after };
                let page = self.pages.read(position, limit).await?;
                let records: Vec<_> = page.rows.into_iter().map(|row| row.record).collect();
                let mut counts = Box::pin(self.comparison.records(&records)).await?;
                counts.unreadable += page.foreign.iter().filter(|key| Key::parse(key).is_some()).count() as u64;
                (counts, page.scanned, page.read_units, page.last.map(|key| vec![key]))
            } else {
                let after = after.as_ref().and_then(|key| Some((key.first()?.clone(), key.get(1)?.clone())));
                let page = tables.history.open_summaries((number, total), after.as_ref(), limit).await?;
                let counts = Box::pin(self.comparison.summaries(&page.items)).await?;
                (counts, page.scanned, page.read_units, page.last.map(|(ip, entry)| vec![ip, entry]))
            };
            let units = units + tables.take_units();
            Ok((Compared { segment, counts, scanned, units, last }, Cost { units, rows: scanned }))
        };
        tables.pacer.page(page).await
    }

    fn save(&self, checkpoint: &Checkpoint) -> Result<(), SetupError> {
        let Some(path) = &self.resume else { return Ok(()) };
        let saved = checkpoint.save(path);
        saved.map_err(|error| SetupError(format!("{} (--resume) cannot be written: {error}", path.display())))
    }

    /// Marks the gaps that were noticed before the backfill began, unless it left something out. Returns their number.
    async fn finish(&self, checkpoint: &Checkpoint) -> Result<u64, SetupError> {
        let tables = &self.comparison.tables;
        let Counts { other_masks, waiting, unreadable, .. } = checkpoint.counts;
        let repair = async || match other_masks + waiting + unreadable {
            0 => tables.history.repair_gaps(checkpoint.began, tables.now()).await,
            _ => Ok(0),
        };
        let gaps = Box::pin(tables.pacer.repeat(repair)).await.map_err(|error| self.failure(&error))?;
        // The next backfill with this file compares everything again.
        match self.resume.as_ref().map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(SetupError(format!("the --resume file cannot be deleted: {error}\nDelete it yourself.")))
            }
            _ => Ok(gaps),
        }
    }

    fn failure(&self, error: &StoreError) -> SetupError {
        let advice = match error.kind {
            StoreErrorKind::Permission => {
                "Grant this identity dynamodb:Scan, BatchGetItem and GetItem on both tables, and dynamodb:PutItem, \
                 UpdateItem and Query on the history."
            }
            StoreErrorKind::MissingTable => "Create the tables with `mini-scan setup changes`.",
            StoreErrorKind::Credentials => "Renew the credentials, e.g. with `aws sso login`.",
            _ => "Run the backfill again.",
        };
        let ChangesTables { scans, history, .. } = &self.tables;
        SetupError(format!("tables {scans} and {history} cannot be compared: {}\n{advice}", error.detail))
    }

    /// Writes the lines after a backfill.
    fn summarize(
        &self,
        checkpoint: &Checkpoint,
        outcome: Outcome,
        gaps: u64,
        took: Duration,
        notes: &mut impl Write,
    ) -> std::io::Result<()> {
        let Checkpoint { counts, scanned: [rows, items], units, .. } = checkpoint;
        let ChangesTables { scans, history, .. } = &self.tables;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of units is positive")]
        let units = units.round() as u64;
        let throttled = self.comparison.tables.pacer.throttled();
        if throttled > 0 {
            writeln!(notes, "DynamoDB throttled {}, which were repeated.", noun(throttled, "request"))?;
        }
        writeln!(
            notes,
            "Compared {} of table {scans} and {} of table {history} in {}: about {}.",
            noun(*rows, "row"),
            noun(*items, "item"),
            HumanDuration(took),
            noun(units, "capacity unit"),
        )?;
        writeln!(
            notes,
            "New summaries: {}. Repaired changes: {} opened, {} changed, {} closed. Up to date: {}.",
            counts.created, counts.opened, counts.changed, counts.closed, counts.up_to_date
        )?;
        if counts.moved > 0 {
            writeln!(notes, "Changed by others meanwhile: {}.", counts.moved)?;
        }
        if counts.rebased > 0 {
            writeln!(notes, "Summaries that took the hashes of these masks: {}.", counts.rebased)?;
        }
        warn(counts, notes)?;
        match outcome {
            Outcome::Done if gaps > 0 => writeln!(notes, "Repaired gaps: {gaps}."),
            Outcome::Done => Ok(()),
            Outcome::Stopped if self.resume.is_some() => {
                writeln!(notes, "Stopped before the end. To continue, run the same command.")
            }
            Outcome::Stopped => {
                writeln!(notes, "Stopped before the end. Without --resume, the next backfill starts again.")
            }
        }
    }
}

/// Writes why gaps stay open.
fn warn(counts: &Counts, notes: &mut impl Write) -> std::io::Result<()> {
    if counts.other_masks > 0 {
        writeln!(
            notes,
            "warning: {} not compared, because other masks made the hashes. --rebase takes new hashes; gaps stay open.",
            noun(counts.other_masks, "service")
        )?;
    }
    if counts.waiting > 0 {
        writeln!(
            notes,
            "warning: {} not repaired, because an earlier repair is younger than a day. Gaps stay open: run the backfill \
                 again tomorrow.",
            noun(counts.waiting, "service")
        )?;
    }
    if counts.unreadable > 0 {
        writeln!(
            notes,
            "warning: {} not compared, because this version cannot read the records. Gaps stay open: upgrade, or fix the \
             rows, then run the backfill again.",
            noun(counts.unreadable, "service")
        )?;
    }
    Ok(())
}

fn written(counts: &Counts) -> u64 {
    counts.created + counts.opened + counts.changed + counts.closed + counts.rebased
}

fn noun(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}
