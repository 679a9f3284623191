//! One attempt of the handler on one record.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::timeout;

use crate::memory::Reservation;
use crate::ports::{Gap, Handler, Outcome, Stream};
use crate::record::{DeadRecord, Record};
use crate::shard::ShardId;
use crate::shared::Shared;
use crate::window::{Ended, Index, Task};

/// A record with its part of the budget.
#[derive(Debug)]
pub(crate) struct Unfinished<D> {
    pub(crate) record: Record<D>,
    pub(crate) _memory: Reservation,
}

/// Runs a task. A panic of the handler and an exceeded time limit are failed attempts.
pub(super) async fn run<S: Stream, T, H: Handler<S::Data>>(
    shared: Arc<Shared<S, T, H>>,
    shard: ShardId,
    task: Task<Arc<Unfinished<S::Data>>>,
) -> (Index, Ended) {
    let Task { index, record, attempt, dead } = task;
    let record = &record.record;
    let limit = shared.settings.handle_timeout;
    let ended = match &dead {
        None => {
            let handling = AssertUnwindSafe(shared.handler.handle(record, attempt)).catch_unwind();
            Ended::Handled(match timeout(limit, handling).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => failed("the handler panicked"),
                Err(_) => failed("the handler exceeded its time limit"),
            })
        }
        Some(reason) => {
            let dead = DeadRecord { shard: &shard, record, attempts: attempt, reason };
            let storing = AssertUnwindSafe(shared.handler.store_dead(dead)).catch_unwind();
            Ended::DeadStored(match timeout(limit, storing).await {
                Ok(Ok(stored)) => stored.map_err(|error| error.to_string()),
                Ok(Err(_)) => Err("the handler panicked".to_owned()),
                Err(_) => Err("the handler exceeded its time limit".to_owned()),
            })
        }
    };
    (index, ended)
}

/// Stores a gap for the handler.
pub(super) async fn store_gap<S: Stream, T, H: Handler<S::Data>>(
    shared: Arc<Shared<S, T, H>>,
    gap: Gap,
) -> Result<(), String> {
    let storing = AssertUnwindSafe(shared.handler.store_gap(&gap)).catch_unwind();
    match timeout(shared.settings.handle_timeout, storing).await {
        Ok(Ok(stored)) => stored.map_err(|error| error.to_string()),
        Ok(Err(_)) => Err("the handler panicked".to_owned()),
        Err(_) => Err("the handler exceeded its time limit".to_owned()),
    }
}

fn failed(reason: &str) -> Outcome {
    Outcome::RetryLater { after: None, reason: reason.to_owned() }
}
