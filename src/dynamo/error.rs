//! Classifies DynamoDB's response to a write, or its absence: maps AWS's errors to the consumer's. Pure.
//!
//! [`crate::consumer::policy::policy`] decides what follows from each kind. `docs/errors.md` describes both for
//! operators.

use std::error::Error;
use std::io;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementError;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::operation::scan::ScanError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ConsumedCapacity, ThrottlingReason};
use ops::cause;
use webhooks::Changed;

use super::item::{Item, TIMESTAMP, stored_size};
use crate::consumer::ports::{Answer, Attempt, Record, StoreError, StoreErrorKind};

/// AWS's error codes by the kind that they mean. Codes omit the suffix `Exception`, because some services send it and
/// some do not.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/CommonErrors.html>
const CODES: [(StoreErrorKind, &[&str]); 9] = [
    // Faults of the service or of the network.
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
    // Too many requests for the table or the account, unless the throttling reasons name one key (`throttling`).
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
    // A transaction, or a write in another region of a global table, is changing the same record.
    (StoreErrorKind::Conflict, &["TransactionConflict", "TransactionInProgress", "ReplicatedWriteConflict"]),
    // DynamoDB also returns these while the table is being created or deleted.
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
    // `InvalidSignature` is a clock problem if its message is about time (`by_code`).
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
    // The item breaks a rule, or the table has a different key or an index that the item does not fit.
    (
        StoreErrorKind::Refused,
        &["Validation", "ValidationError", "Serialization", "ItemCollectionSizeLimitExceeded", "RequestEntityTooLarge"],
    ),
    // The endpoint is not DynamoDB, or not the right one.
    (StoreErrorKind::Misconfigured, &["InvalidEndpoint", "UnknownOperation", "InvalidAction", "MissingAction"]),
];

/// Classifies a response without a known code: it comes from a proxy, or its code is newer than this program.
fn by_status(status: u16) -> StoreErrorKind {
    match status {
        // A web page instead of a response proves nothing, even with status 200.
        200..300 | 408 | 500.. => StoreErrorKind::Unavailable,
        // The status is about the size of this request.
        413 => StoreErrorKind::Refused,
        429 => StoreErrorKind::Throttled,
        _ => StoreErrorKind::Misconfigured,
    }
}

/// Returns the kind of error that a code means, or `None` if the code is unknown.
pub(super) fn by_code(code: &str, message: &str) -> Option<StoreErrorKind> {
    let code = code.strip_suffix("Exception").unwrap_or(code);
    let (kind, _) = CODES.iter().find(|(_, codes)| codes.contains(&code))?;
    // DynamoDB returns "Signature expired: …" or "Signature not yet current: …" if this machine's clock is minutes off.
    // The SDK then corrects the clock of the next attempt by the date of the response.
    let clock_messages = ["Signature expired", "Signature not yet current"];
    Some(match kind {
        StoreErrorKind::Credentials if clock_messages.iter().any(|text| message.contains(text)) => {
            StoreErrorKind::Clock
        }
        kind => *kind,
    })
}

/// Classifies an error of PutItem. A failed condition is a success if the stored item is at least as new as ours.
/// `is_same` compares the stored item with the one that was sent.
pub(super) fn classify(error: SdkError<PutItemError>, timestamp: u64, is_same: impl FnOnce(&Item) -> bool) -> Attempt {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => stale(failed.item(), timestamp, is_same),
        _ => Err(failed(&error)),
    }
}

/// Classifies an error of a whole call.
pub(super) fn failed<E: CallError>(error: &SdkError<E>) -> StoreError {
    StoreError { kind: kind(error), detail: detail(error) }
}

/// The error of an operation on the table.
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

/// Readers slow down after any throttling, so that its reasons do not matter.
macro_rules! without_throttling_reasons {
    ($($error:ty),+) => {
        $(impl CallError for $error {
            fn throttling_reasons(&self) -> &[ThrottlingReason] {
                &[]
            }
        })+
    };
}

without_throttling_reasons!(
    DescribeTableError,
    QueryError,
    BatchGetItemError,
    GetItemError,
    DeleteItemError,
    ScanError,
    TransactWriteItemsError,
    UpdateItemError
);

