//! The requests of the coordinator. Each is one call of a port.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Answer;
use crate::lease::{Checkpoint, Lease, Owner};
use crate::lineage::NewLease;
use crate::ports::{
    Expected, IteratorPosition, LeaseError, LeasePage, LeaseTable, LeaseUpdate, Report, ScanPosition, Stream,
    StreamError, StreamErrorKind, Updated,
};
use crate::sequence_number::SequenceNumber;
use crate::settings::backoff;
use crate::shard::ShardId;
use crate::shared::Shared;

/// How many reads search the oldest record, for a minute. A shard that has none by then has nothing to lose.
const OLDEST_READS: u32 = 240;
const OLDEST_INTERVAL: Duration = Duration::from_millis(250);
/// How often a page of a scan is requested.
const SCAN_ATTEMPTS: u32 = 3;
const SCAN_DELAY: Duration = Duration::from_millis(100);

pub(super) async fn scan<S, T: LeaseTable, H>(shared: Arc<Shared<S, T, H>>) -> Answer {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = match scan_page(&shared, after.as_ref()).await {
            Ok(page) => page,
            Err(error) => return Answer::Scanned(Err(error)),
        };
        rows.extend(page.leases);
        after = page.next;
        if after.is_none() {
            return Answer::Scanned(Ok(rows));
        }
    }
}

