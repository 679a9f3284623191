//! `mini-scan dead-letters list`: leases letters for a moment, says what they are, and gives them back. Pub/Sub has no
//! way to look without leasing.

use std::collections::HashSet;
use std::io::Write;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use humantime::format_duration;
use indicatif::HumanCount;
use tokio::time::{Instant, sleep_until};

use super::dead_letter::Letter;
use super::{Opened, QUIET, SURE, Subscription, UNSEEN, table};
use crate::pubsub::{DeadLetterReceipt, Leased};
use crate::service::SetupError;

/// How long letters are kept from others.
const MOST_TIME: Duration = Duration::from_secs(30);
/// No message is larger. <https://cloud.google.com/pubsub/quotas#resource_limits>
const LARGEST: usize = 10_000_000;

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub from: Subscription,
    pub limit: NonZeroUsize,
    /// An object a line, in place of the table.
    pub json: bool,
}

/// Why no more letters are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Quiet(Duration),
    Limit,
    Time,
    Stopped,
}

/// Lists letters to `out`, and says to `notes` how many they are. False when `stop` was ready before the end.
pub async fn list(
    task: &List,
    stop: impl Future<Output = ()>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<bool, SetupError> {
    let mut stop = pin!(stop);
    let until = Instant::now() + MOST_TIME;
    // Payloads are not kept, so that only the number of letters is to be bounded.
    let most = Leased { letters: task.limit.get(), bytes: task.limit.get() * LARGEST };
    let mut opened = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before any letter was read".to_owned())),
        opened = task.from.open(most) => opened?,
    };
    let (mut letters, mut leased) = (Vec::new(), Vec::new());
    let end = take(task, &mut opened, until, stop, &mut letters, &mut leased).await;
    drop(leased);
    let given_back = opened.stream.close().await;
    let end = end?;
    letters.sort_by_key(|letter: &Letter| letter.published);
    let text = match task.json {
        true => table::json(&letters, now()).map_err(|error| SetupError(format!("cannot write JSON: {error}")))?,
        false => table::table(&letters, now(), task.from.name.split('/').nth(1).unwrap_or_default()),
    };
    let notice = notice(letters.len(), end, task, opened.least_delay, given_back);
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush()).and_then(|()| writeln!(notes, "{notice}"));
    written.map_err(|error| SetupError(format!("cannot write the output: {error}")))?;
    Ok(end != End::Stopped)
}

/// Takes letters, each once, and keeps them leased.
async fn take(
    task: &List,
    opened: &mut Opened,
    until: Instant,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    letters: &mut Vec<Letter>,
    leased: &mut Vec<DeadLetterReceipt>,
) -> Result<End, SetupError> {
    let mut seen = HashSet::new();
    let patience = |usual| task.from.patience(usual, opened.least_delay);
    let (mut last, mut quiet) = (Instant::now(), patience(SURE));
    while letters.len() < task.limit.get() {
        let delivery = tokio::select! {
            biased;
            () = &mut stop => return Ok(End::Stopped),
            delivery = opened.stream.next() => delivery.map_err(|problem| task.from.wrong(&problem))?,
            () = sleep_until(until) => return Ok(End::Time),
            () = sleep_until(last + quiet) => return Ok(End::Quiet(quiet)),
        };
        (last, quiet) = (Instant::now(), patience(QUIET));
        let letter = Letter::read(&delivery.envelope);
        leased.push(delivery.receipt);
        if seen.insert(letter.message_id.clone()) {
            letters.push(letter);
        }
    }
    Ok(End::Limit)
}

fn notice(count: usize, end: End, task: &List, least_delay: Option<Duration>, given_back: bool) -> String {
    let letters = if count == 1 { "dead letter" } else { "dead letters" };
    let letters = format!("{} {letters}", HumanCount(count as u64));
    let mut notice = match end {
        End::Quiet(quiet) => format!("{letters} on {}; no more for {}.", task.from.name, format_duration(quiet)),
        End::Limit => format!("{letters}, and there may be more: --limit {} is reached.", task.limit),
        End::Time => format!("{letters}, and there may be more: {} are over.", format_duration(MOST_TIME)),
        End::Stopped => format!("{letters}, and there may be more: stopped before the end."),
    };
    if count == 0 {
        notice += UNSEEN;
    }
    if !given_back {
        notice += " Not all could be given back in time; they come again by themselves within a minute.";
    } else if count > 0
        && let Some(delay) = least_delay
    {
        notice += &format!(" The subscription gives them again after {} at the soonest.", format_duration(delay));
    }
    notice
}

#[expect(clippy::disallowed_methods, reason = "an age that a person reads; nothing is decided by it")]
fn now() -> SystemTime {
    SystemTime::now()
}
