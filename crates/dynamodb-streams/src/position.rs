//! From where a shard is read on, and what an error of the stream means for it.

use std::time::{Duration, SystemTime};

use crate::lease::{Checkpoint, Lease};
use crate::ports::{IteratorPosition, StreamErrorKind};
use crate::sequence_number::SequenceNumber;

/// DynamoDB rounds the times of records down: today to seconds, in earlier years and in DynamoDB Local to minutes.
const PRECISION: Duration = Duration::from_secs(60);

/// The position of a reader in its shard. It follows the last *read* record, which is ahead of the checkpoint.
#[derive(Debug)]
pub(crate) struct Position {
    last: Option<SequenceNumber>,
    /// The shard must be complete from this record on. Only an iterator at it fails if the record is trimmed: one at the
    /// trim horizon starts at the oldest record that is left.
    complete_from: Option<SequenceNumber>,
    skip_before: Option<SystemTime>,
}

/// What the reader does after an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// Repeat the request later.
    Wait,
    /// Get a new iterator for the same position.
    Renew,
    /// The position is trimmed. Report the gap, then get a new iterator.
    Gap,
    /// The shard may be gone. If so, report the gap.
    Missing,
}

impl Position {
    pub(crate) fn new(lease: &Lease) -> Position {
        let mut position =
            Position { last: None, complete_from: lease.starting_sequence_number.clone(), skip_before: None };
        match &lease.checkpoint {
            Checkpoint::After(number) => position.last = Some(number.clone()),
            Checkpoint::AtTimestamp(time) => position.skip_before = Some(*time),
            Checkpoint::TrimHorizon | Checkpoint::ShardEnd => {}
        }
        position
    }

    pub(crate) fn iterator(&self) -> IteratorPosition {
        match (&self.last, &self.complete_from) {
            (Some(last), _) => IteratorPosition::After(last.clone()),
            (None, Some(first)) => IteratorPosition::At(first.clone()),
            (None, None) => IteratorPosition::TrimHorizon,
        }
    }

    /// Returns whether a record is before the start that the user wants. A record in the same minute may be after it.
    pub(crate) fn skips(&self, created: Option<SystemTime>) -> bool {
        matches!((self.skip_before, created), (Some(start), Some(created)) if created + PRECISION <= start)
    }

    pub(crate) fn advance(&mut self, last: SequenceNumber) {
        self.last = Some(last);
    }

    /// Returns the last position before a gap.
    pub(crate) fn before_gap(&self) -> Checkpoint {
        match (&self.last, self.skip_before) {
            (Some(last), _) => Checkpoint::After(last.clone()),
            (None, Some(start)) => Checkpoint::AtTimestamp(start),
            (None, None) => Checkpoint::TrimHorizon,
        }
    }

    /// Decides about an error of a read, or of the request for an iterator.
    pub(crate) fn recover(&mut self, kind: StreamErrorKind, is_of_iterator: bool) -> Recovery {
        match kind {
            StreamErrorKind::Throttled | StreamErrorKind::Denied | StreamErrorKind::Unavailable => Recovery::Wait,
            StreamErrorKind::ExpiredIterator => Recovery::Renew,
            StreamErrorKind::NotFound if is_of_iterator => Recovery::Missing,
            StreamErrorKind::NotFound => Recovery::Renew,
            // A position at the trim horizon has no number that could be wrong.
            StreamErrorKind::Invalid if self.last.is_none() && self.complete_from.is_none() => Recovery::Wait,
            StreamErrorKind::Trimmed | StreamErrorKind::Invalid => {
                (self.last, self.complete_from) = (None, None);
                Recovery::Gap
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u64) -> SequenceNumber {
        SequenceNumber::new(number.to_string())
    }

    fn position(checkpoint: Checkpoint, complete_from: Option<u64>) -> Position {
        let starting_sequence_number = complete_from.map(number);
        Position::new(&Lease { starting_sequence_number, ..Lease::new("s/1".into(), checkpoint) })
    }

    #[test]
    fn an_expired_iterator_is_renewed_after_the_last_read_record() {
        let mut position = position(Checkpoint::After(number(5)), None);
        position.advance(number(9));
        assert_eq!(position.recover(StreamErrorKind::ExpiredIterator, false), Recovery::Renew);
        assert_eq!(position.iterator(), IteratorPosition::After(number(9)));
    }

    #[test]
    fn a_trimmed_position_is_a_gap_and_reading_continues_with_what_is_left() {
        let mut position = position(Checkpoint::After(number(5)), Some(1));
        assert_eq!(position.before_gap(), Checkpoint::After(number(5)));
        assert_eq!(position.recover(StreamErrorKind::Trimmed, true), Recovery::Gap);
        assert_eq!(position.iterator(), IteratorPosition::TrimHorizon);
    }

    #[test]
    fn a_child_is_read_from_its_first_record_so_that_a_trimmed_start_is_noticed() {
        let mut position = position(Checkpoint::TrimHorizon, Some(3));
        assert_eq!(position.iterator(), IteratorPosition::At(number(3)));
        assert_eq!(position.recover(StreamErrorKind::Invalid, true), Recovery::Gap);
        assert_eq!(position.iterator(), IteratorPosition::TrimHorizon);
        assert_eq!(position.recover(StreamErrorKind::Invalid, true), Recovery::Wait);
    }

    #[test]
    fn only_the_request_for_an_iterator_tells_that_a_shard_is_missing() {
        let mut position = position(Checkpoint::TrimHorizon, None);
        assert_eq!(position.recover(StreamErrorKind::NotFound, false), Recovery::Renew);
        assert_eq!(position.recover(StreamErrorKind::NotFound, true), Recovery::Missing);
    }

    #[test]
    fn records_before_the_start_are_skipped() {
        let second = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let position = position(Checkpoint::AtTimestamp(second(150)), None);
        assert!(position.skips(Some(second(60))));
        assert!(!position.skips(Some(second(120))), "it may have been created later in this minute");
        assert!(!position.skips(Some(second(151))));
        assert!(!position.skips(None));
    }
}
