//! The one place where results become policy. Pure.

use std::time::{Duration, SystemTime};

use super::ports::{Put, StoreError, StoreErrorKind};
use crate::scan::{Reason, Rejection, Scan};

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Written: acked.
    Stored,
    /// The record was already as new: acked.
    Stale,
    /// Beyond its time to live when it was published: acked, never written.
    Expired,
    /// Will never be a record: dead letter, then acked.
    Rejected(Rejection),
    /// Given up for now: nacked.
    Deferred(StoreError),
}

/// What follows from one attempt to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Settle(Outcome),
    /// Try again later; the message keeps its slot.
    Retry(StoreError),
    /// The item was refused; whose fault it is will show.
    Refused(StoreError),
}

/// What follows from an error of the store. `docs/errors.md` is the same table for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Tried again after a growing pause, until the receipt has reached its age. Eight such errors in a row, with no
    /// answer between them, close the gate: the instance is unready, and one write a second probes.
    Retry,
    /// The same, for a person must mend it: what is said names the next step. It ends without a restart.
    NeedsFix,
    /// Tried again, and fewer writes are in flight from now on.
    SlowDown,
    /// Tried again soon; no other key waits for it.
    DelayKey,
    /// Parked without a slot and tried again, until other writes have shown whether the item or the table is at fault.
    Park,
    /// Will never be a record.
    DeadLetter,
}

/// The table of policy: what follows from each kind of error, and why.
pub fn policy(kind: StoreErrorKind) -> Policy {
    match kind {
        // Most of these pass by themselves. It may have been written: the condition makes a second write harmless.
        StoreErrorKind::Unavailable => Policy::Retry,
        // Connections that there are still write, and those that end free descriptors. It is our limit, and says
        // nothing about what the table takes, so it moves no write limit.
        StoreErrorKind::OpenFiles => Policy::NeedsFix,
        // The table answers, and takes fewer writes than we send: more of them would only be refused too.
        StoreErrorKind::Throttled => Policy::SlowDown,
        // One partition is at its end and the table is not: slower writes for all would not help this key.
        StoreErrorKind::HotKey => Policy::DelayKey,
        // A transaction or another region is at this record at the moment.
        StoreErrorKind::Conflict => Policy::DelayKey,
        // These are true of every message, so they can be the fault of none; waiting loses nothing.
        StoreErrorKind::Credentials
        | StoreErrorKind::Clock
        | StoreErrorKind::Permission
        | StoreErrorKind::MissingTable => Policy::NeedsFix,
        // An answer that is not known here is more likely about the account or the path than about one item, and a
        // dead letter cannot be taken back. What is retried comes to an end at the receipt's age.
        StoreErrorKind::Misconfigured => Policy::NeedsFix,
        // An item breaks a rule, or the table has another key or index than ours: the same answer for both.
        StoreErrorKind::Refused => Policy::Park,
        // The condition can never hold while that row is there, so a retry would never end.
        StoreErrorKind::ForeignRow => Policy::DeadLetter,
    }
}

/// Judges one attempt.
pub fn classify(result: Result<Put, StoreError>) -> Decision {
    let error = match result {
        Ok(Put::Stored) => return Decision::Settle(Outcome::Stored),
        Ok(Put::Stale(_)) => return Decision::Settle(Outcome::Stale),
        Err(error) => error,
    };
    match policy(error.kind) {
        Policy::Retry | Policy::NeedsFix | Policy::SlowDown | Policy::DelayKey => Decision::Retry(error),
        Policy::Park => Decision::Refused(error),
        Policy::DeadLetter => {
            Decision::Settle(Outcome::Rejected(Rejection { reason: Reason::RefusedByStore, detail: error.detail }))
        }
    }
}

/// Whether an error leaves open that the service is there at all.
///
/// Throttling and refusals are answers; a missing table or permission is one too, but nothing gets through until a
/// person mends it, so it closes the gate like an outage.
pub fn is_outage(kind: StoreErrorKind) -> bool {
    matches!(policy(kind), Policy::Retry | Policy::NeedsFix)
}

/// When the record of this scan ends, in Unix seconds.
pub fn expires_at(scan: &Scan, ttl: Duration) -> u64 {
    scan.timestamp.saturating_add(ttl.as_secs())
}

/// Whether the scan was already beyond its time to live when its message was published. No local clock is asked, so
/// every delivery gets the same verdict.
pub fn expired_when_published(scan: &Scan, ttl: Duration, publish_time: SystemTime) -> bool {
    let published = publish_time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(expires_at(scan, ttl)) <= published
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::consumer::ports::Stored;
    use crate::scan::{DataVersion, Key};

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError { kind, detail: "why".into() }
    }

    #[test]
    fn a_failed_condition_is_success() {
        assert_eq!(
            classify(Ok(Put::Stale(Stored { timestamp: 10, is_same: false, bytes: 100 }))),
            Decision::Settle(Outcome::Stale)
        );
    }

    #[test]
    fn nothing_that_is_the_stores_fault_is_rejected() {
        use StoreErrorKind as Kind;
        let outages = [Kind::Unavailable, Kind::OpenFiles, Kind::Credentials, Kind::Clock, Kind::Permission];
        let outages = outages.into_iter().chain([Kind::MissingTable, Kind::Misconfigured]);
        let answers = [Kind::Throttled, Kind::HotKey, Kind::Conflict];
        for (kind, is_away) in outages.map(|kind| (kind, true)).chain(answers.map(|kind| (kind, false))) {
            assert_eq!(classify(Err(error(kind))), Decision::Retry(error(kind)));
            assert_eq!(is_outage(kind), is_away, "{kind:?}");
        }
    }

    #[test]
    fn a_refused_item_is_not_condemned_by_one_answer() {
        let refused = error(StoreErrorKind::Refused);
        assert_eq!(classify(Err(refused.clone())), Decision::Refused(refused));
        assert!(!is_outage(StoreErrorKind::Refused));
    }

    #[test]
    fn a_row_that_is_not_ours_is_never_stale() {
        let Decision::Settle(Outcome::Rejected(rejection)) = classify(Err(error(StoreErrorKind::ForeignRow))) else {
            panic!("not rejected");
        };
        assert_eq!(rejection.reason, Reason::RefusedByStore);
    }

    #[test]
    fn a_scan_expires_by_its_publish_time() {
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
