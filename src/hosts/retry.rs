//! How long to wait before another attempt, and after which errors. Pure, except for the random jitter.

use std::time::Duration;

use rand::Rng;

use super::records::ErrorKind;
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::hosts::Error;

/// Somebody waits for the answer, so a call is attempted only this often. A client that is told of throttling slows down.
pub(super) const MAX_ATTEMPTS: u32 = 3;
/// A batch is asked for its unprocessed keys this often: DynamoDB may return any part of it.
pub(super) const MAX_BATCH_ATTEMPTS: u32 = 8;
/// One attempt takes at most this long.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

const FIRST_BACKOFF: Duration = Duration::from_millis(25);
const MAX_BACKOFF: Duration = Duration::from_millis(400);

/// Returns a random time up to a bound that doubles with each attempt.
pub(super) fn backoff(attempts: u32) -> Duration {
    let bound = MAX_BACKOFF.min(FIRST_BACKOFF * 2_u32.saturating_pow(attempts.saturating_sub(1).min(16)));
    rand::rng().random_range(Duration::ZERO..=bound)
}

/// Returns whether another attempt may succeed soon.
pub(super) fn is_transient(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Throttled | ErrorKind::Unavailable => true,
        ErrorKind::MissingIndex(_)
        | ErrorKind::UnfinishedIndex(_)
        | ErrorKind::MissingTable
        | ErrorKind::NotAuthorized
        | ErrorKind::Refused => false,
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        let kind = match error.kind {
            StoreErrorKind::Throttled | StoreErrorKind::HotKey => ErrorKind::Throttled,
            StoreErrorKind::Credentials | StoreErrorKind::Clock | StoreErrorKind::Permission => {
                ErrorKind::NotAuthorized
            }
            StoreErrorKind::MissingTable => ErrorKind::MissingTable,
            StoreErrorKind::Refused | StoreErrorKind::ForeignRow | StoreErrorKind::Misconfigured => ErrorKind::Refused,
            StoreErrorKind::Unavailable | StoreErrorKind::OpenFiles | StoreErrorKind::Conflict => {
                ErrorKind::Unavailable
            }
        };
        Error { kind, detail: error.detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_backoffs_of_a_batch_together_take_less_than_three_seconds() {
        let longest: Duration = (1..MAX_BATCH_ATTEMPTS).map(|_| MAX_BACKOFF).sum();
        assert!(longest < Duration::from_secs(3));
        for attempts in [1, 2, 100, u32::MAX] {
            assert!(backoff(attempts) <= MAX_BACKOFF);
        }
    }
}
