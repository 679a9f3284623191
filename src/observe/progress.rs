//! Progress: a status line on a terminal, or else a log event every ten seconds.

use std::collections::VecDeque;
use std::time::Duration;

use indicatif::HumanCount;
use ops::logs::{Logs, StatusLine};
use tokio::time::{Instant, interval};
use tracing::info;

use super::metrics::{Metrics, Snapshot};
use crate::consumer::Process;

const REDRAW_INTERVAL: Duration = Duration::from_millis(500);
/// The rate covers this many redraws, so that it does not flicker for a slow stream.
const RATE_REDRAWS: usize = 10;
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Shows progress, and watches the health of the instance, until it is dropped.
pub async fn report(process: &Process, metrics: &Metrics, logs: &Logs) {
    let shown = async {
        match logs.status_line() {
            Some(line) => status_line(process, metrics, &line).await,
            None => summaries(process, metrics).await,
        }
    };
    tokio::join!(shown, process.watch_health());
}

/// Logs every count at the end.
pub fn sum_up(process: &Process, metrics: &Metrics) {
    summary("final summary", process, &metrics.snapshot(), None);
}

async fn status_line(process: &Process, metrics: &Metrics, line: &StatusLine) {
    let mut samples = VecDeque::from([(Instant::now(), metrics.snapshot())]);
    let mut redraw = interval(REDRAW_INTERVAL);
    loop {
        redraw.tick().await;
        let now = metrics.snapshot();
        let rate = samples.front().map_or(0, |(at, before)| rate(before, &now, at.elapsed()));
        line.show(format!(
            "{}/s · {} stored · {} stale · {} rejected · {} unsettled · {} retries",
            HumanCount(rate),
            HumanCount(now.stored),
            HumanCount(now.stale + now.expired),
            HumanCount(now.rejected),
            HumanCount(process.load().unsettled as u64),
            HumanCount(now.retries),
        ));
        samples.push_back((Instant::now(), now));
        if samples.len() > RATE_REDRAWS {
            samples.pop_front();
        }
    }
}

async fn summaries(process: &Process, metrics: &Metrics) {
    let mut before = metrics.snapshot();
    let mut last = Instant::now();
    let mut tick = interval(SUMMARY_INTERVAL);
    tick.tick().await;
    loop {
        tick.tick().await;
        let now = metrics.snapshot();
        summary("summary", process, &now, Some(rate(&before, &now, last.elapsed())));
        (before, last) = (now, Instant::now());
    }
}

fn summary(which: &str, process: &Process, counts: &Snapshot, rate_per_s: Option<u64>) {
    info!(
        rate_per_s,
        received = counts.received,
        redelivered = counts.redelivered,
        stored = counts.stored,
        stale = counts.stale,
        superseded = counts.superseded,
        known = counts.known,
        expired = counts.expired,
        rejected = counts.rejected,
        dead_lettered = counts.dead_lettered,
        dead_letter_failed = counts.dead_letter_failed,
        given_up = counts.given_up,
        released = counts.released,
        retries = counts.retries,
        throttled = counts.throttled,
        stream_restarts = counts.stream_restarts,
        unflushed = counts.unflushed,
        unsettled = process.load().unsettled,
        "{which}"
    );
}

/// Returns the settled messages per second.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
fn rate(before: &Snapshot, now: &Snapshot, elapsed: Duration) -> u64 {
    let settled = (now.processed() + now.failed()).saturating_sub(before.processed() + before.failed());
    (settled as f64 / elapsed.as_secs_f64().max(0.001)).round() as u64
}
