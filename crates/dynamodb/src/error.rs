//! Classifies DynamoDB's response to a call, or its absence. Pure. `docs/errors.md` describes the kinds for operators.

use std::error::Error;
use std::io;
use std::time::Duration;

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
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ConsumedCapacity, ThrottlingReason};
use ops::cause;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    pub kind: StoreErrorKind,
    pub detail: String,
}

impl StoreError {
    /// Returns the error of an attempt without an answer within this time.
    pub fn no_answer(within: Duration) -> StoreError {
        StoreError { kind: StoreErrorKind::Unavailable, detail: format!("no answer within {} s", within.as_secs()) }
    }
}

/// The kind of a failure. The caller decides what follows from each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// A timeout, a failed connection, or a fault of the service. The write may have been applied.
    Unavailable,
    /// No file descriptor is left for another connection.
    OpenFiles,
    /// The table or the account is throttled.
    Throttled,
    /// The key range of this key is throttled: the key is hot, or its partition is at its limit.
    HotKey,
    /// Another write of this record is in progress.
    Conflict,
    /// The credentials are missing, expired or unknown to the service.
    Credentials,
    /// The clocks of this machine and of the service differ too much.
    Clock,
    /// The identity may not write to the table, or may not use the key that encrypts it.
    Permission,
    /// The table does not exist.
    MissingTable,
    /// Another error that a person must fix, e.g. a wrong endpoint or an unknown answer.
    Misconfigured,
    /// The item was refused. One answer does not tell whether the item or the table is at fault.
    Refused,
    /// A program found a row with its key that it did not write.
    ForeignRow,
}

impl StoreErrorKind {
    pub const ALL: [StoreErrorKind; 12] = [
        StoreErrorKind::Unavailable,
        StoreErrorKind::OpenFiles,
        StoreErrorKind::Throttled,
        StoreErrorKind::HotKey,
        StoreErrorKind::Conflict,
        StoreErrorKind::Credentials,
        StoreErrorKind::Clock,
        StoreErrorKind::Permission,
        StoreErrorKind::MissingTable,
        StoreErrorKind::Misconfigured,
        StoreErrorKind::Refused,
        StoreErrorKind::ForeignRow,
    ];

    /// Returns its name in metrics, logs and traces.
    pub fn name(self) -> &'static str {
        match self {
            StoreErrorKind::Unavailable => "Unavailable",
            StoreErrorKind::OpenFiles => "OpenFiles",
            StoreErrorKind::Throttled => "Throttled",
            StoreErrorKind::HotKey => "HotKey",
            StoreErrorKind::Conflict => "Conflict",
            StoreErrorKind::Credentials => "Credentials",
            StoreErrorKind::Clock => "Clock",
            StoreErrorKind::Permission => "Permission",
            StoreErrorKind::MissingTable => "MissingTable",
            StoreErrorKind::Misconfigured => "Misconfigured",
            StoreErrorKind::Refused => "Refused",
            StoreErrorKind::ForeignRow => "ForeignRow",
        }
    }
}

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
pub fn by_code(code: &str, message: &str) -> Option<StoreErrorKind> {
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

/// Classifies an error of a whole call.
pub fn failed<E: CallError>(error: &SdkError<E>) -> StoreError {
    StoreError { kind: kind(error), detail: detail(error) }
}

/// The error of an operation on the table.
pub trait CallError: ProvideErrorMetadata + Error + 'static {
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
    TransactGetItemsError,
    TransactWriteItemsError,
    UpdateItemError
);

/// The error for a response that is not from DynamoDB. The SDK accepts any 200 without a body. Only DynamoDB's
/// responses have a request id; those of a proxy or a captive portal do not.
pub fn not_from_dynamodb() -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unavailable,
        detail: "HTTP 200 without what DynamoDB always sends; something other than DynamoDB responded".to_owned(),
    }
}

pub fn answered(answer: &impl RequestId) -> Result<(), StoreError> {
    answer.request_id().map(|_| ()).ok_or_else(not_from_dynamodb)
}

/// Returns whether the condition of a write was met.
pub fn applied<T: RequestId, E: CallError>(result: Result<T, SdkError<E>>) -> Result<bool, StoreError> {
    match result {
        Ok(answer) => answered(&answer).map(|()| true),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

/// Returns the read units of an answer. The SDK takes an empty body for an answer without items, so an answer counts only
/// with the consumed capacity that every read asks for.
pub fn read_units(answer: &impl RequestId, capacity: Option<&ConsumedCapacity>) -> Result<f64, StoreError> {
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
pub(crate) fn lacks_credentials<E: Error + 'static>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => {
            DisplayErrorContext(error).to_string().to_lowercase().contains("credentials")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::http::HttpResponse;
    use aws_sdk_dynamodb::error::ErrorMetadata;
    use aws_sdk_dynamodb::types::error::{RequestLimitExceeded, ThrottlingException};

    use super::*;

    #[test]
    fn all_lists_the_kinds_in_the_order_of_their_numbers() {
        assert!(StoreErrorKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }

    #[test]
    fn every_code_is_listed_once_and_documented() {
        let page = include_str!("../../../docs/errors.md");
        let codes: Vec<_> = CODES.iter().flat_map(|(_, codes)| *codes).collect();
        for code in &codes {
            assert!(page.contains(&format!("`{code}`")) || page.contains(&format!("`{code}Exception`")), "{code}");
            assert_eq!(codes.iter().filter(|other| other == &code).count(), 1, "{code}");
        }
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
