//! Decides when a stream has been idle for too long, and whether a message was waiting meanwhile. Pure: the caller
//! passes the time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::unsettled::Amount;

/// Messages that were published together arrive within this time. A stream counts as having missed a message only if the
/// message was published at least this long before the stream ended.
pub(super) const DELIVERY_TIME: Duration = Duration::from_secs(1);

/// Expires when a stream has received nothing for `timeout` while it was not full.
#[derive(Debug)]
pub(super) struct IdleTimer {
    limit: Amount,
    max_idle: Duration,
    timeout: Duration,
    since: Instant,
}

impl IdleTimer {
    /// Starts the timer of a stream with this limit. `timeout` applies until the first message, and `max_idle` after it.
    pub(super) fn new(limit: Amount, max_idle: Duration, timeout: Duration, now: Instant) -> IdleTimer {
        IdleTimer { limit, max_idle, timeout, since: now }
    }

    /// Restarts the timer, because the stream received a message.
    pub(super) fn restart(&mut self, now: Instant) {
        self.since = now;
        self.timeout = self.max_idle;
    }

    /// Reduces the timeout, counted from the last restart.
    pub(super) fn shorten(&mut self, timeout: Duration) {
        self.timeout = self.timeout.min(timeout);
    }

    /// Returns the time since which the stream has been idle. Call it often, because it notices a full stream only when it
    /// is called.
    ///
    /// A stream is full at half of its limits, because the server may stop sending before it reaches them. The server
    /// also counts messages that the client has not read yet.
    pub(super) fn since(&mut self, now: Instant, unsettled: Amount) -> Instant {
        if unsettled.reaches(self.limit.half()) {
            self.since = now;
        }
        self.since
    }

    /// Returns whether the stream has been idle for too long: for `max_idle` if there was activity since, or else for
    /// the timeout.
    pub(super) fn has_expired(&self, now: Instant, has_activity: bool) -> bool {
        let timeout = if has_activity { self.timeout.min(self.max_idle) } else { self.timeout };
        now - self.since >= timeout
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
    const MAX_IDLE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    /// Starts a timer that has the same timeout before and after the first message.
    fn timer(now: Instant) -> IdleTimer {
        IdleTimer::new(LIMIT, MAX_IDLE, MAX_IDLE, now)
    }

    #[test]
    fn the_timer_expires_when_the_stream_received_nothing_for_the_timeout() {
        let opened = Instant::now();
        let timer = timer(opened);
        assert!(!timer.has_expired(opened + MAX_IDLE - SECOND, false));
        assert!(timer.has_expired(opened + MAX_IDLE, false));
    }

    #[test]
    fn a_longer_timeout_ends_with_a_message_or_with_activity() {
        let opened = Instant::now();
        let mut timer = IdleTimer::new(LIMIT, MAX_IDLE, 10 * MAX_IDLE, opened);
        assert!(!timer.has_expired(opened + 10 * MAX_IDLE - SECOND, false));
        assert!(timer.has_expired(opened + 10 * MAX_IDLE, false));
        assert!(!timer.has_expired(opened + MAX_IDLE - SECOND, true));
        assert!(timer.has_expired(opened + MAX_IDLE, true));
        timer.restart(opened + SECOND);
        assert!(!timer.has_expired(opened + MAX_IDLE, false));
        assert!(timer.has_expired(opened + MAX_IDLE + SECOND, false));
    }

    #[test]
    fn the_timer_of_a_full_stream_starts_when_the_stream_is_no_longer_full() {
        let opened = Instant::now();
        for full in [Amount { messages: 50, bytes: 0 }, Amount { messages: 0, bytes: 500 }] {
            let mut timer = timer(opened);
            let last_full = opened + 2 * MAX_IDLE;
            assert_eq!(timer.since(last_full, full), last_full);
            let almost = Amount { messages: 49, bytes: 499 };
            assert_eq!(timer.since(last_full + MAX_IDLE, almost), last_full);
            assert!(!timer.has_expired(last_full + MAX_IDLE - SECOND, false));
            assert!(timer.has_expired(last_full + MAX_IDLE, false));
        }
    }

    #[test]
    fn a_shorter_timeout_counts_from_the_last_message() {
        let opened = Instant::now();
        let mut timer = timer(opened);
        timer.restart(opened + SECOND);
        timer.shorten(5 * SECOND);
        timer.shorten(MAX_IDLE);
        assert!(!timer.has_expired(opened + 5 * SECOND, false));
        assert!(timer.has_expired(opened + 6 * SECOND, false));
        timer.restart(opened + 7 * SECOND);
        assert!(!timer.has_expired(opened + MAX_IDLE, false), "a message ends the shorter timeout");
    }

    #[test]
    fn a_message_was_waiting_if_it_was_published_after_the_last_one_and_before_the_end() {
        let (received, published) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let last = LastMessage { published, received };
        let ended = received + MAX_IDLE;
        for (later, waiting) in [(0, false), (1, true), (59, true), (60, false), (3600, false)] {
            assert_eq!(last.next_was_waiting(ended, published + later * SECOND), waiting, "{later} s later");
        }
        let redelivered = LastMessage { published: published + MAX_IDLE, received };
        assert!(!redelivered.next_was_waiting(ended, published));
    }

    proptest! {
        /// Compares the timer with a list of all restarts.
        #[test]
        fn the_timer_expires_exactly_when_the_stream_was_neither_active_nor_full_for_the_timeout(
            checks in prop::collection::vec((1..40u32, any::<bool>(), 0..100usize), 1..50)
        ) {
            let opened = Instant::now();
            let mut timer = timer(opened);
            let (mut now, mut restarts) = (opened, vec![opened]);
            for (after, received, messages) in checks {
                now += after * SECOND;
                if received {
                    timer.restart(now);
                }
                if received || messages >= 50 {
                    restarts.push(now);
                }
                let expected = restarts.iter().all(|restart| now - *restart >= MAX_IDLE);
                timer.since(now, Amount { messages, bytes: 0 });
                prop_assert_eq!(timer.has_expired(now, false), expected);
            }
        }
    }
}
