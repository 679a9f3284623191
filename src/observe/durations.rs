//! Durations of messages and of calls of the store, by how they ended, and the latency from publishing to the table.

use std::time::{Duration, SystemTime};

use ops::metrics::Histogram;

use crate::consumer::ports::{End, Operation, Settled, StoreErrorKind};
use crate::scan::Reason;

/// Close together around the design point, which is tens of milliseconds for a call and for a message without a backlog.
const BOUNDS: [Duration; 22] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(30),
    Duration::from_millis(50),
    Duration::from_millis(75),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1800),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(86_400),
];

/// For calls of the store: 1 ms to 10 s.
/// <https://opentelemetry.io/docs/specs/semconv/database/database-metrics/>
const CALLS: &[Duration] = BOUNDS.split_at(15).0;

/// For messages: 1 ms to the default of `--max-retry-time`.
const MESSAGES: &[Duration] = BOUNDS.split_at(19).0;

/// For the latency since publishing: 10 ms to a backlog of one day. The objective of freshness needs the bounds of 30 s and 1 h.
const SINCE_PUBLISHED: &[Duration] = BOUNDS.split_at(3).1;

/// The calls of one operation.
#[derive(Debug)]
struct Calls {
    answered: Histogram,
    failed: [Histogram; StoreErrorKind::ALL.len()],
}

impl Default for Calls {
    fn default() -> Calls {
        let calls = || Histogram::new(CALLS);
        Calls { answered: calls(), failed: std::array::from_fn(|_| calls()) }
    }
}

#[derive(Debug)]
pub struct Durations {
    /// From the publish time of a message until the store answered for it.
    pub publish_to_durable: Histogram,
    /// From the arrival to the settlement of messages that were stored, stale or expired.
    processed: Histogram,
    rejected: [Histogram; Reason::ALL.len()],
    given_up: Histogram,
    released: Histogram,
    calls: [Calls; Operation::ALL.len()],
}

impl Default for Durations {
    fn default() -> Durations {
        let messages = || Histogram::new(MESSAGES);
        Durations {
            publish_to_durable: Histogram::new(SINCE_PUBLISHED),
            processed: messages(),
            rejected: std::array::from_fn(|_| messages()),
            given_up: messages(),
            released: messages(),
            calls: Default::default(),
        }
    }
}

impl Durations {
    pub(super) fn settled(&self, message: &Settled<'_>) {
        let messages = match message.end {
            End::Stored | End::Stale | End::Superseded | End::Known => {
                // Zero if this machine's clock is behind the server's.
                #[expect(clippy::disallowed_methods, reason = "a latency for people; no decision depends on it")]
                self.publish_to_durable.add(SystemTime::now().duration_since(message.publish_time).unwrap_or_default());
                &self.processed
            }
            End::Expired => &self.processed,
            End::DeadLettered(reason) | End::DeadLetterFailed(reason) => &self.rejected[reason as usize],
            End::GivenUp => &self.given_up,
            End::Released => &self.released,
        };
        messages.add(message.took);
    }

    pub(super) fn called(&self, operation: Operation, took: Duration, failure: Option<StoreErrorKind>) {
        let calls = &self.calls[operation as usize];
        failure.map_or(&calls.answered, |kind| &calls.failed[kind as usize]).add(took);
    }

    /// Returns the durations of messages from arrival to settlement, by what kept them from being stored or stale.
    pub fn messages(&self) -> impl Iterator<Item = (Option<&'static str>, &Histogram)> {
        let rejected = Reason::ALL.iter().map(|reason| (Some(reason.as_str()), &self.rejected[*reason as usize]));
        [(None, &self.processed)]
            .into_iter()
            .chain(rejected)
            .chain([(Some("given_up"), &self.given_up), (Some("released"), &self.released)])
    }

    /// Returns the durations of calls, by how they failed. A failed condition is not a failure, nor is a failed statement of
    /// a batch.
    pub fn calls(&self, operation: Operation) -> impl Iterator<Item = (Option<StoreErrorKind>, &Histogram)> {
        let Calls { answered, failed } = &self.calls[operation as usize];
        let failed = StoreErrorKind::ALL.iter().map(|kind| (Some(*kind), &failed[*kind as usize]));
        [(None, answered)].into_iter().chain(failed)
    }
}

#[cfg(test)]
mod tests {
    use tracing::Span;

    use super::*;

    const TOOK: Duration = Duration::from_millis(3);

    #[test]
    fn times_every_end_of_a_message_and_the_latency_of_durable_ones() {
        let durations = Durations::default();
        let reason = Reason::InvalidIp;
        let answered = [End::Stored, End::Stale, End::Superseded, End::Known];
        let others =
            [End::Expired, End::DeadLettered(reason), End::DeadLetterFailed(reason), End::GivenUp, End::Released];
        for end in answered.into_iter().chain(others) {
            let (publish_time, span) = (SystemTime::UNIX_EPOCH, &Span::none());
            durations.settled(&Settled { end, took: TOOK, publish_time, record_bytes: 0, span });
        }
        let counts = durations.messages().filter(|(_, took)| took.count() > 0);
        let counts: Vec<_> = counts.map(|(error, took)| (error, took.count())).collect();
        let errors = [(Some("invalid_ip"), 2), (Some("given_up"), 1), (Some("released"), 1)];
        assert_eq!(counts, [&[(None, 5)][..], &errors[..]].concat());
        assert_eq!(durations.publish_to_durable.count(), 4);
    }

    #[test]
    fn times_calls_by_operation_and_by_how_they_failed() {
        let durations = Durations::default();
        durations.called(Operation::Put, TOOK, None);
        durations.called(Operation::Batch, TOOK, Some(StoreErrorKind::Conflict));
        let timed = |operation| {
            let calls = durations.calls(operation).filter(|(_, took)| took.count() > 0);
            calls.map(|(kind, _)| kind).collect::<Vec<_>>()
        };
        assert_eq!(Operation::ALL.map(timed), [vec![None], vec![Some(StoreErrorKind::Conflict)]]);
    }
}