/// The error for a response that is not from DynamoDB. The SDK accepts any 200 without a body. Only DynamoDB's
/// responses have a request id; those of a proxy or a captive portal do not.
pub(super) fn not_from_dynamodb() -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unavailable,
        detail: "HTTP 200 without what DynamoDB always sends; something other than DynamoDB responded".to_owned(),
    }
}

pub(super) fn answered(answer: &impl RequestId) -> Result<(), StoreError> {
    answer.request_id().map(|_| ()).ok_or_else(not_from_dynamodb)
}

/// Returns whether the condition of a write was met.
pub(super) fn changed<T: RequestId, E: CallError>(result: Result<T, SdkError<E>>) -> Result<Changed, StoreError> {
    match result {
        Ok(answer) => answered(&answer).map(|()| Changed::Applied),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(Changed::Refused),
        Err(error) => Err(failed(&error)),
    }
}

/// Returns the read units of an answer. The SDK takes an empty body for an answer without items, so an answer counts only
/// with the consumed capacity that every read asks for.
pub(super) fn read_units(answer: &impl RequestId, capacity: Option<&ConsumedCapacity>) -> Result<f64, StoreError> {
    let units = capacity.and_then(ConsumedCapacity::capacity_units).filter(|_| answer.request_id().is_some());
    units.ok_or_else(not_from_dynamodb)
}

fn kind<E: CallError>(error: &SdkError<E>) -> StoreErrorKind {
    if lacks_file_descriptors(error) {
        return StoreErrorKind::OpenFiles;
    }
    match error {
        SdkError::ServiceError(response) => of_response(response.err(), response.raw().status().as_u16()),
        error if lacks_credentials(error) => StoreErrorKind::Credentials,
        // The SDK could not build the request. No scan can cause that.
        SdkError::ConstructionFailure(_) => StoreErrorKind::Misconfigured,
        // For example: connection refused or reset, unknown host, TLS failure, timeout, unreadable response.
        _ => StoreErrorKind::Unavailable,
    }
}

fn of_response(error: &impl CallError, status: u16) -> StoreErrorKind {
    let kind = error.code().and_then(|code| by_code(code, error.message().unwrap_or_default()));
    match kind.unwrap_or_else(|| by_status(status)) {
        StoreErrorKind::Throttled => throttling(error),
        kind => kind,
    }
}

/// Returns `HotKey` if every throttling reason concerns a key range. Any other reason concerns all writes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ThrottlingReason.html>
fn throttling(error: &impl CallError) -> StoreErrorKind {
    let reasons = error.throttling_reasons();
    let is_key_range = |reason: &ThrottlingReason| {
        reason.reason().is_some_and(|reason| reason.ends_with("KeyRangeThroughputExceeded"))
    };
    match !reasons.is_empty() && reasons.iter().all(is_key_range) {
        true => StoreErrorKind::HotKey,
        false => StoreErrorKind::Throttled,
    }
}

fn detail<E: CallError>(error: &SdkError<E>) -> String {
    let SdkError::ServiceError(response) = error else { return cause(error) };
    match error.code() {
        Some(code) => format!("{code}: {}", error.message().unwrap_or("no message")),
        None => format!("HTTP {} without a DynamoDB error code", response.raw().status().as_u16()),
    }
}

/// Returns whether the cause is EMFILE or ENFILE. Their numbers are the same on every Unix, and `std::io` has no
/// `ErrorKind` for them.
fn lacks_file_descriptors(error: &(dyn Error + 'static)) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    let mut chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.any(|error| {
        let os_error = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        matches!(os_error, Some(ENFILE | EMFILE))
    })
}

