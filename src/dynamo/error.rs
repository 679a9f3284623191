//! What an answer of PutItem means. Pure.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ThrottlingReason;

use super::item::{Item, TIMESTAMP};
use crate::consumer::cause;
use crate::consumer::port::{Put, StoreError, StoreErrorKind, Stored};

/// A failed condition is success where the stored item is as new as ours; other errors say why there was no answer.
/// `is_same` compares a stored item with the one that was sent.
pub(super) fn judge(
    error: SdkError<PutItemError>,
    timestamp: u64,
    is_same: impl FnOnce(&Item) -> bool,
) -> Result<Put, StoreError> {
    let kind = match &error {
        SdkError::ServiceError(service) => match service.err() {
            PutItemError::ConditionalCheckFailedException(failed) => return stale(failed.item(), timestamp, is_same),
            error => service_error(error),
        },
        SdkError::ConstructionFailure(_) => StoreErrorKind::Misconfigured,
        _ => StoreErrorKind::Unavailable,
    };
    let detail = match (&error, error.code()) {
        (SdkError::ServiceError(_), Some(code)) => format!("{code}: {}", error.message().unwrap_or("no message")),
        _ => cause(&error),
    };
    Err(StoreError { kind, detail })
}

fn service_error(error: &PutItemError) -> StoreErrorKind {
    let throttled = |reasons: &[ThrottlingReason]| {
        let hot_key = |reason: &ThrottlingReason| {
            reason.reason().is_some_and(|reason| reason.ends_with("KeyRangeThroughputExceeded"))
        };
        match reasons.iter().any(hot_key) {
            true => StoreErrorKind::HotKey,
            false => StoreErrorKind::Throttled,
        }
    };
    match error {
        PutItemError::ProvisionedThroughputExceededException(error) => throttled(error.throttling_reasons()),
        PutItemError::ThrottlingException(error) => throttled(error.throttling_reasons()),
        PutItemError::RequestLimitExceeded(error) => throttled(error.throttling_reasons()),
        PutItemError::ResourceNotFoundException(_) => StoreErrorKind::Misconfigured,
        error => match error.code() {
            Some("ValidationException" | "ItemCollectionSizeLimitExceededException" | "SerializationException") => {
                StoreErrorKind::Refused
            }
            Some(
                "AccessDeniedException"
                | "UnrecognizedClientException"
                | "MissingAuthenticationTokenException"
                | "IncompleteSignatureException"
                | "InvalidSignatureException"
                | "ExpiredTokenException"
                | "InvalidClientTokenId"
                | "NotAuthorized",
            ) => StoreErrorKind::Misconfigured,
            _ => StoreErrorKind::Unavailable,
        },
    }
}

/// A row whose timestamp is missing or not a number is not ours and would swallow every scan of its key.
fn stale(stored: Option<&Item>, timestamp: u64, is_same: impl FnOnce(&Item) -> bool) -> Result<Put, StoreError> {
    let Some(stored) = stored else {
        let detail = "the condition failed and the stored item was not returned".to_owned();
        return Err(StoreError { kind: StoreErrorKind::Unavailable, detail });
    };
    let number = stored.get(TIMESTAMP).and_then(|value| value.as_n().ok());
    match number {
        Some(number) => match whole_seconds(number) {
            Some(newest) if newest >= timestamp => {
                Ok(Put::Stale(Stored { timestamp: newest, is_same: is_same(stored) }))
            }
            _ => Err(StoreError {
                kind: StoreErrorKind::Unavailable,
                detail: format!("the condition failed although the stored timestamp {number} is below {timestamp}"),
            }),
        },
        None => Err(StoreError {
            kind: StoreErrorKind::ForeignRow,
            detail: "the table holds a row under this key whose timestamp is not a number; mend or delete it".into(),
        }),
    }
}

/// DynamoDB's numbers have up to 38 digits, a fraction and an exponent; ours are whole and below 2^63.
fn whole_seconds(stored: &str) -> Option<u64> {
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
    fn a_row_as_new_is_stale() {
        let huge = "99999999999999999999999999999999999999";
        for (stored, timestamp) in [("10", 10), ("11", 11), ("10.5", 10), ("1e3", 1000), (huge, u64::MAX)] {
            let answer = stale(Some(&number(stored)), 10, |_| false);
            assert_eq!(answer, Ok(Put::Stale(Stored { timestamp, is_same: false })), "{stored}");
        }
    }

    #[test]
    fn a_row_without_a_numeric_timestamp_is_not_ours() {
        for stored in [Item::new(), row(AttributeValue::S("11".into()))] {
            assert_eq!(stale(Some(&stored), 10, |_| true).unwrap_err().kind, StoreErrorKind::ForeignRow);
        }
    }

    #[test]
    fn nothing_is_stale_without_proof() {
        assert_eq!(stale(None, 10, |_| true).unwrap_err().kind, StoreErrorKind::Unavailable);
        assert_eq!(stale(Some(&number("9")), 10, |_| true).unwrap_err().kind, StoreErrorKind::Unavailable);
    }
}
