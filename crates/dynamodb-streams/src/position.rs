//! From where a shard is read on, and what an error of the stream means for it.

use std::time::{Duration, SystemTime};

use crate::lease::{Checkpoint, Lease};
use crate::ports::{GapCause, IteratorPosition, StreamErrorKind};
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
    /// Report the gap, then get a new iterator.
    Gap(GapCause),
    /// Report the gap. Nothing of the shard is left.
    End(GapCause),
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

    pub(crate) fn recover(&mut self, kind: StreamErrorKind) -> Recovery {
        match kind {
            StreamErrorKind::Throttled | StreamErrorKind::Denied | StreamErrorKind::Unavailable => Recovery::Wait,
            StreamErrorKind::ExpiredIterator => Recovery::Renew,
            StreamErrorKind::NotFound => Recovery::End(GapCause::ShardGone),
            StreamErrorKind::Trimmed => {
                self.restart();
                Recovery::Gap(GapCause::Trimmed)
            }
            // The start of a shard comes from its description. A server may not accept it as the number of a record.
            StreamErrorKind::Invalid if self.last.is_none() && self.complete_from.is_some() => {
                self.complete_from = None;
                Recovery::Renew
            }
            StreamErrorKind::Invalid if self.last.is_some() => {
                self.restart();
                Recovery::Gap(GapCause::Trimmed)
            }
            StreamErrorKind::Invalid => Recovery::Wait,
        }
    }

    fn restart(&mut self) {
        self.last = None;
        self.complete_from = None;
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
        assert_eq!(position.recover(StreamErrorKind::ExpiredIterator), Recovery::Renew);
        assert_eq!(position.iterator(), IteratorPosition::After(number(9)));
    }

    #[test]
    fn a_trimmed_position_is_a_gap_and_reading_continues_with_what_is_left() {
        let mut position = position(Checkpoint::After(number(5)), Some(1));
        assert_eq!(position.before_gap(), Checkpoint::After(number(5)));
        assert_eq!(position.recover(StreamErrorKind::Trimmed), Recovery::Gap(GapCause::Trimmed));
        assert_eq!(position.iterator(), IteratorPosition::TrimHorizon);
    }

    #[test]
    fn a_child_is_read_from_its_first_record_so_that_a_trimmed_start_is_noticed() {
        let mut position = position(Checkpoint::TrimHorizon, Some(3));
        assert_eq!(position.iterator(), IteratorPosition::At(number(3)));
        assert_eq!(position.recover(StreamErrorKind::Invalid), Recovery::Renew);
        assert_eq!(position.iterator(), IteratorPosition::TrimHorizon);
        assert_eq!(position.recover(StreamErrorKind::Invalid), Recovery::Wait);
    }

    #[test]
    fn a_shard_that_is_gone_ends_with_a_gap() {
        let mut position = position(Checkpoint::TrimHorizon, None);
        assert_eq!(position.recover(StreamErrorKind::NotFound), Recovery::End(GapCause::ShardGone));
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
