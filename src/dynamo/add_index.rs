//! Adds an index to an existing table, and waits until DynamoDB has built it.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate, TableDescription,
};
use dynamodb::{Problem, built, describe, within_timeout};
use tokio::time::{Instant, sleep};

use super::index::{IndexState, attributes, is_changing, key_schema, projection, state};
use super::table::without_index_support;
use crate::hosts::Index;

const FIRST_POLL: Duration = Duration::from_millis(100);
const SLOWEST_POLL: Duration = Duration::from_secs(2);
/// Building takes hours on a large table. A short outage must not end the wait.
const MAX_OUTAGE: Duration = Duration::from_secs(60);

/// What `setup` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// DynamoDB writes the existing records to the index.
    Building,
    /// DynamoDB deletes an index of this name.
    Deleting,
    /// DynamoDB changes the table or another index, and allows one such change at a time.
    OtherChange,
}

/// The result of adding an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    Created,
    Found,
    /// An index of this name has another shape, and was left unchanged.
    Differs(String),
}

/// Adds the index to the table unless it exists, and returns when it can be read. Calls `report` before each wait.
/// Safe to repeat, to stop and to run concurrently: DynamoDB continues to build the index.
pub async fn add_index(
    client: &Client,
    table: &str,
    index: Index,
    mut report: impl FnMut(Wait),
) -> Result<Added, Problem> {
    let (mut result, mut poll) = (Added::Found, FIRST_POLL);
    loop {
        let description = describe_patiently(client, table).await?;
        let wait = match state(index, &description) {
            IndexState::Ready => return Ok(result),
            IndexState::Unusable(why) | IndexState::Costly(why) => return Ok(Added::Differs(why)),
            IndexState::Building => Wait::Building,
            IndexState::Deleting => Wait::Deleting,
            IndexState::Missing if is_changing(&description) => Wait::OtherChange,
            IndexState::Missing => match request(client, table, index, &description).await? {
                true => {
                    result = Added::Created;
                    continue;
                }
                false => Wait::OtherChange,
            },
        };
        report(wait);
        sleep(poll).await;
        poll = (poll * 2).min(SLOWEST_POLL);
    }
}

/// Asks for the index. Returns whether DynamoDB accepted that; if not, the next description shows why.
async fn request(client: &Client, table: &str, index: Index, found: &TableDescription) -> Result<bool, Problem> {
    let create = CreateGlobalSecondaryIndexAction::builder()
        .index_name(index.name())
        .set_key_schema(Some(built(key_schema(index))?))
        .projection(projection());
    let update = GlobalSecondaryIndexUpdate::builder().create(built(create.build())?).build();
    let is_new = |new: &AttributeDefinition| {
        !found.attribute_definitions().iter().any(|old| old.attribute_name() == new.attribute_name())
    };
    let new = built(attributes(index))?.into_iter().filter(is_new);
    let definitions = found.attribute_definitions().iter().cloned().chain(new).collect();
    let request = client.update_table().table_name(table).set_attribute_definitions(Some(definitions));
    match within_timeout(request.global_secondary_index_updates(update).send()).await {
        Ok(_) => Ok(true),
        Err(error) => match error.code() {
            // Another process changes the table, or another index is being created or deleted.
            Some("ResourceInUseException" | "LimitExceededException") => Ok(false),
            // Another process has created it since the description.
            Some("ValidationException") if error.message().is_some_and(|text| text.contains("already exists")) => {
                Ok(false)
            }
            _ => Err(without_index_support(&error, &[index])),
        },
    }
}

/// Describes the table, and tries again during a short outage.
async fn describe_patiently(client: &Client, table: &str) -> Result<TableDescription, Problem> {
    let began = Instant::now();
    loop {
        match describe(client, table).await {
            Err(Problem::Unreachable(_) | Problem::Other(_)) if began.elapsed() < MAX_OUTAGE => {
                sleep(Duration::from_secs(1)).await;
            }
            result => return result,
        }
    }
}
