//! The one place where results become policy. Pure.

use std::time::{Duration, SystemTime};

use super::port::{Put, StoreError, StoreErrorKind};
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
pub enum Verdict {
    Settle(Outcome),
    /// Try again later; the message keeps its slot.
    Retry(StoreError),
    /// The item was refused; whose fault it is will show.
    Refused(StoreError),
}

/// Judges one attempt.
pub fn judge(result: Result<Put, StoreError>) -> Verdict {
    match result {
        Ok(Put::Stored) => Verdict::Settle(Outcome::Stored),
        Ok(Put::Stale(_)) => Verdict::Settle(Outcome::Stale),
        Err(error) => match error.kind {
            StoreErrorKind::ForeignRow => {
                Verdict::Settle(Outcome::Rejected(Rejection { reason: Reason::RefusedByStore, detail: error.detail }))
            }
            StoreErrorKind::Refused => Verdict::Refused(error),
            StoreErrorKind::Unavailable
            | StoreErrorKind::Throttled
            | StoreErrorKind::HotKey
            | StoreErrorKind::Misconfigured => Verdict::Retry(error),
        },
    }
}

/// Whether an error leaves open that the service is there at all.
///
/// Throttling and refusals are answers; a missing table or permission is one too, but nothing gets through until a
/// person mends it, so it closes the gate like an outage.
pub fn is_outage(kind: StoreErrorKind) -> bool {
    match kind {
        StoreErrorKind::Unavailable | StoreErrorKind::Misconfigured => true,
        StoreErrorKind::Throttled | StoreErrorKind::HotKey | StoreErrorKind::Refused | StoreErrorKind::ForeignRow => {
            false
        }
    }
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
    use crate::consumer::port::Stored;
    use crate::scan::{DataVersion, Key};

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError { kind, detail: "why".into() }
    }

    #[test]
    fn a_failed_condition_is_success() {
        assert_eq!(judge(Ok(Put::Stale(Stored { timestamp: 10, is_same: false }))), Verdict::Settle(Outcome::Stale));
    }

    #[test]
    fn nothing_that_is_the_stores_fault_is_rejected() {
        use StoreErrorKind::{HotKey, Misconfigured, Throttled, Unavailable};
        for kind in [Unavailable, Throttled, HotKey, Misconfigured] {
            assert_eq!(judge(Err(error(kind))), Verdict::Retry(error(kind)));
        }
    }

    #[test]
    fn a_row_that_is_not_ours_is_never_stale() {
        let Verdict::Settle(Outcome::Rejected(rejection)) = judge(Err(error(StoreErrorKind::ForeignRow))) else {
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
