//! What is wrong at the moment, each thing said once when it begins and once when it is over.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::discriminant;
use std::sync::{Mutex, PoisonError};

use tracing::{error, info};

/// Something that makes this instance unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The stream of this worker cannot be read.
    Stream(usize),
    /// DynamoDB does not answer, or answers that table, credentials or permission are missing.
    Store,
    /// Every write is refused.
    Refusals,
    /// Dead letters cannot be published.
    DeadLetters,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Stream(worker) => write!(f, "stream {worker}"),
            Condition::Store => f.write_str("DynamoDB"),
            Condition::Refusals => f.write_str("the table"),
            Condition::DeadLetters => f.write_str("the dead-letter topic"),
        }
    }
}

/// Of the streams, which fail together, only the first that is unwell is said, and the last that is well again.
#[derive(Debug, Default)]
pub struct Health {
    present: Mutex<BTreeMap<Condition, String>>,
}

impl Health {
    /// Notes a condition; logs it if it was not there.
    pub fn raise(&self, condition: Condition, detail: &str) {
        self.follow(condition, detail, || true);
    }

    /// Notes that a condition is over; logs it if it was there.
    pub fn clear(&self, condition: Condition) {
        self.follow(condition, "", || false);
    }

    /// Notes or clears a condition by what is so at this moment. Asked under the lock: of two threads that each changed
    /// it and come here in the other order, the second sees what is so in the end.
    pub(super) fn follow(&self, condition: Condition, detail: &str, is_so: impl FnOnce() -> bool) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let alike = |present: &BTreeMap<Condition, String>| {
            present.keys().any(|other| discriminant(other) == discriminant(&condition))
        };
        if is_so() {
            let first = !alike(&present);
            present.insert(condition, detail.to_owned());
            if first {
                error!(condition = %condition, "not ready: {condition}: {detail}");
            }
        } else if present.remove(&condition).is_some() && !alike(&present) {
            info!(condition = %condition, "well again: {condition}");
        }
    }

    /// Notes and logs that a condition that is there has another cause by now.
    pub(super) fn change(&self, condition: Condition, detail: &str) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(noted) = present.get_mut(&condition) {
            detail.clone_into(noted);
            error!(condition = %condition, "still not ready: {condition}: {detail}");
        }
    }

    /// What is wrong now; ready when nothing is.
    pub fn conditions(&self) -> Vec<(Condition, String)> {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.iter().map(|(condition, detail)| (*condition, detail.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_stays_until_it_is_cleared() {
        let health = Health::default();
        health.raise(Condition::Store, "away");
        health.raise(Condition::Store, "still away");
        assert_eq!(health.conditions(), [(Condition::Store, "still away".to_owned())]);
        health.clear(Condition::Store);
        assert!(health.conditions().is_empty());
    }

    #[test]
    fn each_stream_has_a_condition_of_its_own() {
        let health = Health::default();
        health.raise(Condition::Stream(0), "away");
        health.raise(Condition::Stream(1), "away");
        health.clear(Condition::Stream(0));
        assert_eq!(health.conditions(), [(Condition::Stream(1), "away".to_owned())]);
    }
}
