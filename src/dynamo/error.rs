//! What an answer of DynamoDB to a write means, or its absence: the table from AWS's words to the consumer's. Pure.
//!
//! What follows from each kind stands in [`crate::consumer::policy::policy`], and both for operators in
//! `docs/errors.md`.

use std::error::Error;
use std::io;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ThrottlingReason;
use ops::cause;

use super::item::{Item, TIMESTAMP, stored_size};
use crate::consumer::ports::{Put, StoreError, StoreErrorKind, Stored};

/// What the codes of AWS mean, DynamoDB's own first. The same code is written with `Exception` at its end and without.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/CommonErrors.html>
const CODES: [(StoreErrorKind, &[&str]); 9] = [
    // Faults of the service, or of the way to it.
    (
        StoreErrorKind::Unavailable,
        &[
            "InternalServerError",
            "InternalServer",
            "InternalFailure",
            "ServiceUnavailable",
            "RequestTimeout",
            "RequestAborted",
        ],
    ),
    // Too much for the table or the account, unless the reasons that come with it name one key (`throttling`).
    (
        StoreErrorKind::Throttled,
        &[
            "ProvisionedThroughputExceeded",
            "Throttling",
            "ThrottlingError",
            "RequestLimitExceeded",
            "LimitExceeded",
            "TooManyRequests",
            "RequestThrottled",
            "SlowDown",
            "KMSThrottling",
        ],
    ),
    // A transaction, or a write in another region of a global table, is at the same record.
    (StoreErrorKind::Conflict, &["TransactionConflict", "TransactionInProgress", "ReplicatedWriteConflict"]),
    // Also while the table is being created or deleted.
    (StoreErrorKind::MissingTable, &["ResourceNotFound", "TableNotFound"]),
    (
        StoreErrorKind::Permission,
        &[
            "AccessDenied",
            "NotAuthorized",
            "OptInRequired",
            "KMSAccessDenied",
            "KMSDisabled",
            "KMSInvalidState",
            "KMSNotFound",
            "InaccessibleEncryptionKey",
        ],
    ),
    // `InvalidSignature` is the clock's fault where its message speaks of time (`by_code`).
    (
        StoreErrorKind::Credentials,
        &[
            "ExpiredToken",
            "UnrecognizedClient",
            "InvalidClientTokenId",
            "MissingAuthenticationToken",
            "IncompleteSignature",
            "InvalidSignature",
            "SignatureDoesNotMatch",
        ],
    ),
    (StoreErrorKind::Clock, &["RequestExpired", "RequestTimeTooSkewed"]),
    // A rule that the item breaks, or a table whose key or index is not ours.
    (
        StoreErrorKind::Refused,
        &["Validation", "ValidationError", "Serialization", "ItemCollectionSizeLimitExceeded", "RequestEntityTooLarge"],
    ),
    // Not DynamoDB, or not this DynamoDB.
    (StoreErrorKind::Misconfigured, &["InvalidEndpoint", "UnknownOperation", "InvalidAction", "MissingAction"]),
];

/// What an answer means whose code is missing or unknown: from a proxy on the way, or newer than this program.
fn by_status(status: u16) -> StoreErrorKind {
    match status {
        // A page in place of an answer proves nothing, whatever its status.
        200..300 | 408 | 500.. => StoreErrorKind::Unavailable,
        // It names the size of this one request.
        413 => StoreErrorKind::Refused,
        429 => StoreErrorKind::Throttled,
        _ => StoreErrorKind::Misconfigured,
    }
}

/// What a code means, if it is known.
pub(super) fn by_code(code: &str, message: &str) -> Option<StoreErrorKind> {
    let code = code.strip_suffix("Exception").unwrap_or(code);
    let (kind, _) = CODES.iter().find(|(_, codes)| codes.contains(&code))?;
    // DynamoDB says so of a request that is more than some minutes old or early: "Signature expired: …", "Signature not
    // yet current: …". The SDK then takes the difference from the answer's date, for the next attempt.
    let of_time = ["Signature expired", "Signature not yet current"];
    Some(match kind {
        StoreErrorKind::Credentials if of_time.iter().any(|text| message.contains(text)) => StoreErrorKind::Clock,
        kind => *kind,
    })
}

/// A failed condition is success where the stored item is as new as ours; other errors say why there was no answer.
/// `is_same` compares a stored item with the one that was sent.
pub(super) fn classify(
    error: SdkError<PutItemError>,
    timestamp: u64,
    is_same: impl FnOnce(&Item) -> bool,
) -> Result<Put, StoreError> {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => stale(failed.item(), timestamp, is_same),
        _ => Err(failed(&error)),
    }
}

/// Why a call was not answered for what was in it.
pub(super) fn failed<E: CallError>(error: &SdkError<E>) -> StoreError {
    StoreError { kind: kind(error), detail: detail(error) }
}

/// The error of an operation that writes.
pub(super) trait CallError: ProvideErrorMetadata + Error + 'static {
    fn throttling_reasons(&self) -> &[ThrottlingReason];
}

