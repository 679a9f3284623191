//! When a stream is silent, and whether it was so while it had something to give. Pure: it is told the time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::holding::Amount;

/// How much earlier than a stream's end a message must have been published for that stream to have owed it.
const DELIVERY_TIME: Duration = Duration::from_secs(1);

/// Judges one stream: it is silent when it gave nothing for `patience` while it was not full.
#[derive(Debug)]
pub(super) struct Silence {
    limit: Amount,
    patience: Duration,
    quiet_since: Instant,
}

impl Silence {
    /// Of a stream with this limit that is opened now.
    pub(super) fn new(limit: Amount, patience: Duration, now: Instant) -> Silence {
        Silence { limit, patience, quiet_since: now }
    }

    pub(super) fn gave(&mut self, now: Instant) {
        self.quiet_since = now;
    }

    /// From now on it is given up sooner.
    pub(super) fn shorten(&mut self, patience: Duration) {
        self.patience = self.patience.min(patience);
    }

    /// Whether it is silent. Half of its limits is full: the server may hold back before it comes to the whole, and what
    /// it sent fills the stream before it is all read. To be asked often, because it only sees what is so when asked.
    pub(super) fn is_over(&mut self, now: Instant, unsettled: Amount) -> bool {
        if unsettled.reaches(self.limit.half()) {
            self.quiet_since = now;
        }
        now - self.quiet_since >= self.patience
    }
}

/// The last message that any stream of a worker gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    pub(super) published: SystemTime,
    pub(super) given: Instant,
}

impl Last {
    /// Whether a message that was published at `published` already waited while the stream that ended at `ended` was
    /// silent, so that the stream owed it.
    ///
    /// Both publish times are the server's and both instants are ours, so that no clock is compared with another: the
    /// message was published as long after the last one as the server says, and the last one before it was given.
    pub(super) fn was_followed_before(self, ended: Instant, published: SystemTime) -> bool {
        published
            .duration_since(self.published)
            .is_ok_and(|later| later > Duration::ZERO && self.given + later + DELIVERY_TIME <= ended)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Amount = Amount { messages: 100, bytes: 1000 };
    const PATIENCE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stream_that_gave_nothing_for_its_patience_is_silent() {
        let opened = Instant::now();
        let mut silence = Silence::new(LIMIT, PATIENCE, opened);
        assert!(!silence.is_over(opened + PATIENCE - SECOND, Amount::NOTHING));
        assert!(silence.is_over(opened + PATIENCE, Amount::NOTHING));
    }

    #[test]
    fn a_full_stream_is_not_silent_and_its_patience_begins_when_it_is_no_more() {
        let opened = Instant::now();
        for full in [Amount { messages: 50, bytes: 0 }, Amount { messages: 0, bytes: 500 }] {
            let mut silence = Silence::new(LIMIT, PATIENCE, opened);
            assert!(!silence.is_over(opened + 2 * PATIENCE, full));
            let almost = Amount { messages: 49, bytes: 499 };
            assert!(!silence.is_over(opened + 3 * PATIENCE - SECOND, almost));
            assert!(silence.is_over(opened + 3 * PATIENCE, almost));
        }
    }

    #[test]
    fn a_shorter_patience_holds_from_the_last_message() {
        let opened = Instant::now();
        let mut silence = Silence::new(LIMIT, PATIENCE, opened);
        silence.gave(opened + SECOND);
        silence.shorten(5 * SECOND);
        silence.shorten(PATIENCE);
        assert!(!silence.is_over(opened + 5 * SECOND, Amount::NOTHING));
        assert!(silence.is_over(opened + 6 * SECOND, Amount::NOTHING));
    }

    #[test]
    fn a_message_was_owed_only_if_it_came_after_the_last_and_before_the_end() {
        let (given, published) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let last = Last { published, given };
        let ended = given + PATIENCE;
        for (later, owed) in [(0, false), (1, true), (59, true), (60, false), (3600, false)] {
            assert_eq!(last.was_followed_before(ended, published + later * SECOND), owed, "{later} s later");
        }
        let redelivered = Last { published: published + PATIENCE, given };
        assert!(!redelivered.was_followed_before(ended, published));
    }

    proptest! {
        /// Against a list of everything that happened.
        #[test]
        fn a_stream_is_silent_if_and_only_if_it_neither_gave_nor_was_full_for_its_patience(
            looks in prop::collection::vec((1..40u32, any::<bool>(), 0..100usize), 1..50)
        ) {
            let opened = Instant::now();
            let mut silence = Silence::new(LIMIT, PATIENCE, opened);
            let (mut now, mut excuses) = (opened, vec![opened]);
            for (after, gave, messages) in looks {
                now += after * SECOND;
                if gave {
                    silence.gave(now);
                }
                if gave || messages >= 50 {
                    excuses.push(now);
                }
                let expected = excuses.iter().all(|excuse| now - *excuse >= PATIENCE);
                prop_assert_eq!(silence.is_over(now, Amount { messages, bytes: 0 }), expected);
            }
        }
    }
}