/// Reads a page of the rows. A page that fails is repeated, because a large table has many of them.
async fn scan_page<S, T: LeaseTable, H>(
    shared: &Shared<S, T, H>,
    after: Option<&ScanPosition>,
) -> Result<LeasePage, LeaseError> {
    let mut attempt = 1;
    loop {
        match shared.within(shared.table.scan(&shared.keys.start(), after)).await {
            Err(_) if attempt < SCAN_ATTEMPTS => {
                sleep(backoff(SCAN_DELAY, SCAN_DELAY * 4, attempt, shared.random())).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

pub(super) async fn list<S: Stream, T, H>(shared: Arc<Shared<S, T, H>>, after: Option<ShardId>) -> Answer {
    shared.description_permit().await;
    Answer::Listed(shared.within(shared.stream.describe(after.as_ref())).await)
}

/// Stores the start of the stream. Of several instances, the first one decides.
pub(super) async fn write_start<S, T: LeaseTable, H>(
    shared: Arc<Shared<S, T, H>>,
    checkpoint: Checkpoint,
    is_first: bool,
) -> Answer {
    // A start that was deleted by hand is complete, so that a shard that vanished stays a gap.
    let row = Lease { counter: u64::from(!is_first), ..Lease::new(shared.keys.start(), checkpoint) };
    let result = shared.within(shared.table.create(&row)).await;
    if let Ok(Updated::Applied(row)) = &result {
        shared.report(match is_first {
            true => Report::Initialized { start: &row.checkpoint },
            false => Report::StartRestored,
        });
    }
    Answer::StartWritten(result)
}

/// Notes that all shards of the first listing have leases.
pub(super) async fn complete_start<S, T: LeaseTable, H>(shared: Arc<Shared<S, T, H>>) -> Answer {
    let expected = Expected { owner: None, counter: Some(0) };
    let update = LeaseUpdate { counter: Some(1), ..LeaseUpdate::default() };
    Answer::StartWritten(shared.within(shared.table.update(&shared.keys.start(), &expected, &update)).await)
}

/// Asks whether a shard still exists: unlike a listing, the answer to an iterator request is reliable.
pub(super) async fn probe<S: Stream, T, H>(shared: Arc<Shared<S, T, H>>, shard: ShardId) -> Answer {
    let result = shared.within(shared.stream.iterator(&shard, &IteratorPosition::TrimHorizon)).await;
    Answer::Probed(shard, result.map(drop))
}

/// Asks for the children of a shard.
pub(super) async fn describe<S: Stream, T, H>(shared: Arc<Shared<S, T, H>>, shard: ShardId) -> Answer {
    shared.description_permit().await;
    let children = shared.within(shared.stream.children(&shard)).await;
    Answer::Described(shard, children.unwrap_or_default())
}

/// Asks whether a shard that this instance could not read is readable again. If it is gone, its session decides so.
pub(super) async fn readable<S: Stream, T, H>(shared: Arc<Shared<S, T, H>>, shard: ShardId) -> Answer {
    let result = match shared.within(shared.stream.iterator(&shard, &IteratorPosition::TrimHorizon)).await {
        Ok(iterator) => shared.within(shared.stream.read(&shard, &iterator, 1)).await.map(drop),
        Err(error) => Err(error),
    };
    let is_readable = match result {
        Ok(()) => true,
        Err(error) => matches!(error.kind, StreamErrorKind::NotFound | StreamErrorKind::Trimmed),
    };
    Answer::Readable(shard, is_readable)
}

/// Creates the row of a shard. The shard must stay as complete as it is now until it is read.
pub(super) async fn create<S: Stream, T: LeaseTable, H>(shared: Arc<Shared<S, T, H>>, new: NewLease) -> Answer {
    let starting_sequence_number = match &new.starting_sequence_number {
        Some(start) if !new.must_be_complete => match oldest(&shared, &new.shard, start).await {
            Ok(oldest) => oldest,
            Err(error) => return Answer::NotCreated(new.shard, error),
        },
        start => start.clone(),
    };
    let key = shared.keys.shard(&new.shard);
    let row = Lease { parent: new.parent, starting_sequence_number, ..Lease::new(key, new.checkpoint) };
    let result = shared.within(shared.table.create(&row)).await;
    Answer::Created(new.shard, result)
}

/// Returns the start of a shard, or its oldest record if the start is trimmed, which is normal when a stream is read for the
/// first time.
async fn oldest<S: Stream, T, H>(
    shared: &Shared<S, T, H>,
    shard: &ShardId,
    start: &SequenceNumber,
) -> Result<Option<SequenceNumber>, StreamError> {
    match shared.within(shared.stream.iterator(shard, &IteratorPosition::At(start.clone()))).await {
        Ok(_) => return Ok(Some(start.clone())),
        // The session of the shard decides whether it is gone.
        Err(error) if error.kind == StreamErrorKind::NotFound => return Ok(Some(start.clone())),
        Err(error) if matches!(error.kind, StreamErrorKind::Trimmed | StreamErrorKind::Invalid) => {}
        Err(error) => return Err(error),
    }
    let mut next = Some(shared.within(shared.stream.iterator(shard, &IteratorPosition::TrimHorizon)).await?);
    for _ in 0..OLDEST_READS {
        let Some(iterator) = next else { break };
        let page = shared.within(shared.stream.read(shard, &iterator, 1)).await?;
        if let Some(record) = page.records.into_iter().next() {
            return Ok(Some(record.sequence_number));
        }
        next = page.next;
        sleep(OLDEST_INTERVAL).await;
    }
    Ok(None)
}

pub(super) async fn take<S, T: LeaseTable, H>(
    shared: Arc<Shared<S, T, H>>,
    shard: ShardId,
    row: Lease,
    is_forced: bool,
) -> Answer {
    let expected = Expected { owner: row.owner.clone(), counter: Some(row.counter) };
    let update = LeaseUpdate {
        owner: Some(Some(shared.me.clone())),
        counter: Some(row.counter + 1),
        owner_switches: Some(row.owner_switches + 1),
        handover_to: Some(None),
        ..LeaseUpdate::default()
    };
    let sent = Instant::now();
    let result = shared.within(shared.table.update(&row.key, &expected, &update)).await;
    Answer::Taken { shard, from: row.owner, is_forced, sent, result }
}

/// Asks the owner for its lease. This changes neither owner nor counter, so it does not disturb the owner's writes.
pub(super) async fn ask<S, T: LeaseTable, H>(
    shared: Arc<Shared<S, T, H>>,
    shard: ShardId,
    row: Lease,
    owner: Owner,
) -> Answer {
    let expected = Expected { owner: Some(owner.clone()), counter: None };
    let update = LeaseUpdate { handover_to: Some(Some(shared.me.clone())), ..LeaseUpdate::default() };
    let result = shared.within(shared.table.update(&row.key, &expected, &update)).await;
    Answer::Asked { shard, owner, result }
}

pub(super) async fn delete<S, T: LeaseTable, H>(shared: Arc<Shared<S, T, H>>, shard: ShardId, row: Lease) -> Answer {
    let expected = Expected { owner: row.owner.clone(), counter: Some(row.counter) };
    let result = shared.within(shared.table.delete(&row.key, &expected)).await;
    Answer::Deleted(shard, result)
}
