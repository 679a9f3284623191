//! When a shard is read next.

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::{Waits, backoff};

/// Between an old position and the next record, the stream returns many empty pages. The first ones of a session are read
/// without longer waits.
const QUICK_PAGES: u32 = 40;
/// After this many empty pages, a shard is taken for read up to its newest record.
const EMPTY_PAGES: u32 = 3;

/// The wait of one shard, adapted to what its reads returned.
#[derive(Debug)]
pub(crate) struct Polling {
    waits: Waits,
    after_none: Duration,
    failures: u32,
    empty: u32,
    /// How many empty pages in a row may come before the first record.
    quick: u32,
    failing_since: Option<Instant>,
}

impl Polling {
    pub(crate) fn new(waits: Waits) -> Polling {
        Polling {
            after_none: waits.after_records,
            waits,
            failures: 0,
            empty: 0,
            quick: QUICK_PAGES,
            failing_since: None,
        }
    }

    /// Returns the wait after a page. After a full page, more records are there.
    pub(crate) fn after_page(&mut self, records: usize, is_full: bool) -> Duration {
        self.failures = 0;
        self.failing_since = None;
        self.empty = if records == 0 { self.empty + 1 } else { 0 };
        if records == 0 && self.empty <= self.quick {
            return self.waits.after_records;
        }
        self.quick = 0;
        if records == 0 {
            let wait = self.after_none;
            self.after_none = (wait * 2).min(self.waits.max_after_none);
            return wait;
        }
        self.after_none = self.waits.after_records;
        if is_full { Duration::ZERO } else { self.waits.after_records }
    }

    /// Returns whether the last reads were successful and empty. A single empty page may be followed by records.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.empty >= self.quick + EMPTY_PAGES && self.failing_since.is_none()
    }

    pub(crate) fn failing_since(&self) -> Option<Instant> {
        self.failing_since
    }

    pub(crate) fn after_failure(&mut self, now: Instant, random: f64) -> Duration {
        self.failures += 1;
        self.failing_since.get_or_insert(now);
        backoff(Duration::from_millis(100), self.waits.max_after_failure, self.failures, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_wait_doubles_while_no_records_come() {
        let mut polling = Polling::new(Settings::default().waits);
        polling.after_page(7, false);
        let waits: Vec<_> = (0..4).map(|_| polling.after_page(0, false)).collect();
        assert_eq!(waits, [ms(250), ms(500), ms(1000), ms(1000)]);
        assert_eq!(polling.after_page(7, false), ms(250));
        assert_eq!(polling.after_page(0, false), ms(250));
    }

    #[test]
    fn the_first_empty_pages_of_a_session_are_read_without_longer_waits() {
        let mut polling = Polling::new(Settings::default().waits);
        let waits: Vec<_> = (0..42).map(|_| polling.after_page(0, false)).collect();
        assert!(waits[..41].iter().all(|wait| *wait == ms(250)), "{waits:?}");
        assert_eq!((waits[41], polling.is_caught_up()), (ms(500), true));
    }

    #[test]
    fn a_full_page_is_followed_by_a_read_at_once() {
        let mut polling = Polling::new(Settings::default().waits);
        assert_eq!(polling.after_page(1000, true), Duration::ZERO);
    }

    #[test]
    fn the_wait_grows_with_each_failure_up_to_its_limit() {
        let (mut polling, now) = (Polling::new(Settings::default().waits), Instant::now());
        assert_eq!(polling.after_failure(now, 1.0), ms(100));
        assert_eq!(polling.after_failure(now, 0.0), ms(100));
        assert_eq!(polling.after_failure(now, 1.0), ms(400));
        let longest = (0..100).map(|_| polling.after_failure(now, 1.0)).max();
        assert_eq!(longest, Some(Duration::from_secs(10)));
        polling.after_page(0, false);
        assert_eq!(polling.after_failure(now, 1.0), ms(100));
    }

    #[test]
    fn a_shard_is_caught_up_after_several_empty_pages_until_records_come_or_a_read_fails() {
        let (mut polling, now) = (Polling::new(Settings::default().waits), Instant::now());
        polling.after_page(7, false);
        let mut empty = || {
            polling.after_page(0, false);
            polling.is_caught_up()
        };
        assert_eq!([empty(), empty(), empty(), empty()], [false, false, true, true]);
        polling.after_failure(now, 0.0);
        polling.after_failure(now + ms(5), 0.0);
        assert_eq!((polling.is_caught_up(), polling.failing_since()), (false, Some(now)));
        polling.after_page(1, false);
        assert_eq!((polling.is_caught_up(), polling.failing_since()), (false, None));
    }
}
