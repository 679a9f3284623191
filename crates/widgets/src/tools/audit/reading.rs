//! Reads the segments of a table side by side, and repeats what may pass by itself.

use std::time::Duration;

use dynamodb::{Item, StoreError, StoreErrorKind};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::table::{Foreign, Segment, WidgetTable};
use crate::widget::Widget;

type Rows = Vec<Result<Widget, Foreign>>;

/// Pages that wait to be matched.
const WAITING: usize = 16;
/// A page of DynamoDB has up to 1 MB and a widget at least 150 bytes, so this changes none. The embedded engine reads all
/// other items of the segment for each page that has no limit.
const PAGE: u16 = 7_000;
/// A page has up to 1 MB.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const REPEAT_FOR: Duration = Duration::from_secs(60);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// A scan of all segments. Dropping it stops it.
pub(super) struct Scan {
    pages: mpsc::Receiver<Result<Rows, StoreError>>,
    _segments: JoinSet<()>,
}

impl Scan {
    pub(super) fn start(table: &WidgetTable, segments: u16) -> Scan {
        let (sender, pages) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        for segment in parts(segments) {
            tasks.spawn(read(table.clone(), segment, sender.clone()));
        }
        Scan { pages, _segments: tasks }
    }

    /// Returns items of some segment, and `None` after the last ones.
    pub(super) async fn next(&mut self) -> Result<Option<Rows>, StoreError> {
        self.pages.recv().await.transpose()
    }
}

/// A single segment is the whole table in the order of its keys. The embedded engine reads that by an index, and sorts the table
/// for each page of a segment.
fn parts(segments: u16) -> Vec<Option<Segment>> {
    match segments {
        0 | 1 => vec![None],
        _ => (0..segments).map(|number| Some(Segment { number: number.into(), of: segments.into() })).collect(),
    }
}

/// Ends when nobody receives its pages.
async fn read(table: WidgetTable, segment: Option<Segment>, pages: mpsc::Sender<Result<Rows, StoreError>>) {
    let mut after: Option<Item> = None;
    loop {
        let page = repeated(REPEAT_FOR, || table.scan(after.clone(), Some(PAGE), segment)).await;
        let (rows, next) = match page {
            Ok(page) => (Ok(page.rows), page.next),
            Err(error) => (Err(error), None),
        };
        if pages.send(rows).await.is_err() || next.is_none() {
            return;
        }
        after = next;
    }
}

/// Repeats a call that may succeed later, until this much time has passed.
pub(super) async fn repeated<T, F>(within: Duration, call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    use StoreErrorKind::{Conflict, HotKey, OpenFiles, Throttled, Unavailable};
    let end = Instant::now() + within;
    let mut backoff = FIRST_BACKOFF;
    loop {
        let error = match timeout(CALL_TIMEOUT, call()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => StoreError::no_answer(CALL_TIMEOUT),
        };
        let wait = rand::rng().random_range(Duration::ZERO..=backoff);
        let may_pass = matches!(error.kind, Conflict | HotKey | OpenFiles | Throttled | Unavailable);
        if !may_pass || Instant::now() + wait >= end {
            return Err(error);
        }
        sleep(wait).await;
        backoff = MAX_BACKOFF.min(2 * backoff);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_segment_is_the_whole_table_and_several_ones_divide_it() {
        assert_eq!(parts(1), [None]);
        assert_eq!(parts(2), [0, 1].map(|number| Some(Segment { number, of: 2 })));
    }
}
