//! How it goes: one live line on a terminal, else a line in the log every ten seconds.

use std::collections::VecDeque;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::time::{Instant, interval};
use tracing::info;

use super::Logs;
use crate::consumer::Process;
use crate::consumer::metrics::Snapshot;

const REDRAW_EVERY: Duration = Duration::from_millis(500);
/// The rate shown is that of so many redraws, so that a slow stream does not flicker.
const RATE_OVER: usize = 10;
const SUMMARY_EVERY: Duration = Duration::from_secs(10);

/// Reports until it is dropped.
pub async fn report(process: &Process, logs: &Logs) {
    let shown = async { if logs.live { status_line(process, logs).await } else { summaries(process).await } };
    tokio::join!(shown, process.health.log_delayed());
}

/// Says every count once more, at the end.
pub fn sum_up(counts: &Snapshot) {
    summary("final summary", counts, None);
}

async fn status_line(process: &Process, logs: &Logs) {
    let line = logs.terminal.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        line.set_style(style);
    }
    let _cleared = Cleared(&line);
    let mut looks = VecDeque::from([(Instant::now(), process.metrics.snapshot())]);
    let mut redraw = interval(REDRAW_EVERY);
    loop {
        redraw.tick().await;
        let now = process.metrics.snapshot();
        let rate = looks.front().map_or(0, |(at, before)| rate(before, &now, at.elapsed()));
        line.set_message(format!(
            "{}/s · {} stored · {} stale · {} rejected · {} in hand · {} retries",
            HumanCount(rate),
            HumanCount(now.stored),
            HumanCount(now.stale + now.expired),
            HumanCount(now.rejected),
            HumanCount(now.unsettled as u64),
            HumanCount(now.retries),
        ));
        line.tick();
        looks.push_back((Instant::now(), now));
        if looks.len() > RATE_OVER {
            looks.pop_front();
        }
    }
}

/// Takes the line off the terminal when the report ends.
struct Cleared<'a>(&'a ProgressBar);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn summaries(process: &Process) {
    let mut before = process.metrics.snapshot();
    let mut last = Instant::now();
    let mut tick = interval(SUMMARY_EVERY);
    tick.tick().await;
    loop {
        tick.tick().await;
        let now = process.metrics.snapshot();
        summary("summary", &now, Some(rate(&before, &now, last.elapsed())));
        (before, last) = (now, Instant::now());
    }
}

fn summary(which: &str, counts: &Snapshot, rate_per_s: Option<u64>) {
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
        unsettled = counts.unsettled,
        "{which}"
    );
}

/// Messages settled a second.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
fn rate(before: &Snapshot, now: &Snapshot, elapsed: Duration) -> u64 {
    let settled = (now.processed() + now.failed()).saturating_sub(before.processed() + before.failed());
    (settled as f64 / elapsed.as_secs_f64().max(0.001)).round() as u64
}
