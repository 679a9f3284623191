//! Transactions: what a cancelled one tells of its items, and the repetition of one that met another one.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};

use crate::Item;
use crate::error::{CallError, StoreError, StoreErrorKind, answered, by_code, failed};

const REPEAT_FOR: Duration = Duration::from_secs(10);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_BACKOFF: Duration = Duration::from_millis(25);
const MAX_BACKOFF: Duration = Duration::from_millis(800);

const CONDITION_FAILED: &str = "ConditionalCheckFailed";
const NONE: &str = "None";

/// What a cancelled transaction tells of the condition of one item.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked {
    /// DynamoDB names no failure of it.
    Held,
    /// It failed for this image of the item. Without an image there is no item, if the image was asked for.
    Unmet(Option<Item>),
}

/// Applies all changes or none, and returns whether each condition was met. Repeats a transaction that met another
/// one or has no answer.
pub async fn transact(client: &Client, items: Vec<TransactWriteItem>) -> Result<bool, StoreError> {
    // With the token of the first attempt, a repeat of an attempt that was applied changes nothing and succeeds.
    let token = format!("{:032x}", rand::random::<u128>());
    let deadline = Instant::now() + REPEAT_FOR;
    let mut bound = FIRST_BACKOFF;
    loop {
        let request = client.transact_write_items().set_transact_items(Some(items.clone()));
        let request = request.client_request_token(&token);
        let attempt = timeout(ATTEMPT_TIMEOUT, Box::pin(request.send()));
        let result = match attempt.await {
            Ok(Ok(answer)) => answered(&answer).map(|()| true),
            Ok(Err(error)) => cancelled(&error).map(|_| false),
            Err(_) => Err(StoreError::no_answer(ATTEMPT_TIMEOUT)),
        };
        let wait = rand::rng().random_range(Duration::ZERO..=bound);
        match result {
            Err(error) if is_transient(error.kind) && Instant::now() + wait < deadline => sleep(wait).await,
            result => return result,
        }
        bound = MAX_BACKOFF.min(bound * 2);
    }
}

fn is_transient(kind: StoreErrorKind) -> bool {
    use StoreErrorKind::{Conflict, HotKey, Throttled, Unavailable};
    matches!(kind, Conflict | Unavailable | Throttled | HotKey)
}

/// The error of a transaction, with a reason for each item if DynamoDB cancelled it.
pub trait TransactionError: CallError + Sized {
    fn reasons(&self) -> Option<&[CancellationReason]>;
}

impl TransactionError for TransactWriteItemsError {
    fn reasons(&self) -> Option<&[CancellationReason]> {
        match self {
            TransactWriteItemsError::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
            _ => None,
        }
    }
}

impl TransactionError for TransactGetItemsError {
    fn reasons(&self) -> Option<&[CancellationReason]> {
        match self {
            TransactGetItemsError::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
            _ => None,
        }
    }
}

/// Returns for each item whether its condition held, if failed conditions are the only reason of a cancellation.
/// Otherwise returns the error.
///
/// A conflict or a throttled item hides what would have become of its condition. So the transaction is no refusal then, even
/// if other conditions failed.
pub fn cancelled<E: TransactionError>(error: &SdkError<E>) -> Result<Vec<Checked>, StoreError> {
    let Some(reasons) = error.as_service_error().and_then(TransactionError::reasons) else {
        return Err(failed(error));
    };
    match kind_of(reasons) {
        None => Ok(reasons.iter().map(checked).collect()),
        Some(kind) => Err(StoreError { kind, detail: failed(error).detail }),
    }
}

fn checked(reason: &CancellationReason) -> Checked {
    match reason.code() {
        Some(CONDITION_FAILED) => Checked::Unmet(reason.item().cloned()),
        _ => Checked::Held,
    }
}

/// Returns the kind of error that the reasons mean, or `None` if they are failed conditions alone.
fn kind_of(reasons: &[CancellationReason]) -> Option<StoreErrorKind> {
    let codes = || reasons.iter().map(|reason| reason.code().unwrap_or(NONE));
    let others = codes().filter(|code| ![CONDITION_FAILED, NONE].contains(code));
    // An unknown code may be one that no repetition helps against.
    let kinds = others.map(|code| by_code(code, "").unwrap_or(StoreErrorKind::Misconfigured));
    let worst = kinds.min_by_key(|kind| rank(*kind));
    let is_refused = codes().any(|code| code == CONDITION_FAILED);
    // DynamoDB gives no reason at all if it cancelled a transaction for the sake of another one.
    worst.or((!is_refused).then_some(StoreErrorKind::Conflict))
}

