//! Decides when a stream has been idle for too long, and whether a message was waiting meanwhile. Pure: the caller
//! passes the time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::unsettled::Amount;

/// A stream counts as having missed a message only if the message was published at least this long before the stream
/// ended.
const DELIVERY_TIME: Duration = Duration::from_secs(1);

/// Expires when a stream has received nothing for `timeout` while it was not full.
#[derive(Debug)]
pub(super) struct IdleTimer {
    limit: Amount,
    timeout: Duration,
    idle_since: Instant,
}

impl IdleTimer {
    /// Starts the timer of a stream with this limit.
    pub(super) fn new(limit: Amount, timeout: Duration, now: Instant) -> IdleTimer {
        IdleTimer { limit, timeout, idle_since: now }
    }

    /// Restarts the timer, because the stream received a message.
    pub(super) fn restart(&mut self, now: Instant) {
        self.idle_since = now;
    }

    /// Reduces the timeout, counted from the last restart.
    pub(super) fn shorten(&mut self, timeout: Duration) {
        self.timeout = self.timeout.min(timeout);
    }

    /// Returns whether the stream has been idle for too long. Call it often, because it notices a full stream only when
    /// it is called.
    ///
    /// A stream is full at half of its limits, because the server may stop sending before it reaches them. The server
    /// also counts messages that the client has not read yet.
    pub(super) fn has_expired(&mut self, now: Instant, unsettled: Amount) -> bool {
        if unsettled.reaches(self.limit.half()) {
            self.idle_since = now;
        }
        now - self.idle_since >= self.timeout
    }
}

/// The last message that any stream of a worker received.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastMessage {
    pub(super) published: SystemTime,
    pub(super) received: Instant,
}

impl LastMessage {
    /// Returns whether the next message, published at `published`, was waiting while an idle stream was open that ended
    /// at `ended`. If so, that stream should have received it.
    ///
    /// Both publish times are the server's and both instants are ours, so this compares no two clocks. The server's
    /// clock shows how much later the next message was published, and the last one was published before we received it.
    pub(super) fn next_was_waiting(self, ended: Instant, published: SystemTime) -> bool {
        published
            .duration_since(self.published)
            .is_ok_and(|later| later > Duration::ZERO && self.received + later + DELIVERY_TIME <= ended)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Amount = Amount { messages: 100, bytes: 1000 };
    const TIMEOUT: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_timer_expires_when_the_stream_received_nothing_for_the_timeout() {
        let opened = Instant::now();
        let mut timer = IdleTimer::new(LIMIT, TIMEOUT, opened);
        assert!(!timer.has_expired(opened + TIMEOUT - SECOND, Amount::NOTHING));
        assert!(timer.has_expired(opened + TIMEOUT, Amount::NOTHING));
    }

    #[test]
    fn the_timer_of_a_full_stream_starts_when_the_stream_is_no_longer_full() {
        let opened = Instant::now();
        for full in [Amount { messages: 50, bytes: 0 }, Amount { messages: 0, bytes: 500 }] {
            let mut timer = IdleTimer::new(LIMIT, TIMEOUT, opened);
            assert!(!timer.has_expired(opened + 2 * TIMEOUT, full));
            let almost = Amount { messages: 49, bytes: 499 };
            assert!(!timer.has_expired(opened + 3 * TIMEOUT - SECOND, almost));
            assert!(timer.has_expired(opened + 3 * TIMEOUT, almost));
        }
    }

    #[test]
    fn a_shorter_timeout_counts_from_the_last_message() {
        let opened = Instant::now();
        let mut timer = IdleTimer::new(LIMIT, TIMEOUT, opened);
        timer.restart(opened + SECOND);
        timer.shorten(5 * SECOND);
        timer.shorten(TIMEOUT);
        assert!(!timer.has_expired(opened + 5 * SECOND, Amount::NOTHING));
        assert!(timer.has_expired(opened + 6 * SECOND, Amount::NOTHING));
    }

    #[test]
    fn a_message_was_waiting_if_it_was_published_after_the_last_one_and_before_the_end() {
        let (received, published) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let last = LastMessage { published, received };
        let ended = received + TIMEOUT;
        for (later, waiting) in [(0, false), (1, true), (59, true), (60, false), (3600, false)] {
            assert_eq!(last.next_was_waiting(ended, published + later * SECOND), waiting, "{later} s later");
        }
        let redelivered = LastMessage { published: published + TIMEOUT, received };
        assert!(!redelivered.next_was_waiting(ended, published));
    }

    proptest! {
        /// Compares the timer with a list of all restarts.
        #[test]
        fn the_timer_expires_exactly_when_the_stream_was_neither_active_nor_full_for_the_timeout(
            checks in prop::collection::vec((1..40u32, any::<bool>(), 0..100usize), 1..50)
        ) {
            let opened = Instant::now();
            let mut timer = IdleTimer::new(LIMIT, TIMEOUT, opened);
            let (mut now, mut restarts) = (opened, vec![opened]);
            for (after, received, messages) in checks {
                now += after * SECOND;
                if received {
                    timer.restart(now);
                }
                if received || messages >= 50 {
                    restarts.push(now);
                }
                let expected = restarts.iter().all(|restart| now - *restart >= TIMEOUT);
                prop_assert_eq!(timer.has_expired(now, Amount { messages, bytes: 0 }), expected);
            }
        }
    }
}
