//! Transactions, repeated while another one changes the same items.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::TransactWriteItem;
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{StoreError, StoreErrorKind, answered, by_code, failed};

const REPEAT_FOR: Duration = Duration::from_secs(10);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_BACKOFF: Duration = Duration::from_millis(25);
const MAX_BACKOFF: Duration = Duration::from_millis(800);

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
            Ok(Err(error)) => cancelled(&error),
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

/// Returns `false` if the condition of an item was not met, or the error.
pub fn cancelled(error: &SdkError<TransactWriteItemsError>) -> Result<bool, StoreError> {
    let reasons = match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled.cancellation_reasons(),
        _ => &[],
    };
    let codes = || reasons.iter().filter_map(|reason| reason.code());
    if codes().any(|code| code == "ConditionalCheckFailed") {
        return Ok(false);
    }
    match codes().find_map(|code| by_code(code, "")) {
        Some(kind) => Err(StoreError { kind, detail: failed(error).detail }),
        None => Err(failed(error)),
    }
}

/// The error for an item of a transaction that lacks a part.
pub fn incomplete(error: &BuildError) -> StoreError {
    StoreError { kind: StoreErrorKind::Refused, detail: error.to_string() }
}