/// Returns whether the request failed for want of credentials. The SDK reports that only as a private cause, so this
/// searches the text of the whole chain.
pub(super) fn lacks_credentials<E: Error + 'static>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => {
            DisplayErrorContext(error).to_string().to_lowercase().contains("credentials")
        }
        _ => false,
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
    use aws_sdk_dynamodb::config::http::HttpResponse;
    use aws_sdk_dynamodb::error::ErrorMetadata;
    use aws_sdk_dynamodb::types::AttributeValue;
    use aws_sdk_dynamodb::types::error::{RequestLimitExceeded, ThrottlingException};

    use super::*;

    fn row(timestamp: AttributeValue) -> Item {
        Item::from([(TIMESTAMP.to_owned(), timestamp)])
    }

    fn number(text: &str) -> Item {
        row(AttributeValue::N(text.to_owned()))
    }

    #[test]
    fn every_code_is_listed_once_and_documented() {
        let page = include_str!("../../docs/errors.md");
        let codes: Vec<_> = CODES.iter().flat_map(|(_, codes)| *codes).collect();
        for code in &codes {
            assert!(page.contains(&format!("`{code}`")) || page.contains(&format!("`{code}Exception`")), "{code}");
            assert_eq!(codes.iter().filter(|other| other == &code).count(), 1, "{code}");
        }
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

    #[test]
    fn a_write_without_a_response_may_be_retried() {
        for error in [
            SdkError::<PutItemError>::timeout_error("no answer"),
            SdkError::response_error("cut short", HttpResponse::new(200.try_into().unwrap(), "".into())),
        ] {
            assert_eq!(failed(&error).kind, StoreErrorKind::Unavailable);
        }
    }

    #[test]
    fn a_known_code_decides_the_kind_and_otherwise_the_status_does() {
        let kind = |code: &str| by_code(code, "");
        assert_eq!(kind("ThrottlingException"), Some(StoreErrorKind::Throttled));
        assert_eq!(kind("Throttling"), Some(StoreErrorKind::Throttled));
        assert_eq!(kind("AccessDeniedException"), Some(StoreErrorKind::Permission));
        assert_eq!(kind("ResourceNotFoundException"), Some(StoreErrorKind::MissingTable));
        assert_eq!(kind("ValidationException"), Some(StoreErrorKind::Refused));
        assert_eq!(kind("NeverHeardOfException"), None);
        let expired = "Signature expired: 20250101T000000Z is now earlier than 20250101T000500Z";
        assert_eq!(by_code("InvalidSignatureException", expired), Some(StoreErrorKind::Clock));
        for (status, expected) in [
            (200, StoreErrorKind::Unavailable),
            (400, StoreErrorKind::Misconfigured),
            (413, StoreErrorKind::Refused),
            (429, StoreErrorKind::Throttled),
            (503, StoreErrorKind::Unavailable),
        ] {
            assert_eq!(by_status(status), expected, "{status}");
        }
    }

    fn bad_request<E>(error: E) -> SdkError<E> {
        SdkError::service_error(error, HttpResponse::new(400.try_into().unwrap(), "".into()))
    }

    #[test]
    fn a_throttled_batch_is_a_hot_key_only_if_every_reason_is_a_key_range() {
        const KEY_RANGE: &str = "TableWriteKeyRangeThroughputExceeded";
        for (reasons, expected) in [
            (&[KEY_RANGE][..], StoreErrorKind::HotKey),
            (&[KEY_RANGE, "TableWriteAccountLimitExceeded"], StoreErrorKind::Throttled),
            (&[], StoreErrorKind::Throttled),
        ] {
            let reasons = reasons.iter().map(|reason| ThrottlingReason::builder().reason(*reason).build());
            let reasons = Some(reasons.collect::<Vec<_>>());
            let meta = |code| ErrorMetadata::builder().code(code).build();
            let throttling = ThrottlingException::builder().set_throttling_reasons(reasons.clone());
            let throttling = throttling.meta(meta("ThrottlingException")).build();
            let limit = RequestLimitExceeded::builder().set_throttling_reasons(reasons.clone());
            let limit = limit.meta(meta("RequestLimitExceeded")).build();
            for error in [
                BatchExecuteStatementError::ThrottlingException(throttling),
                BatchExecuteStatementError::RequestLimitExceeded(limit),
            ] {
                assert_eq!(failed(&bad_request(error)).kind, expected, "{reasons:?}");
            }
        }
    }

    #[test]
    fn the_detail_of_an_error_response_has_its_code_and_message_or_its_status() {
        let meta = ErrorMetadata::builder;
        for (meta, detail) in [
            (meta().code("AccessDeniedException").message("not authorized"), "AccessDeniedException: not authorized"),
            (meta().code("AccessDeniedException"), "AccessDeniedException: no message"),
            (meta(), "HTTP 400 without a DynamoDB error code"),
        ] {
            assert_eq!(failed(&bad_request(PutItemError::generic(meta.build()))).detail, detail);
        }
    }
}
