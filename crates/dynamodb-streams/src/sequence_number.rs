//! Sequence numbers: decimal texts that are compared as numbers.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The number of a record in its shard, with up to 40 digits. The stream gets its text unchanged, but `7` equals `007`.
#[derive(Clone)]
pub struct SequenceNumber(Arc<str>);

impl SequenceNumber {
    pub fn new(digits: impl Into<Arc<str>>) -> SequenceNumber {
        SequenceNumber(digits.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn significant(&self) -> &str {
        self.0.trim_start_matches('0')
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &SequenceNumber) -> Ordering {
        let (one, two) = (self.significant(), other.significant());
        one.len().cmp(&two.len()).then_with(|| one.cmp(two))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &SequenceNumber) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &SequenceNumber) -> bool {
        self.significant() == other.significant()
    }
}

impl Eq for SequenceNumber {}

impl Hash for SequenceNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.significant().hash(state);
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::SequenceNumber;

    proptest! {
        #[test]
        fn numbers_are_ordered_by_value(one: u128, two: u128, zeros in 0usize..4) {
            let padded = SequenceNumber::new(format!("{}{one}", "0".repeat(zeros)));
            let other = SequenceNumber::new(two.to_string());
            prop_assert_eq!(padded.cmp(&other), one.cmp(&two));
            prop_assert_eq!(padded == other, one == two);
        }
    }

    #[test]
    fn numbers_above_128_bits_are_ordered() {
        let nines = |digits| SequenceNumber::new("9".repeat(digits));
        assert!(nines(39) < nines(40));
        assert_eq!(nines(40).as_str().len(), 40);
    }
}
