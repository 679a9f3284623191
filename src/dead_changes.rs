//! `mini-scan changes dead`: lists the changes that could not be handled, or deletes them from the history table.

use std::io::Write;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use indicatif::{HumanCount, HumanDuration};
use serde_json::json;

use crate::consumer::ports::StoreError;
use crate::dead_letters::{Outcome, now};
use crate::dynamo::{HistoryTable, Problem, StoredDeadLetter};
use crate::service::{Endpoints, SetupError, history_table_error, within};
use ops::terminal::{ascii_json, layout, sanitize};

const HEAD: [&str; 4] = ["RECORD", "AGE", "ATTEMPTS", "REASON"];
/// The columns that are aligned to the right.
const NUMBERS: [usize; 2] = [1, 2];
const MAX_KEY_CHARS: usize = 64;
const MAX_REASON_CHARS: usize = 120;
/// The deletions in flight.
const CONCURRENCY: usize = 16;

/// The most dead letters that one question is about.
pub const MAX_CONFIRMED: usize = 10_000;

/// The history table that has the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadOf {
    pub endpoints: Endpoints,
    pub history: String,
}

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub of: DeadOf,
    pub limit: NonZeroUsize,
    /// Prints one JSON object per line instead of the table.
    pub json: bool,
}

/// What to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    pub of: DeadOf,
    /// Only changes of the table that are at least this old.
    pub older_than: Option<Duration>,
    pub limit: Option<NonZeroUsize>,
    pub dry_run: bool,
    /// Deletes without a question.
    pub is_confirmed: bool,
}

impl DeadOf {
    /// Reads dead letters that `is_selected`, up to a limit. Returns whether there may be more.
    async fn read(
        &self,
        limit: usize,
        is_selected: impl Fn(&StoredDeadLetter) -> bool,
    ) -> Result<(HistoryTable, Vec<StoredDeadLetter>, bool), SetupError> {
        let client = within(self.endpoints.dynamo(), Problem::Unreachable).await;
        let client = client.map_err(|problem| history_table_error(&self.endpoints, &self.history, problem))?;
        let (table, mut found, mut after) = (HistoryTable::new(client, self.history.clone()), Vec::new(), None);
        loop {
            let page = table.dead_letters(after.as_deref()).await.map_err(|error| self.unreadable(&error))?;
            found.extend(page.dead_letters.into_iter().filter(&is_selected));
            after = page.next;
            if found.len() > limit || after.is_none() {
                let has_more = found.len() > limit;
                found.truncate(limit);
                return Ok((table, found, has_more));
            }
        }
    }

    fn unreadable(&self, error: &StoreError) -> SetupError {
        SetupError(format!(
            "history table {} (--history-table) cannot be read: {error}\n\
             To find out what is missing: mini-scan check changes",
            self.history
        ))
    }
}

/// Lists dead letters to `out`, and reports their number to `notes`.
pub async fn list(task: &List, out: &mut impl Write, notes: &mut impl Write) -> Result<(), SetupError> {
    let (_, found, has_more) = task.of.read(task.limit.get(), |_| true).await?;
    let now = now();
    let text = match task.json {
        true => found.iter().map(line).collect(),
        false => layout(HEAD, &NUMBERS, &found.iter().map(|letter| row(letter, now)).collect::<Vec<_>>()),
    };
    let more =
        if has_more { format!(", and there are more: --limit {} was reached", task.limit) } else { String::new() };
    let count = HumanCount(found.len() as u64);
    let noun = if found.len() == 1 { "dead letter" } else { "dead letters" };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written
        .and_then(|()| writeln!(notes, "{count} {noun} in history table {}{more}.", task.of.history))
        .map_err(SetupError::cannot_write)
}

