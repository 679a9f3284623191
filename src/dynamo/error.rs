//! Classifies failed conditions of writes of scans, and reads DynamoDB's numbers. Pure.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use dynamodb::{Item, failed};

use super::item::{TIMESTAMP, stored_size};
use crate::consumer::ports::{Answer, Attempt, Record, StoreError, StoreErrorKind};

/// Classifies an error of PutItem. A failed condition is a success if the stored item is at least as new as ours.
/// `is_same` compares the stored item with the one that was sent.
pub(super) fn classify(error: SdkError<PutItemError>, timestamp: u64, is_same: impl FnOnce(&Item) -> bool) -> Attempt {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => stale(failed.item(), timestamp, is_same),
        _ => Err(failed(&error)),
    }
}

/// Classifies a failed condition. A row whose timestamp is missing or not a number is not ours, and every scan of its
/// key would fail the condition.
pub(super) fn stale(stored: Option<&Item>, timestamp: u64, is_same: impl FnOnce(&Item) -> bool) -> Attempt {
    let Some(stored) = stored else {
        let detail = "the condition failed, but DynamoDB did not return the stored item".to_owned();
        return Err(StoreError { kind: StoreErrorKind::Unavailable, detail });
    };
    let number = stored.get(TIMESTAMP).and_then(|value| value.as_n().ok());
    match number {
        Some(number) => match whole_seconds(number) {
            Some(newest) if newest >= timestamp => {
                Ok(Answer::Stale(Record { timestamp: newest, is_same: is_same(stored), bytes: stored_size(stored) }))
            }
            _ => Err(StoreError {
                kind: StoreErrorKind::Unavailable,
                detail: format!(
                    "the condition failed, although the stored timestamp {number} is older than {timestamp}"
                ),
            }),
        },
        None => Err(StoreError {
            kind: StoreErrorKind::ForeignRow,
            detail:
                "the table has a row with this key whose timestamp is missing or not a number; fix or delete the row"
                    .into(),
        }),
    }
}

/// Parses a number as DynamoDB returns it: with up to 38 digits, a fraction and an exponent. Ours are whole and below
/// 2^63.
pub(super) fn whole_seconds(stored: &str) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` rounds down and saturates")]
    stored.parse().ok().or_else(|| stored.parse().ok().map(|stored: f64| stored as u64))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;

    fn row(timestamp: AttributeValue) -> Item {
        Item::from([(TIMESTAMP.to_owned(), timestamp)])
    }

    fn number(text: &str) -> Item {
        row(AttributeValue::N(text.to_owned()))
    }

    #[test]
    fn a_write_is_stale_when_the_row_is_at_least_as_new() {
        let huge = "99999999999999999999999999999999999999";
        for (stored, timestamp) in [("10", 10), ("11", 11), ("10.5", 10), ("1e3", 1000), (huge, u64::MAX)] {
            let answer = stale(Some(&number(stored)), 10, |_| false);
            let bytes = stored_size(&number(stored));
            assert_eq!(answer, Ok(Answer::Stale(Record { timestamp, is_same: false, bytes })), "{stored}");
        }
    }

    #[test]
    fn a_row_without_a_numeric_timestamp_is_a_foreign_row() {
        for stored in [Item::new(), row(AttributeValue::S("11".into()))] {
            assert_eq!(stale(Some(&stored), 10, |_| true).unwrap_err().kind, StoreErrorKind::ForeignRow);
        }
    }

    #[test]
    fn a_write_is_not_stale_without_a_newer_stored_item() {
        assert_eq!(stale(None, 10, |_| true).unwrap_err().kind, StoreErrorKind::Unavailable);
        assert_eq!(stale(Some(&number("9")), 10, |_| true).unwrap_err().kind, StoreErrorKind::Unavailable);
    }
}
