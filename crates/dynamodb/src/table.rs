//! Describes and waits for tables, and lets their items expire.

use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    KeySchemaElement, TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use tokio::time::sleep;

use crate::client::Problem;

/// The attribute by which items expire, in Unix seconds.
pub const EXPIRES_AT: &str = "expires_at";
/// The SDK itself waits forever for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(60);
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);

pub async fn wait_until_active(client: &Client, table: &str) -> Result<TableDescription, Problem> {
    let is_created = |table: &TableDescription| table.table_status() != Some(&TableStatus::Creating);
    wait_until(client, table, "creating it", is_created).await
}

/// Waits until the description fulfils the condition. `doing` completes the sentence "DynamoDB is still …".
pub async fn wait_until(
    client: &Client,
    table: &str,
    doing: &str,
    condition: impl Fn(&TableDescription) -> bool,
) -> Result<TableDescription, Problem> {
    let wait = async {
        loop {
            let description = describe(client, table).await?;
            if condition(&description) {
                return Ok(description);
            }
            sleep(POLL_INTERVAL).await;
        }
    };
    let timed_out = || Err(Problem::Other(format!("DynamoDB is still {doing} after {} s", ACTIVE_TIMEOUT.as_secs())));
    tokio::time::timeout(ACTIVE_TIMEOUT, wait).await.unwrap_or_else(|_| timed_out())
}

/// Lets items expire by `expires_at`. Returns whether they did not before.
pub async fn enable_expiry(client: &Client, table: &str) -> Result<bool, Problem> {
    if has_expiry(client, table).await? {
        return Ok(false);
    }
    let expiry = built(TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRES_AT).build())?;
    let request = client.update_time_to_live().table_name(table).time_to_live_specification(expiry);
    match within_timeout(request.send()).await {
        Ok(_) => Ok(true),
        // If two processes enable it concurrently, DynamoDB refuses the second request.
        Err(error) if error.code() == Some("ValidationException") && has_expiry(client, table).await? => Ok(false),
        Err(error) => Err(Problem::of(&error)),
    }
}

/// Returns whether items expire. Another attribute than `expires_at` does not fit.
pub async fn has_expiry(client: &Client, table: &str) -> Result<bool, Problem> {
    let described = within_timeout(client.describe_time_to_live().table_name(table).send()).await;
    let described = described.map_err(|error| Problem::of(&error))?;
    let Some(expiry) = described.time_to_live_description() else { return Ok(false) };
    let is_enabled =
        matches!(expiry.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
    match expiry.attribute_name() {
        Some(name) if is_enabled && name != EXPIRES_AT => {
            Err(Problem::DoesNotFit(format!("its items expire by the attribute {name}; expected {EXPIRES_AT}")))
        }
        _ => Ok(is_enabled),
    }
}

pub async fn describe(client: &Client, table: &str) -> Result<TableDescription, Problem> {
    let described = within_timeout(client.describe_table().table_name(table).send()).await;
    described
        .map_err(|error| Problem::of(&error))?
        .table
        .ok_or_else(|| Problem::Other("DynamoDB returned no description of it".to_owned()))
}

pub async fn within_timeout<T, E>(request: impl Future<Output = Result<T, SdkError<E>>>) -> Result<T, SdkError<E>> {
    match tokio::time::timeout(RESPONSE_TIMEOUT, request).await {
        Ok(result) => result,
        Err(_) => Err(SdkError::timeout_error(format!("no answer within {} s", RESPONSE_TIMEOUT.as_secs()))),
    }
}

/// Describes a key, e.g. `HASH ip (S), RANGE port (N)`.
pub fn key_text<T: fmt::Display>(keys: &[KeySchemaElement], type_of: impl Fn(&str) -> T) -> String {
    let describe = |key: &KeySchemaElement| {
        let name = key.attribute_name();
        format!("{} {name} ({})", key.key_type().as_str(), type_of(name))
    };
    keys.iter().map(describe).collect::<Vec<_>>().join(", ")
}

/// Returns the type that the table requires of a key attribute.
pub fn attribute_type<'a>(table: &'a TableDescription, name: &str) -> &'a str {
    let definition = table.attribute_definitions().iter().find(|definition| definition.attribute_name() == name);
    definition.map_or("?", |definition| definition.attribute_type().as_str())
}

pub fn built<T>(result: Result<T, BuildError>) -> Result<T, Problem> {
    result.map_err(|error| Problem::Other(error.to_string()))
}
