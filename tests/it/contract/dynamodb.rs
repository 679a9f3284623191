//! DynamoDB, through AWS's client.

mod batch;
mod condition;
mod deliveries;
mod history;
mod index;
mod limits;
mod scan;
mod store;
mod subscriptions;
mod table;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;

use crate::support::dynamo::{Dynamo, Item};

type PutResult = Result<PutItemOutput, SdkError<PutItemError>>;

/// The result of a conditional write.
#[derive(Debug, PartialEq)]
enum Put {
    Stored,
    /// The condition failed. Contains the stored row.
    Rejected(Option<Item>),
}

/// Writes `item` if its row is absent or older, as the program does.
async fn put_if_newer(dynamo: &Dynamo, table: &str, item: Item) -> Put {
    let put = dynamo
        .client
        .put_item()
        .table_name(table)
        .condition_expression("attribute_not_exists(pk) OR #ts < :ts")
        .expression_attribute_names("#ts", "timestamp")
        .expression_attribute_values(":ts", item["timestamp"].clone())
        .set_item(Some(item))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match put.send().await {
        Ok(_) => Put::Stored,
        Err(error) => match error.into_service_error() {
            PutItemError::ConditionalCheckFailedException(failed) => Put::Rejected(failed.item),
            other => panic!("the condition was not evaluated: {other:?}"),
        },
    }
}

/// Writes `item` without a condition.
async fn put(dynamo: &Dynamo, table: &str, item: Item) -> PutResult {
    dynamo.client.put_item().table_name(table).set_item(Some(item)).send().await
}

/// Returns the service's error code of a failed call.
fn code<T, E: ProvideErrorMetadata>(result: &Result<T, SdkError<E>>) -> Option<&str> {
    result.as_ref().err().and_then(|error| error.code())
}
