//! The scanner: publishes generated messages at a rate. This module must not know how messages are published or what
//! happens to them.

pub mod console;
pub mod topic;

use std::fmt;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::HumanCount;
use tokio::time::Instant;

use super::generator::{Generator, Kind, Message, Shares};

/// Limits of unconfirmed messages: high enough that the client can fill its batches, low enough to fit in memory.
const IN_FLIGHT: usize = 10_000;
const IN_FLIGHT_BYTES: usize = 32 << 20;
/// How long a stop waits for confirmations.
const LAST_CONFIRMATIONS: Duration = Duration::from_secs(5);

/// The messages to publish, and their rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Messages per second; `None` is as fast as possible.
    pub rate: Option<f64>,
    /// The number of messages; `None` is until the stop.
    pub count: Option<u64>,
    pub seed: u64,
    pub shares: Shares,
    pub keys: u64,
}

impl Settings {
    /// Returns the messages. Each gets its timestamp when it is taken from the iterator.
    pub fn messages(&self) -> impl Iterator<Item = Message> + use<> {
        let mut generator = Generator::new(self.seed, self.shares, self.keys);
        let count = self.count.unwrap_or(u64::MAX);
        (0..count).map(move |_| generator.next_at(unix_now()))
    }
}

/// Returns the current time in Unix seconds.
pub fn unix_now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "generated scans have the current time")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Counts messages by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub new: u64,
    pub duplicates: u64,
    pub late: u64,
    pub broken: u64,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.new + self.duplicates + self.late + self.broken
    }

    pub fn add(&mut self, kind: &Kind) {
        *match kind {
            Kind::New(_) => &mut self.new,
            Kind::Duplicate(_) => &mut self.duplicates,
            Kind::Late(_) => &mut self.late,
            Kind::Broken(_) => &mut self.broken,
        } += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", HumanCount(self.total()))?;
        if self.total() == self.new {
            return Ok(());
        }
        let [new, duplicates, late, broken] = [self.new, self.duplicates, self.late, self.broken].map(HumanCount);
        write!(f, " ({new} new, {duplicates} duplicates, {late} late, {broken} broken)")
    }
}

/// The result of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    pub confirmed: Counts,
    /// Messages that were sent and not confirmed in time after a stop. The topic may have them.
    pub unconfirmed: usize,
}

/// Publishes `messages` until they end or `stop` completes. Calls `progress` after each confirmation.
///
/// Returns when all sent messages are confirmed, or at the first error.
pub async fn publish<F, E>(
    mut messages: impl Iterator<Item = Message>,
    rate: Option<f64>,
    send: impl Fn(Bytes) -> F,
    stop: impl Future<Output = ()>,
    mut progress: impl FnMut(&Counts),
) -> Result<Published, E>
where
    F: Future<Output = Result<(), E>>,
{
    let mut stop = pin!(stop);
    let mut pace = Pace { start: Instant::now(), rate, sent: 0 };
    let mut in_flight = FuturesUnordered::new();
    let mut in_flight_bytes = 0;
    let mut confirmed = Counts::default();
    let mut deadline = None;
    let mut sending = true;
    while sending || !in_flight.is_empty() {
        let room = in_flight.len() < IN_FLIGHT && in_flight_bytes < IN_FLIGHT_BYTES;
        tokio::select! {
            biased;
            () = &mut stop, if deadline.is_none() => {
                sending = false;
                deadline = Some(Instant::now() + LAST_CONFIRMATIONS);
            }
            Some((result, kind, bytes)) = in_flight.next() => {
                result?;
                in_flight_bytes -= bytes;
                confirmed.add(&kind);
                progress(&confirmed);
            }
            () = pace.wait(), if sending && room => {
                if let Some(Message { payload, kind }) = messages.next() {
                    let bytes = payload.len();
                    let sent = send(payload);
                    in_flight.push(async move { (sent.await, kind, bytes) });
                    in_flight_bytes += bytes;
                    pace.sent += 1;
                }
                // Checked here, so that the loop does not wait to send after the last message.
                sending = messages.size_hint().1 != Some(0);
            }
            () = until(deadline), if deadline.is_some() => break,
        }
    }
    Ok(Published { confirmed, unconfirmed: in_flight.len() })
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Schedules messages relative to the start of the run, so that the mean rate is exact.
struct Pace {
    start: Instant,
    rate: Option<f64>,
    sent: u64,
}

impl Pace {
    async fn wait(&self) {
        let Some(rate) = self.rate else { return };
        let due = self.start + Duration::from_secs_f64(self.sent as f64 / rate);
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::local::generator::ALL_KEYS;

    fn settings(rate: Option<f64>, count: Option<u64>) -> Settings {
        Settings { rate, count, seed: 1, shares: Shares::default(), keys: ALL_KEYS }
    }

    async fn run<F: Future<Output = Result<(), String>>>(
        settings: &Settings,
        send: impl Fn(Bytes) -> F,
        stop: impl Future<Output = ()>,
    ) -> Result<Published, String> {
        publish(settings.messages(), settings.rate, send, stop, |_| {}).await
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_sent_at_the_rate_and_the_run_ends_with_the_last() {
        let start = Instant::now();
        let sent_at = RefCell::new(Vec::new());
        let send = |_| {
            sent_at.borrow_mut().push(start.elapsed());
            async { Ok(()) }
        };
        let published = run(&settings(Some(2.0), Some(4)), send, std::future::pending()).await.unwrap();
        assert_eq!(published.confirmed.total(), 4);
        assert_eq!(*sent_at.borrow(), [0, 500, 1000, 1500].map(Duration::from_millis));
        assert_eq!(start.elapsed(), Duration::from_millis(1500));
    }

    #[tokio::test(start_paused = true)]
    async fn unconfirmed_messages_are_limited() {
        let topic = Semaphore::new(0);
        let sent = Cell::new(0);
        let send = |_| {
            sent.set(sent.get() + 1);
            async { topic.acquire().await.map(|permit| permit.forget()).map_err(|error| error.to_string()) }
        };
        let all = settings(None, Some(3 * IN_FLIGHT as u64));
        let check = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(sent.get(), IN_FLIGHT);
            topic.add_permits(3 * IN_FLIGHT);
            std::future::pending().await
        };
        let published = run(&all, send, check).await.unwrap();
        assert_eq!(published.confirmed.total(), 3 * IN_FLIGHT as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_error_ends_the_run() {
        let send = |_| async { Err("no such topic".to_owned()) };
        let error = run(&settings(Some(1.0), None), send, std::future::pending()).await.unwrap_err();
        assert_eq!(error, "no such topic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_a_limited_time_for_confirmations() {
        let start = Instant::now();
        let send = |_| async {
            if start.elapsed() > Duration::from_millis(1500) {
                std::future::pending::<()>().await;
            }
            Ok(())
        };
        let stop = tokio::time::sleep(Duration::from_millis(2500));
        let published = run(&settings(Some(1.0), None), send, stop).await.unwrap();
        assert_eq!((published.confirmed.total(), published.unconfirmed), (2, 1));
        assert_eq!(start.elapsed(), Duration::from_millis(2500) + LAST_CONFIRMATIONS);
    }
}
