//! The requests to the stream for one shard.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::memory::Reservation;
use crate::ports::{IteratorPosition, Page, Report, ShardIterator, Stream, StreamError, StreamErrorKind};
use crate::settings::backoff;
use crate::shard::{Shard, ShardId};
use crate::shared::Shared;

/// How often the children of a finished shard are asked for. After that, the listings show them.
const CHILD_ATTEMPTS: u32 = 5;

/// The result of a read, with the iterator that was used.
pub(super) struct Read<D> {
    pub(super) iterator: Option<ShardIterator>,
    pub(super) result: Result<(Page<D>, Reservation), StreamError>,
}

/// Reads a page as soon as the budget has capacity for it, with a new iterator if there is none.
pub(super) async fn read<S: Stream, T, H>(
    shared: Arc<Shared<S, T, H>>,
    shard: ShardId,
    iterator: Option<ShardIterator>,
    position: IteratorPosition,
) -> Read<S::Data> {
    let settings = &shared.settings;
    let reserved = shared.budget.reserve(settings.page_records, settings.page_bytes).await;
    let iterator = match iterator {
        Some(iterator) => iterator,
        None => match shared.within(shared.stream.iterator(&shard, &position)).await {
            Ok(iterator) => iterator,
            Err(error) => return Read { iterator: None, result: Err(error) },
        },
    };
    let page = shared.within(shared.stream.read(&shard, &iterator, reserved.records())).await;
    Read { iterator: Some(iterator), result: page.map(|page| (page, reserved)) }
}

/// Returns the children of a finished shard, or nothing if the stream does not show them soon.
pub(super) async fn children<S: Stream, T, H>(shared: Arc<Shared<S, T, H>>, shard: ShardId) -> Vec<Shard> {
    for attempt in 1..=CHILD_ATTEMPTS {
        shared.description_permit().await;
        match shared.within(shared.stream.children(&shard)).await {
            Ok(children) if children.is_empty() => {}
            Ok(children) => return children,
            Err(error) => {
                shared.report(Report::StreamFailed { shard: Some(&shard), error: &error });
                if error.kind == StreamErrorKind::Invalid {
                    // The server does not know the filter.
                    break;
                }
            }
        }
        sleep(backoff(Duration::from_millis(100), Duration::from_secs(1), attempt, shared.random())).await;
    }
    Vec::new()
}
