//! Decides what follows from each answer and each error of the store, and from each error of a stream. Pure.

use std::time::{Duration, SystemTime};

use super::ports::{Answer, Attempt, Restart, StoreError, StoreErrorKind};
use crate::scan::{Reason, Rejection, Scan};

/// The result of a message, which determines how it is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Written; acked.
    Stored,
    /// Not written because the record is up to date; acked.
    Stale,
    /// Not written because it was past its time to live when it was published; acked.
    Expired,
    /// Can never be stored; acked after its dead letter is published.
    Rejected(Rejection),
    /// Not written in time, or not parked any longer; nacked.
    GivenUp(StoreError),
    /// Not written before a drain; nacked.
    Released,
}

/// What follows from an error of the store. `docs/errors.md` describes it for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Retry with exponential backoff until `--max-retry-time`. Eight such errors in a row without an answer open the circuit
    /// breaker: the instance is unready, and one write per second probes the store.
    Retry,
    /// The same, but a person must fix the cause. The log names the next step. Recovery needs no restart.
    NeedsFix,
    /// Retry, and lower the limit of writes in flight.
    SlowDown,
    /// Retry soon. Only this key waits, unless its whole partition is throttled.
    DelayKey,
    /// Park the message without a slot and retry, until it is known whether the item or the table is at fault.
    Park,
    /// Reject the message. It can never be stored.
    DeadLetter,
}

/// Returns what follows from each kind of error. The comments give the reasons.
pub fn policy(kind: StoreErrorKind) -> Policy {
    match kind {
        // Most of these end by themselves. The scan may have been written, but the condition makes a second write harmless.
        StoreErrorKind::Unavailable => Policy::Retry,
        // Open connections continue to write, and closed ones free descriptors. This is a limit of the process and not of
        // the table, so it does not change the write limit.
        StoreErrorKind::OpenFiles => Policy::NeedsFix,
        // The table accepts fewer writes than we send. It would refuse more of them as well.
        StoreErrorKind::Throttled => Policy::SlowDown,
        // The key is hot, and slower writes of other keys would not help it. If several keys are throttled at once, their
        // partition is at its limit, and `Process` lowers the limit of writes in flight as well.
        StoreErrorKind::HotKey => Policy::DelayKey,
        // A transaction or another region is writing this record.
        StoreErrorKind::Conflict => Policy::DelayKey,
        // These affect every message, so no message is at fault. Waiting loses nothing.
        StoreErrorKind::Credentials
        | StoreErrorKind::Clock
        | StoreErrorKind::Permission
        | StoreErrorKind::MissingTable => Policy::NeedsFix,
        // An unknown answer is more likely about the account or the network than about one item, and a dead letter cannot
        // be undone. Retries end at `--max-retry-time`.
        StoreErrorKind::Misconfigured => Policy::NeedsFix,
        // The item is invalid, or the table has another key schema or index than ours. Both give the same answer.
        StoreErrorKind::Refused => Policy::Park,
        // The condition fails as long as that row exists, so retries would never end.
        StoreErrorKind::ForeignRow => Policy::DeadLetter,
    }
}

/// Returns whether a write is attempted again after an error of this kind, as long as its deadline has not passed.
pub fn is_retried(kind: StoreErrorKind) -> bool {
    match policy(kind) {
        Policy::Retry | Policy::NeedsFix | Policy::SlowDown | Policy::DelayKey => true,
        Policy::Park | Policy::DeadLetter => false,
    }
}

/// Returns how a message is settled after the last attempt to write it. Fails if the item was refused: then the message is
/// parked, until it is known whether the item or the table is at fault.
pub fn settlement(last: Attempt) -> Result<Settlement, StoreError> {
    match last {
        Ok(Answer::Stored) => Ok(Settlement::Stored),
        Ok(Answer::Stale(_)) => Ok(Settlement::Stale),
        Err(error) if is_retried(error.kind) => Ok(Settlement::GivenUp(error)),
        Err(error) if policy(error.kind) == Policy::Park => Err(error),
        Err(error) => Ok(Settlement::Rejected(Rejection { reason: Reason::RefusedByStore, detail: error.detail })),
    }
}

