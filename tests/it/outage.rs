//! Outages of the store, its table and the dead-letter topic, and throttling. The tests check the effects during an
//! outage and the recovery. `make check-slow` runs the long versions.

mod dead_letters;
mod store;
mod table;
mod throttle;

use crate::support::program::{Exit, Program, Signal};

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
