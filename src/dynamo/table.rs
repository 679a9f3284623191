//! The table: whether it fits, and how it is created.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType, TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use tokio::time::sleep;

use super::client::Problem;
use super::item::{EXPIRES_AT, KEY};

/// The SDK itself waits for an answer without end.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const ACTIVE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether the table is there and its key fits.
pub async fn check(client: &Client, table: &str) -> Result<(), Problem> {
    let description = describe(client, table).await?;
    fits(&description)
}

/// Creates the table of scans if it is missing: key `pk`, on demand, a stream of new and old images, and expiry on
/// `expires_at`. True when it was missing. Safe to repeat and to run twice at once.
pub async fn create(client: &Client, table: &str) -> Result<bool, Problem> {
    let created = match describe(client, table).await {
        Ok(_) => false,
        Err(Problem::NotFound) => create_missing(client, table).await?,
        Err(problem) => return Err(problem),
    };
    let description = active(client, table).await?;
    fits(&description)?;
    turn_on_expiry(client, table).await?;
    Ok(created)
}

async fn create_missing(client: &Client, table: &str) -> Result<bool, Problem> {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let request = client
        .create_table()
        .table_name(table)
        .attribute_definitions(built(
            AttributeDefinition::builder().attribute_name(KEY).attribute_type(ScalarAttributeType::S).build(),
        )?)
        .key_schema(built(KeySchemaElement::builder().attribute_name(KEY).key_type(KeyType::Hash).build())?)
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(built(stream.build())?);
    match answer(request.send()).await {
        Ok(_) => Ok(true),
        // Somebody else made it since we looked.
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(false),
        Err(error) => Err(Problem::of(&error)),
    }
}

async fn active(client: &Client, table: &str) -> Result<TableDescription, Problem> {
    let wait = async {
        loop {
            let description = describe(client, table).await?;
            match description.table_status() {
                Some(TableStatus::Creating) => sleep(LOOK_EVERY).await,
                _ => return Ok(description),
            }
        }
    };
    let late = || Err(Problem::Other(format!("it is still being created after {} s", ACTIVE_WITHIN.as_secs())));
    tokio::time::timeout(ACTIVE_WITHIN, wait).await.unwrap_or_else(|_| late())
}

async fn turn_on_expiry(client: &Client, table: &str) -> Result<(), Problem> {
    if expiry_is_on(client, table).await? {
        return Ok(());
    }
    let expiry = built(TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRES_AT).build())?;
    let request = client.update_time_to_live().table_name(table).time_to_live_specification(expiry);
    match answer(request.send()).await {
        Ok(_) => Ok(()),
        // Turning it on twice at once is an error to the second.
        Err(error) if error.code() == Some("ValidationException") && expiry_is_on(client, table).await? => Ok(()),
        Err(error) => Err(Problem::of(&error)),
    }
}

async fn expiry_is_on(client: &Client, table: &str) -> Result<bool, Problem> {
    let described = answer(client.describe_time_to_live().table_name(table).send()).await;
    let described = described.map_err(|error| Problem::of(&error))?;
    let Some(expiry) = described.time_to_live_description() else { return Ok(false) };
    let on = matches!(expiry.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
    match expiry.attribute_name() {
        Some(name) if on && name != EXPIRES_AT => {
            Err(Problem::DoesNotFit(format!("its records expire by {name}, and ours carry {EXPIRES_AT}")))
        }
        _ => Ok(on),
    }
}

async fn describe(client: &Client, table: &str) -> Result<TableDescription, Problem> {
    let described = answer(client.describe_table().table_name(table).send()).await;
    described
        .map_err(|error| Problem::of(&error))?
        .table
        .ok_or_else(|| Problem::Other("DynamoDB described no table".to_owned()))
}

async fn answer<T, E>(request: impl Future<Output = Result<T, SdkError<E>>>) -> Result<T, SdkError<E>> {
    match tokio::time::timeout(ANSWER_WITHIN, request).await {
        Ok(answer) => answer,
        Err(_) => Err(SdkError::timeout_error(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
    }
}

fn fits(table: &TableDescription) -> Result<(), Problem> {
    let keys: Vec<String> = table
        .key_schema()
        .iter()
        .map(|key| {
            let name = key.attribute_name();
            let of_name = |definition: &&AttributeDefinition| definition.attribute_name() == name;
            let definition = table.attribute_definitions().iter().find(of_name);
            let kind = definition.map_or("?", |definition| definition.attribute_type().as_str());
            format!("{} {name} ({kind})", key.key_type().as_str())
        })
        .collect();
    if keys == [format!("HASH {KEY} (S)")] {
        return Ok(());
    }
    Err(Problem::DoesNotFit(format!("its key is {}, and scans need HASH {KEY} (S) alone", keys.join(", "))))
}

fn built<T>(result: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Result<T, Problem> {
    result.map_err(|error| Problem::Other(error.to_string()))
}