/// Sorts the kinds: first those that a repetition cannot help against, and last the one that passes soonest.
fn rank(kind: StoreErrorKind) -> u8 {
    use StoreErrorKind::{
        Clock, Conflict, Credentials, ForeignRow, HotKey, Misconfigured, MissingTable, OpenFiles, Permission, Refused,
        Throttled, Unavailable,
    };
    match kind {
        Refused | ForeignRow => 0,
        Credentials | Clock | Permission | MissingTable | Misconfigured => 1,
        Unavailable | OpenFiles => 2,
        Throttled | HotKey => 3,
        Conflict => 4,
    }
}

/// The error for an item of a transaction that lacks a part.
pub fn incomplete(error: &BuildError) -> StoreError {
    StoreError { kind: StoreErrorKind::Refused, detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::http::HttpResponse;
    use aws_sdk_dynamodb::error::ErrorMetadata;
    use aws_sdk_dynamodb::types::AttributeValue;
    use aws_sdk_dynamodb::types::error::{TransactionCanceledException, TransactionInProgressException};

    use super::*;

    fn bad_request(error: TransactWriteItemsError) -> SdkError<TransactWriteItemsError> {
        SdkError::service_error(error, HttpResponse::new(400.try_into().unwrap(), "".into()))
    }

    fn image() -> Item {
        Item::from([("id".to_owned(), AttributeValue::S("7".to_owned()))])
    }

    /// A condition that failed has an image.
    fn answer_to(codes: &[&str]) -> Result<Vec<Checked>, StoreError> {
        let reason = |code: &&str| {
            let item = (*code == CONDITION_FAILED).then(image);
            CancellationReason::builder().code(*code).set_item(item).build()
        };
        let meta = ErrorMetadata::builder().code("TransactionCanceledException").message("cancelled").build();
        let cancelled_by = TransactionCanceledException::builder().meta(meta);
        let cancelled_by = cancelled_by.set_cancellation_reasons(Some(codes.iter().map(reason).collect()));
        let error = TransactWriteItemsError::TransactionCanceledException(cancelled_by.build());
        cancelled(&bad_request(error))
    }

    #[test]
    fn failed_conditions_alone_are_told_with_their_images() {
        let unmet = || Checked::Unmet(Some(image()));
        assert_eq!(answer_to(&["ConditionalCheckFailed"]), Ok(vec![unmet()]));
        assert_eq!(answer_to(&["None", "ConditionalCheckFailed"]), Ok(vec![Checked::Held, unmet()]));
    }

    #[test]
    fn a_condition_that_failed_without_an_image_failed_for_no_item() {
        let reason = CancellationReason::builder().code(CONDITION_FAILED).build();
        assert_eq!(checked(&reason), Checked::Unmet(None));
    }

    #[test]
    fn any_other_reason_makes_the_transaction_an_error() {
        use StoreErrorKind::{Conflict, Misconfigured, Permission, Refused, Throttled, Unavailable};
        let table: [(&[&str], StoreErrorKind); 15] = [
            (&[], Conflict),
            (&["None"], Conflict),
            (&["None", "None"], Conflict),
            (&["TransactionConflict", "None"], Conflict),
            (&["TransactionConflict", "ConditionalCheckFailed"], Conflict),
            (&["ConditionalCheckFailed", "TransactionConflict", "None"], Conflict),
            (&["ProvisionedThroughputExceeded", "ConditionalCheckFailed"], Throttled),
            (&["ThrottlingError", "None"], Throttled),
            (&["TransactionConflict", "ThrottlingError"], Throttled),
            (&["TransactionConflict", "ValidationError"], Refused),
            (&["ConditionalCheckFailed", "ItemCollectionSizeLimitExceeded"], Refused),
            (&["AccessDenied", "ThrottlingError"], Permission),
            (&["NeverHeardOf", "ConditionalCheckFailed"], Misconfigured),
            (&["NeverHeardOf", "ValidationError"], Refused),
            (&["InternalServerError", "TransactionConflict"], Unavailable),
        ];
        for (codes, kind) in table {
            assert_eq!(answer_to(codes).map_err(|error| error.kind), Err(kind), "{codes:?}");
        }
    }

    #[test]
    fn an_error_of_the_whole_call_has_no_reasons() {
        let meta = ErrorMetadata::builder().code("TransactionInProgressException").build();
        let error = TransactionInProgressException::builder().meta(meta).build();
        let error = bad_request(TransactWriteItemsError::TransactionInProgressException(error));
        assert_eq!(cancelled(&error).map_err(|error| error.kind), Err(StoreErrorKind::Conflict));
        let error = SdkError::<TransactWriteItemsError>::timeout_error("no answer");
        assert_eq!(cancelled(&error).map_err(|error| error.kind), Err(StoreErrorKind::Unavailable));
    }
}
