//! Outages of the store, its table and the dead-letter topic, and throttling. The tests check the effects during an
//! outage and the recovery. `make check-slow` runs the long versions.

mod connections;
mod dead_letters;
mod store;
mod table;
mod throttle;

use std::time::Duration;

use tokio::time::Instant;

use crate::support::program::{Exit, Program, Signal};

/// Returns how long `work` takes.
async fn timed(work: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

/// Returns the number of lines that contain `text`.
fn count_lines(log: &[String], text: &str) -> usize {
    log.iter().filter(|line| line.contains(text)).count()
}

/// Stops a consumer, and panics if it does not exit with 0.
async fn stop(consumer: Program) -> Exit {
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    exit
}
