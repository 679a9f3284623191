//! What is away for a while: the store, a part of its capacity, its table, the dead-letter topic. What it costs
//! meanwhile, and how it goes on. The long versions are run by `make check-slow`.

mod letters;
mod store;
mod table;
mod throttle;

use std::time::Duration;

use tokio::time::Instant;

use crate::support::program::{Exit, Program, Signal};

/// Runs it, and says how long it took.
async fn timed(work: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

/// The lines of a log that contain `text`.
fn lines(log: &[String], text: &str) -> usize {
    log.iter().filter(|line| line.contains(text)).count()
}

/// Asks a consumer to stop, which it must do well, and gives what it said.
async fn stopped(consumer: Program) -> Exit {
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    exit
}
