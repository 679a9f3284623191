//! The table `Events` behind the ports of the processor. Leaves retries to the processor.

pub mod item;
pub mod reading;

use std::num::NonZeroU16;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, StreamViewType};
use delivery_table::millis;
use dynamodb::{Item, Problem, StoreError, StoreErrorKind, TableSpec, answered, failed, hash, range};
use webhooks::{Clock, SystemClock};

use crate::event::Event;
use crate::ports::{Events, Failure, Put};

use item::{CLIENT_ID, EVENT_KEY, event_item};

/// What this program needs of the table.
pub static SPEC: TableSpec = TableSpec {
    keys: &[hash(CLIENT_ID), range(EVENT_KEY)],
    index: None,
    expires: true,
    stream: Some(StreamViewType::NewImage),
};

/// The table of events.
#[derive(Debug, Clone)]
pub struct EventTable {
    client: Client,
    table: String,
    ttl: Option<Duration>,
    buckets: NonZeroU16,
}

impl EventTable {
    /// Events expire after `ttl`, counted from when they were stored: an event that waited in the queue for days must not
    /// expire at once. The events of one client are spread over `buckets`.
    pub fn new(client: Client, table: String, ttl: Option<Duration>, buckets: NonZeroU16) -> EventTable {
        EventTable { client, table, ttl, buckets }
    }

    /// A refusal may be the fault of a table that was replaced while this program runs. Then it is none of the event.
    async fn refused(&self, detail: String) -> Failure {
        match dynamodb::check_table(&self.client, &SPEC, &self.table).await {
            // The identity may not be allowed to describe the table. The table fitted at the start.
            Ok(_) | Err(Problem::Refused(_)) => Failure::Refused(detail),
            Err(problem) => Failure::Unavailable(format!("{detail}; the table: {problem}")),
        }
    }
}

impl Events for EventTable {
    async fn put(&self, event: &Event, is_direct: bool) -> Result<Put, Failure> {
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(event_item(event, is_direct, millis(SystemClock.now()), self.ttl, self.buckets)))
            .condition_expression("attribute_not_exists(client_id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        // The SDK's future is large, and most of them wait.
        let error = match Box::pin(request.send()).await {
            Ok(answer) => match answered(&answer) {
                Ok(()) => return Ok(Put::Stored),
                Err(error) => error,
            },
            Err(SdkError::ServiceError(response)) if is_condition(response.err()) => {
                let PutItemError::ConditionalCheckFailedException(failed) = response.into_err() else {
                    unreachable!("the guard has checked it")
                };
                return found(failed.item.as_ref(), event);
            }
            Err(error) => failed(&error),
        };
        let StoreError { kind, detail } = error;
        Err(if kind == StoreErrorKind::Refused { self.refused(detail).await } else { Failure::Unavailable(detail) })
    }
}

fn is_condition(error: &PutItemError) -> bool {
    matches!(error, PutItemError::ConditionalCheckFailedException(_))
}

/// Compares an event with the item that has its key.
fn found(item: Option<&Item>, event: &Event) -> Result<Put, Failure> {
    match item {
        Some(item) => Ok(item::compare(item, event)),
        None => Err(Failure::Unavailable("DynamoDB does not return the item that exists".to_owned())),
    }
}
