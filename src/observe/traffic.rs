//! Write units and bytes, calculated from the sizes of records.

use crate::consumer::ports::Answer;
use ops::metrics::Counter;

/// A write costs one unit per KB of its record, rounded up.
const UNIT_BYTES: usize = 1024;

#[derive(Debug, Default)]
pub struct Traffic {
    /// Units of stored writes.
    pub stored_units: Counter,
    /// Units of stale writes, by the size of the record in the table.
    pub stale_units: Counter,
    /// Units of statements whose verb did not fit (an update without a record, an insert with one). They are sent again with
    /// the other verb.
    pub other_verb_units: Counter,
    /// Units saved because the write of a newer scan settled the message.
    pub superseded_units: Counter,
    /// Units saved because the record was known to be up to date.
    pub known_units: Counter,
    /// Bytes of the records sent, in every attempt.
    pub sent_bytes: Counter,
    /// Bytes of the records that stale writes returned.
    pub received_bytes: Counter,
}

impl Traffic {
    /// Counts a record that was sent, and the store's answer if there was one.
    pub(super) fn sent(&self, record_bytes: usize, answer: Option<&Answer>) {
        self.sent_bytes.add(record_bytes as u64);
        match answer {
            Some(Answer::Stored) => self.stored_units.add(units(record_bytes)),
            Some(Answer::Stale(record)) => {
                self.stale_units.add(units(record.bytes));
                self.received_bytes.add(record.bytes as u64);
            }
            None => {}
        }
    }

    /// Counts a record that was sent with the wrong verb. It costs one unit at least; the size of the record in the table is
    /// not known.
    pub(super) fn sent_with_other_verb(&self, record_bytes: usize) {
        self.sent_bytes.add(record_bytes as u64);
        self.other_verb_units.add(1);
    }
}

pub(super) fn units(record_bytes: usize) -> u64 {
    record_bytes.div_ceil(UNIT_BYTES).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::ports::Record;

    #[test]
    fn a_write_costs_one_unit_per_kb_rounded_up() {
        assert_eq!([0, 1, 1024, 1025, 400 * 1024].map(units), [1, 1, 1, 2, 400]);
    }

    #[test]
    fn a_stale_write_costs_and_returns_the_record_in_the_table() {
        let traffic = Traffic::default();
        let stale = Answer::Stale(Record { timestamp: 7, is_same: false, bytes: 3000 });
        for answer in [Some(&Answer::Stored), Some(&stale), None] {
            traffic.sent(1500, answer);
        }
        let Traffic { stored_units, stale_units, sent_bytes, received_bytes, .. } = &traffic;
        assert_eq!([stored_units, stale_units, sent_bytes, received_bytes].map(Counter::get), [2, 3, 4500, 3000]);
    }
}
