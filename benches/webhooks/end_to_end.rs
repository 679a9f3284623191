//! From the commit of a change to its receipt, in an open loop: the embedded DynamoDB, `mini-scan changes --webhooks`, and a
//! receiver in this process.

mod database;
mod programs;
mod receipts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use database::Database;
use programs::Programs;
use receipts::Receipts;

use crate::results::EndToEnd;

const PER_SECOND: u32 = 1000;
const LASTS: Duration = Duration::from_secs(15);
/// Concurrent writes.
const WRITERS: usize = 32;
/// How long the last webhooks may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(program: &Path) -> anyhow::Result<EndToEnd> {
    let receipts = Receipts::listen().await?;
    let mut programs = Programs::start(program, receipts.address())?;
    programs.subscribe(&format!("http://{}/hook", receipts.address()))?;
    let database = Database::connect(programs.dynamo());
    programs.start_changes()?;
    // The first change shows that the reader has the stream and the subscription.
    database.put(0).await?;
    receipts.wait_for(1, PATIENCE).await?;
    let commits = write(database).await?;
    receipts.wait_for(commits.len() + 1, PATIENCE).await?;
    let mut latencies = Vec::with_capacity(commits.len());
    for (number, commit) in &commits {
        let receipt = receipts.of(*number).with_context(|| format!("change {number} did not arrive"))?;
        // The webhook may be faster than the answer to its write.
        latencies.push(receipt.saturating_duration_since(*commit));
    }
    latencies.sort();
    let (first, last) = (commits.iter().map(|(_, at)| at).min(), commits.iter().map(|(_, at)| at).max());
    let seconds = last.zip(first).map_or(0.0, |(last, first)| last.duration_since(*first).as_secs_f64());
    Ok(EndToEnd {
        per_second: commits.len() as f64 / seconds,
        p50_ms: percentile(&latencies, 0.5),
        p99_ms: percentile(&latencies, 0.99),
    })
}

/// Writes new records at fixed times, however long the writes before take. Returns when each one was answered.
async fn write(database: Database) -> anyhow::Result<Vec<(u32, Instant)>> {
    let (numbers, due) = tokio::sync::mpsc::unbounded_channel();
    let (database, due) = (Arc::new(database), Arc::new(Mutex::new(due)));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (database, due) = (database.clone(), due.clone());
        writers.spawn(async move {
            let mut commits = Vec::new();
            loop {
                let Some(number) = due.lock().await.recv().await else { return anyhow::Ok(commits) };
                database.put(number).await?;
                commits.push((number, Instant::now()));
            }
        });
    }
    let (begin, mut next, mut ticks) = (Instant::now(), 1, interval(Duration::from_millis(1)));
    while begin.elapsed() < LASTS {
        ticks.tick().await;
        while f64::from(next) < begin.elapsed().as_secs_f64() * f64::from(PER_SECOND) {
            numbers.send(next)?;
            next += 1;
        }
    }
    drop(numbers);
    let mut commits = Vec::new();
    while let Some(writer) = writers.join_next().await {
        commits.extend(writer??);
    }
    ensure!(!commits.is_empty(), "nothing was written");
    Ok(commits)
}

/// Returns a percentile of sorted latencies, in milliseconds.
fn percentile(latencies: &[Duration], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is an index")]
    let index = (share * latencies.len() as f64).ceil() as usize;
    latencies[index.saturating_sub(1)].as_secs_f64() * 1e3
}

/// Waits until a condition is true.
async fn until(limit: Duration, what: &str, mut is_true: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !is_true() {
        ensure!(begin.elapsed() < limit, "still waiting after {limit:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
