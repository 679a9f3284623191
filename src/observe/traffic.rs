//! What writes cost and move, by the sizes of their records.

use crate::consumer::ports::Put;
use ops::metrics::Counter;

/// A write costs one unit for each begun KB of its record.
const UNIT_BYTES: usize = 1024;

/// What writes cost and move, as far as sizes of records tell.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Write units of the writes that were stored.
    pub stored_units: Counter,
    /// Of those that were stale, by the record that was there.
    pub stale_units: Counter,
    /// Of statements that found a record where there should be none, or none: they are sent again the other way.
    pub other_verb_units: Counter,
    /// Of the writes that a newer scan of their key made needless.
    pub superseded_units: Counter,
    /// Of the writes that what was known of their key made needless.
    pub known_units: Counter,
    /// Bytes of the records that were sent, at every attempt.
    pub sent_bytes: Counter,
    /// Bytes of the records that stale writes returned.
    pub received_bytes: Counter,
}

impl Traffic {
    /// A record of so many bytes was sent; the store took it, or holds a newer one, or said neither.
    pub(super) fn sent(&self, record_bytes: usize, put: Option<&Put>) {
        self.sent_bytes.add(record_bytes as u64);
        match put {
            Some(Put::Stored) => self.stored_units.add(units(record_bytes)),
            Some(Put::Stale(stored)) => {
                self.stale_units.add(units(stored.bytes));
                self.received_bytes.add(stored.bytes as u64);
            }
            None => {}
        }
    }

    /// A record of so many bytes was sent in a statement that did not fit: of the record that is there the size is not
    /// known.
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
    use crate::consumer::ports::Stored;

    #[test]
    fn a_write_costs_a_unit_for_each_begun_kb() {
        assert_eq!([0, 1, 1024, 1025, 400 * 1024].map(units), [1, 1, 1, 2, 400]);
    }

    #[test]
    fn a_stale_write_costs_by_the_record_that_was_there_and_brings_it() {
        let traffic = Traffic::default();
        let stale = Put::Stale(Stored { timestamp: 7, is_same: false, bytes: 3000 });
        for put in [Some(&Put::Stored), Some(&stale), None] {
            traffic.sent(1500, put);
        }
        let Traffic { stored_units, stale_units, sent_bytes, received_bytes, .. } = &traffic;
        assert_eq!([stored_units, stale_units, sent_bytes, received_bytes].map(Counter::get), [2, 3, 4500, 3000]);
    }
}