/// Returns whether an error counts towards an outage, which opens the circuit breaker.
///
/// Throttling and refusals are answers, so they do not. A missing table or permission is an answer as well, but nothing can
/// be written until a person fixes it, so it counts.
pub fn is_outage(kind: StoreErrorKind) -> bool {
    matches!(policy(kind), Policy::Retry | Policy::NeedsFix)
}

/// A permanent error of a stream within this time after the start, before any message, ends the program: a setting is
/// wrong.
pub(crate) const STARTUP: Duration = Duration::from_secs(15);

/// Returns whether an error of a stream ends the program. Otherwise the stream is replaced.
pub fn ends_the_program(cause: Restart, has_received: bool, since_start: Duration) -> bool {
    let is_permanent = match cause {
        Restart::NotFound | Restart::Refused | Restart::NoCredentials | Restart::Invalid => true,
        Restart::Closed
        | Restart::Unreachable
        | Restart::Failed
        | Restart::Silent
        | Restart::Overfull
        | Restart::Idle => false,
    };
    is_permanent && !has_received && since_start < STARTUP
}

/// Returns when the record of this scan expires, in Unix seconds.
pub fn expires_at(scan: &Scan, ttl: Duration) -> u64 {
    scan.timestamp.saturating_add(ttl.as_secs())
}

/// Returns whether the scan was past its time to live when its message was published. It does not use the local clock, so
/// every delivery gets the same result.
pub fn expired_when_published(scan: &Scan, ttl: Duration, publish_time: SystemTime) -> bool {
    let published = publish_time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(expires_at(scan, ttl)) <= published
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::consumer::ports::Record;
    use crate::scan::{DataVersion, Key};

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError { kind, detail: "why".into() }
    }

    #[test]
    fn a_failed_condition_is_stale() {
        let record = Record { timestamp: 10, is_same: false, bytes: 100 };
        assert_eq!(settlement(Ok(Answer::Stale(record))), Ok(Settlement::Stale));
    }

    #[test]
    fn retries_every_error_that_is_not_the_items_fault() {
        use StoreErrorKind as Kind;
        let outages = [Kind::Unavailable, Kind::OpenFiles, Kind::Credentials, Kind::Clock, Kind::Permission];
        let outages = outages.into_iter().chain([Kind::MissingTable, Kind::Misconfigured]);
        let answers = [Kind::Throttled, Kind::HotKey, Kind::Conflict];
        for (kind, is_an_outage) in outages.map(|kind| (kind, true)).chain(answers.map(|kind| (kind, false))) {
            assert!(is_retried(kind));
            assert_eq!(settlement(Err(error(kind))), Ok(Settlement::GivenUp(error(kind))), "after its deadline");
            assert_eq!(is_outage(kind), is_an_outage, "{kind:?}");
        }
    }

    #[test]
    fn one_refusal_does_not_reject_an_item() {
        let refused = error(StoreErrorKind::Refused);
        assert!(!is_retried(refused.kind));
        assert_eq!(settlement(Err(refused.clone())), Err(refused));
        assert!(!is_outage(StoreErrorKind::Refused));
    }

    #[test]
    fn a_foreign_row_rejects_the_scan() {
        let Ok(Settlement::Rejected(rejection)) = settlement(Err(error(StoreErrorKind::ForeignRow))) else {
            panic!("not rejected");
        };
        assert_eq!(rejection.reason, Reason::RefusedByStore);
    }

    #[test]
    fn expiry_is_compared_with_the_publish_time() {
        let scan = Scan {
            key: Key::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80, "HTTP"),
            timestamp: 1000,
            data_version: DataVersion::V2,
            response: String::new(),
            response_bytes: None,
        };
        let ttl = Duration::from_secs(60);
        let published = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!expired_when_published(&scan, ttl, published(1059)));
        assert!(expired_when_published(&scan, ttl, published(1060)));
    }
}