/// Deletes dead letters and reports the results to `out`.
///
/// Unless the task is confirmed or a dry run, it asks `confirm` once, with the number of selected dead letters.
pub async fn purge(
    task: &Purge,
    stop: impl Future<Output = ()>,
    confirm: impl AsyncFnOnce(usize) -> bool,
    out: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let mut stop = pin!(stop);
    let (most, now) = (if task.dry_run || task.is_confirmed { usize::MAX } else { MAX_CONFIRMED }, now());
    let limit = task.limit.map_or(most, |limit| limit.get().min(most));
    let is_selected = |letter: &StoredDeadLetter| {
        task.older_than.is_none_or(|oldest| age(letter, now).is_some_and(|age| age >= oldest))
    };
    let read = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before the first dead letter was read".to_owned())),
        read = task.of.read(limit, is_selected) => read,
    };
    let (table, selected, has_more) = read?;
    let count = HumanCount(selected.len() as u64);
    if task.dry_run {
        return finish(
            out,
            &format!("Dry run finished. Would be deleted: {count}"),
            has_more.then_some(limit),
            Outcome::Done,
        );
    }
    if !task.is_confirmed && !selected.is_empty() {
        let is_confirmed = tokio::select! {
            biased;
            () = &mut stop => false,
            answer = confirm(selected.len()) => answer,
        };
        if !is_confirmed {
            return finish(out, "Purge cancelled. Nothing was deleted.", None, Outcome::Stopped);
        }
    }
    let (deleted, failure) = delete(&table, &selected, stop).await;
    let outcome = if deleted == selected.len() { Outcome::Done } else { Outcome::Partly };
    let how = if outcome == Outcome::Done { "finished" } else { "stopped before the end" };
    let (done, left) = (HumanCount(deleted as u64), HumanCount((selected.len() - deleted) as u64));
    let outcome =
        finish(out, &format!("Purge {how}. Deleted: {done}, left: {left}"), has_more.then_some(limit), outcome)?;
    match failure {
        Some(error) => Err(SetupError(format!(
            "a dead letter in history table {} (--history-table) cannot be deleted: {error}",
            task.of.history
        ))),
        None => Ok(outcome),
    }
}

/// Deletes until the end, a signal or an error. Returns the number of the deleted, and the error.
async fn delete(
    table: &HistoryTable,
    selected: &[StoredDeadLetter],
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> (usize, Option<StoreError>) {
    let deletions = futures_util::stream::iter(selected).map(|letter| table.delete_dead(letter));
    let mut results = pin!(deletions.buffer_unordered(CONCURRENCY));
    let mut deleted = 0;
    loop {
        let result = tokio::select! {
            biased;
            () = &mut stop => return (deleted, None),
            result = results.next() => result,
        };
        match result {
            Some(Ok(())) => deleted += 1,
            Some(Err(error)) => return (deleted, Some(error)),
            None => return (deleted, None),
        }
    }
}

fn finish(out: &mut impl Write, result: &str, reached: Option<usize>, outcome: Outcome) -> Result<Outcome, SetupError> {
    let more = |limit| format!("There are more: the limit of {} was reached.\n", HumanCount(limit as u64));
    write!(out, "{result}\n{}", reached.map(more).unwrap_or_default())
        .and_then(|()| out.flush())
        .map_err(SetupError::cannot_write)?;
    Ok(outcome)
}

fn row(letter: &StoredDeadLetter, now: SystemTime) -> [String; HEAD.len()] {
    [
        sanitize(letter.pk.as_deref().unwrap_or("-"), MAX_KEY_CHARS),
        age(letter, now).map_or("-".to_owned(), |age| format!("{:#}", HumanDuration(age))),
        letter.attempts.to_string(),
        sanitize(&letter.reason, MAX_REASON_CHARS),
    ]
}

fn line(letter: &StoredDeadLetter) -> String {
    let StoredDeadLetter { shard, sequence, pk, stream, created, attempts, reason, chunks } = letter;
    let line = json!({
        "pk": pk, "created": created, "attempts": attempts, "reason": reason, "stream": stream, "shard": shard,
        "sequence": sequence, "entry": format!("{shard}#{sequence}#000"), "chunks": chunks,
    });
    ascii_json(&line.to_string()) + "\n"
}

fn age(letter: &StoredDeadLetter, now: SystemTime) -> Option<Duration> {
    let created = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(letter.created?))?;
    Some(now.duration_since(created).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_letter() -> StoredDeadLetter {
        StoredDeadLetter {
            shard: "shardId-1".to_owned(),
            sequence: "7".to_owned(),
            pk: Some("1.1.1.7#443#\u{1b}".to_owned()),
            stream: Some("2026".to_owned()),
            created: Some(1_000),
            attempts: 3,
            reason: "the new image is unreadable".to_owned(),
            chunks: 1,
        }
    }

    #[test]
    fn the_table_has_one_sanitized_line_per_dead_letter() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + 2 * 60 * 60);
        let unknown = StoredDeadLetter { pk: None, created: None, ..dead_letter() };
        let rows = [row(&dead_letter(), now), row(&unknown, now)];
        let expected = "\
RECORD              AGE  ATTEMPTS  REASON
1.1.1.7#443#\\u{1b}   2h         3  the new image is unreadable
-                     -         3  the new image is unreadable
";
        assert_eq!(layout(HEAD, &NUMBERS, &rows), expected);
    }

    #[test]
    fn json_has_the_key_of_the_item_with_the_images() {
        let line: serde_json::Value = serde_json::from_str(&line(&dead_letter())).unwrap();
        assert_eq!(
            (&line["entry"], &line["reason"]),
            (&"shardId-1#7#000".into(), &"the new image is unreadable".into())
        );
    }
}
