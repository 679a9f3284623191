//! `mini-scan dead-letters list`: leases dead letters for a moment, lists them, and releases them. Pub/Sub has no way
//! to read messages without leasing them. Never acks.

use std::collections::HashSet;
use std::io::Write;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::time::Duration;

use humantime::format_duration;
use indicatif::HumanCount;
use tokio::time::{Instant, sleep_until};

use super::dead_letter::DeadLetter;
use super::{HIDDEN_HINT, IDLE_TIMEOUT, LONG_IDLE_TIMEOUT, Outcome, Subscription, now, table};
use crate::pubsub::{DeadLetterReceipt, DeadLetterStream, LeaseLimit};
use crate::service::SetupError;

/// A list leases dead letters for at most this time.
const MAX_TIME: Duration = Duration::from_secs(30);
/// The largest message. <https://cloud.google.com/pubsub/quotas#resource_limits>
const MAX_MESSAGE_BYTES: usize = 10_000_000;

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub from: Subscription,
    pub limit: NonZeroUsize,
    /// Prints one JSON object per line instead of the table.
    pub json: bool,
}

/// Why a list ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Idle(Duration),
    Limit,
    Time,
    Stopped,
}

/// Lists dead letters to `out`, and reports their number to `notes`.
pub async fn list(
    task: &List,
    stop: impl Future<Output = ()>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let mut stop = pin!(stop);
    let until = Instant::now() + MAX_TIME;
    // A list does not keep payloads, so only the number of dead letters needs a bound.
    let limit = LeaseLimit { messages: task.limit.get(), bytes: task.limit.get() * MAX_MESSAGE_BYTES };
    let open = async {
        let details = task.from.details().await?;
        let stream = DeadLetterStream::open(&details.connection, &task.from.name, limit).await;
        Ok((stream.map_err(|problem| task.from.setup_error(&problem))?, details.minimum_backoff))
    };
    let (mut stream, minimum_backoff) = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before the first dead letter was read".to_owned())),
        opened = open => opened?,
    };
    let (mut dead_letters, mut leased) = (Vec::new(), Vec::new());
    let end = read(task, &mut stream, minimum_backoff, until, stop, &mut dead_letters, &mut leased).await;
    stream.stop().await;
    drop(leased);
    let released = stream.close().await;
    let end = end?;
    dead_letters.sort_by_key(|dead_letter: &DeadLetter| dead_letter.published);
    let text = match task.json {
        true => table::json(&dead_letters, now()).map_err(|error| SetupError(format!("cannot write JSON: {error}")))?,
        false => table::table(&dead_letters, now(), task.from.name.split('/').nth(1).unwrap_or_default()),
    };
    let notice = notice(dead_letters.len(), end, task, minimum_backoff, released);
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush()).and_then(|()| writeln!(notes, "{notice}"));
    written.map_err(SetupError::cannot_write)?;
    Ok(if end == End::Stopped { Outcome::Stopped } else { Outcome::Done })
}

/// Reads dead letters, each once, and keeps them leased.
async fn read(
    task: &List,
    stream: &mut DeadLetterStream,
    minimum_backoff: Option<Duration>,
    until: Instant,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    dead_letters: &mut Vec<DeadLetter>,
    leased: &mut Vec<DeadLetterReceipt>,
) -> Result<End, SetupError> {
    let mut seen = HashSet::new();
    let idle_timeout = |default| task.from.idle_timeout(default, minimum_backoff);
    let (mut last, mut idle) = (Instant::now(), idle_timeout(LONG_IDLE_TIMEOUT));
    while dead_letters.len() < task.limit.get() {
        let delivery = tokio::select! {
            biased;
            () = &mut stop => return Ok(End::Stopped),
            delivery = stream.next() => delivery.map_err(|problem| task.from.setup_error(&problem))?,
            () = sleep_until(until) => return Ok(End::Time),
            () = sleep_until(last + idle) => return Ok(End::Idle(idle)),
        };
        (last, idle) = (Instant::now(), idle_timeout(IDLE_TIMEOUT));
        let dead_letter = DeadLetter::read(&delivery.envelope);
        leased.push(delivery.receipt);
        if seen.insert(dead_letter.message_id.clone()) {
            dead_letters.push(dead_letter);
        }
    }
    Ok(End::Limit)
}

fn notice(count: usize, end: End, task: &List, minimum_backoff: Option<Duration>, released: bool) -> String {
    let noun = if count == 1 { "dead letter" } else { "dead letters" };
    let listed = format!("{} {noun}", HumanCount(count as u64));
    let mut notice = match end {
        End::Idle(idle) => format!("{listed} on {}; no more for {}.", task.from.name, format_duration(idle)),
        End::Limit => format!("{listed}, and there may be more: --limit {} was reached.", task.limit),
        End::Time => format!("{listed}, and there may be more: a list ends after {}.", format_duration(MAX_TIME)),
        End::Stopped => format!("{listed}, and there may be more: the list was stopped before the end."),
    };
    if count == 0 {
        notice += HIDDEN_HINT;
    }
    if !released {
        notice += " Some dead letters were not released in time; Pub/Sub redelivers them within a minute.";
    } else if count > 0
        && let Some(delay) = minimum_backoff
    {
        notice += &format!(" The subscription redelivers them after {} at the earliest.", format_duration(delay));
    }
    notice
}