impl CallError for PutItemError {
    fn throttling_reasons(&self) -> &[ThrottlingReason] {
        match self {
            PutItemError::ProvisionedThroughputExceededException(error) => error.throttling_reasons(),
            PutItemError::ThrottlingException(error) => error.throttling_reasons(),
            PutItemError::RequestLimitExceeded(error) => error.throttling_reasons(),
            _ => &[],
        }
    }
}

impl CallError for BatchExecuteStatementError {
    fn throttling_reasons(&self) -> &[ThrottlingReason] {
        match self {
            BatchExecuteStatementError::ThrottlingException(error) => error.throttling_reasons(),
            BatchExecuteStatementError::RequestLimitExceeded(error) => error.throttling_reasons(),
            _ => &[],
        }
    }
}

/// The SDK takes any 200 without a body for an answer. DynamoDB's carry a request id; a proxy's or a portal's do not.
pub(super) fn not_from_dynamodb() -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unavailable,
        detail: "HTTP 200 without DynamoDB's request id; something else answered".to_owned(),
    }
}

fn kind<E: CallError>(error: &SdkError<E>) -> StoreErrorKind {
    if out_of_files(error) {
        return StoreErrorKind::OpenFiles;
    }
    match error {
        SdkError::ServiceError(answer) => answered(answer.err(), answer.raw().status().as_u16()),
        error if lacks_credentials(error) => StoreErrorKind::Credentials,
        // There was no request, which no scan can be the cause of.
        SdkError::ConstructionFailure(_) => StoreErrorKind::Misconfigured,
        // Refused, reset, no such name, TLS that fails, a timeout, an answer that cannot be read.
        _ => StoreErrorKind::Unavailable,
    }
}

fn answered(error: &impl CallError, status: u16) -> StoreErrorKind {
    let kind = error.code().and_then(|code| by_code(code, error.message().unwrap_or_default()));
    match kind.unwrap_or_else(|| by_status(status)) {
        StoreErrorKind::Throttled => throttling(error),
        kind => kind,
    }
}

/// Of one key where every reason that is named concerns its partition: any other one concerns all writes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ThrottlingReason.html>
fn throttling(error: &impl CallError) -> StoreErrorKind {
    let reasons = error.throttling_reasons();
    let of_one_key = |reason: &ThrottlingReason| {
        reason.reason().is_some_and(|reason| reason.ends_with("KeyRangeThroughputExceeded"))
    };
    match !reasons.is_empty() && reasons.iter().all(of_one_key) {
        true => StoreErrorKind::HotKey,
        false => StoreErrorKind::Throttled,
    }
}

fn detail<E: CallError>(error: &SdkError<E>) -> String {
    let SdkError::ServiceError(answer) = error else { return cause(error) };
    match error.code() {
        Some(code) => format!("{code}: {}", error.message().unwrap_or("no message")),
        None => format!("HTTP {} without an answer of DynamoDB's", answer.raw().status().as_u16()),
    }
}

/// EMFILE and ENFILE have the same numbers on every Unix, and no kind of their own in `std::io`.
fn out_of_files(error: &(dyn Error + 'static)) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    let mut chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.any(|error| {
        let os_error = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        matches!(os_error, Some(ENFILE | EMFILE))
    })
}

/// The SDK says so only with a private cause, which its whole chain shows.
pub(super) fn lacks_credentials<E: Error + 'static>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => {
            DisplayErrorContext(error).to_string().to_lowercase().contains("credentials")
        }
        _ => false,
    }
}

/// What a failed condition means. A row whose timestamp is missing or not a number is not ours and would swallow every
/// scan of its key.
pub(super) fn stale(
    stored: Option<&Item>,
    timestamp: u64,
    is_same: impl FnOnce(&Item) -> bool,
) -> Result<Put, StoreError> {
    let Some(stored) = stored else {
        let detail = "the condition failed and the stored item was not returned".to_owned();
        return Err(StoreError { kind: StoreErrorKind::Unavailable, detail });
    };
    let number = stored.get(TIMESTAMP).and_then(|value| value.as_n().ok());
    match number {
        Some(number) => match whole_seconds(number) {
            Some(newest) if newest >= timestamp => {
                Ok(Put::Stale(Stored { timestamp: newest, is_same: is_same(stored), bytes: stored_size(stored) }))
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
    fn every_code_stands_on_the_page_for_operators_once() {
        let page = include_str!("../../docs/errors.md");
        let codes: Vec<_> = CODES.iter().flat_map(|(_, codes)| *codes).collect();
        for code in &codes {
            assert!(page.contains(&format!("`{code}`")) || page.contains(&format!("`{code}Exception`")), "{code}");
            assert_eq!(codes.iter().filter(|other| other == &code).count(), 1, "{code}");
        }
    }

    #[test]
    fn a_row_as_new_is_stale() {
        let huge = "99999999999999999999999999999999999999";
        for (stored, timestamp) in [("10", 10), ("11", 11), ("10.5", 10), ("1e3", 1000), (huge, u64::MAX)] {
            let answer = stale(Some(&number(stored)), 10, |_| false);
            let bytes = stored_size(&number(stored));
            assert_eq!(answer, Ok(Put::Stale(Stored { timestamp, is_same: false, bytes })), "{stored}");
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
