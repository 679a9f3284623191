//! The scanner: publishes generated messages at a pace. Must not know how a message is published, nor what becomes of
//! it.

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

/// What waits for its confirmation: enough that the client can fill its batches, little enough to fit in memory.
const IN_FLIGHT: usize = 10_000;
const IN_FLIGHT_BYTES: usize = 32 << 20;
/// How long a stop waits for confirmations.
const LAST_CONFIRMATIONS: Duration = Duration::from_secs(5);

/// What to publish, and how fast.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Messages a second; as fast as possible when absent.
    pub rate: Option<f64>,
    /// Until stopped when absent.
    pub count: Option<u64>,
    pub seed: u64,
    pub shares: Shares,
    pub keys: u64,
}

impl Settings {
    /// The messages, each with the time at which it is taken.
    pub fn messages(&self) -> impl Iterator<Item = Message> + use<> {
        let mut generator = Generator::new(self.seed, self.shares, self.keys);
        let count = self.count.unwrap_or(u64::MAX);
        (0..count).map(move |_| generator.next_at(unix_now()))
    }
}

/// The clock's value in Unix seconds.
pub fn unix_now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the generator's clock")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Messages by kind.
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

/// What became of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    pub confirmed: Counts,
    /// Sent, but not confirmed in the time that is left after a stop: the topic may have them.
    pub unconfirmed: usize,
}

/// Publishes `messages` until they end or `stop` does, and calls `progress` whenever the topic has confirmed one more.
///
/// Returns when everything sent is confirmed, and at the first failure.
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
                // Asked here, so that nobody waits for the turn of a message that will not come.
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

/// When the next message's turn is, counted from the start so that the mean rate holds.
struct Pace {
    start: Instant,
    rate: Option<f64>,
    sent: u64,
}

impl Pace {
    async fn wait(&self) {
        let Some(rate) = self.rate else { return };
        let turn = self.start + Duration::from_secs_f64(self.sent as f64 / rate);
        if turn > Instant::now() {
            tokio::time::sleep_until(turn).await;
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
    async fn messages_keep_the_rate_and_end_with_the_last() {
        let start = Instant::now();
        let write_permits = RefCell::new(Vec::new());
        let send = |_| {
            write_permits.borrow_mut().push(start.elapsed());
            async { Ok(()) }
        };
        let published = run(&settings(Some(2.0), Some(4)), send, std::future::pending()).await.unwrap();
        assert_eq!(published.confirmed.total(), 4);
        assert_eq!(*write_permits.borrow(), [0, 500, 1000, 1500].map(Duration::from_millis));
        assert_eq!(start.elapsed(), Duration::from_millis(1500));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_flight_is_bounded() {
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
    async fn the_first_failure_ends_it() {
        let send = |_| async { Err("no such topic".to_owned()) };
        let error = run(&settings(Some(1.0), None), send, std::future::pending()).await.unwrap_err();
        assert_eq!(error, "no such topic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_confirmations_but_not_for_ever() {
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
