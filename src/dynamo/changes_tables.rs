//! The tables that `mini-scan changes` keeps, and the stream that it reads: creates what is missing, checks what exists,
//! and asks for permissions without changing anything.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType, TableDescription, TableStatus,
};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use tokio::time::sleep;

use super::client::{Problem, StreamsClient};
use super::item::Item;
use super::table::{
    POLL_INTERVAL, attribute_type, built, check_fit, describe, enable_expiry, has_expiry, key_text, wait_until,
    wait_until_active, within_timeout,
};

const MAX_ATTEMPTS: u32 = 5;

/// A table beside that of the scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangesTable {
    History,
    Leases,
}

/// The stream of the table of scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// It has the new and the old image of each change.
    Ready,
    Missing,
}

/// An action that the reader of changes needs on a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Put,
    Update,
    Delete,
    Query,
    Scan,
}

impl ChangesTable {
    fn keys(self) -> &'static [(&'static str, KeyType)] {
        match self {
            ChangesTable::History => &[("ip", KeyType::Hash), ("entry", KeyType::Range)],
            ChangesTable::Leases => &[("leaseKey", KeyType::Hash)],
        }
    }

    /// Leases never expire: a deleted lease reads its shard again.
    fn expires(self) -> bool {
        self == ChangesTable::History
    }

    pub fn permissions(self) -> &'static [Permission] {
        match self {
            ChangesTable::History => &[Permission::Put, Permission::Update, Permission::Delete, Permission::Query],
            ChangesTable::Leases => &[Permission::Scan, Permission::Put, Permission::Update, Permission::Delete],
        }
    }

    fn check_fit(self, table: &TableDescription) -> Result<(), Problem> {
        if table.table_status() == Some(&TableStatus::Deleting) {
            return Err(Problem::DoesNotFit("DynamoDB is deleting it".to_owned()));
        }
        let key = key_text(table.key_schema(), |name| attribute_type(table, name));
        let expected = key_text(&built(self.key_schema())?, |_| "S");
        if key == expected {
            return Ok(());
        }
        Err(Problem::DoesNotFit(format!("its key is {key}; expected {expected}")))
    }

    fn key_schema(self) -> Result<Vec<KeySchemaElement>, aws_sdk_dynamodb::error::BuildError> {
        let element = |(name, kind): &(&str, KeyType)| {
            KeySchemaElement::builder().attribute_name(*name).key_type(kind.clone()).build()
        };
        self.keys().iter().map(element).collect()
    }

    /// A key that no program writes, for requests that only ask for permission.
    fn unused_key(self) -> Item {
        self.keys().iter().map(|(name, _)| ((*name).to_owned(), AttributeValue::S("mini-scan check".into()))).collect()
    }
}

impl Permission {
    /// Returns the name of the action in a policy.
    pub fn action(self) -> &'static str {
        match self {
            Permission::Put => "dynamodb:PutItem",
            Permission::Update => "dynamodb:UpdateItem",
            Permission::Delete => "dynamodb:DeleteItem",
            Permission::Query => "dynamodb:Query",
            Permission::Scan => "dynamodb:Scan",
        }
    }
}

/// Creates the table if it is missing, and returns whether it was. Enables expiry on an existing history table. Safe to
/// repeat and to run concurrently.
pub async fn create_changes_table(client: &Client, kind: ChangesTable, name: &str) -> Result<bool, Problem> {
    let is_new = match describe(client, name).await {
        Ok(_) => false,
        Err(Problem::NotFound) => create_missing(client, kind, name).await?,
        Err(problem) => return Err(problem),
    };
    kind.check_fit(&wait_until_active(client, name).await?)?;
    if kind.expires() {
        enable_expiry(client, name).await?;
    }
    Ok(is_new)
}

async fn create_missing(client: &Client, kind: ChangesTable, name: &str) -> Result<bool, Problem> {
    let mut request = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for key in built(kind.key_schema())? {
        let attribute = AttributeDefinition::builder().attribute_name(key.attribute_name());
        request = request.attribute_definitions(built(attribute.attribute_type(ScalarAttributeType::S).build())?);
        request = request.key_schema(key);
    }
    match within_timeout(request.send()).await {
        Ok(_) => Ok(true),
        // Another process created it since the check.
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(false),
        Err(error) => Err(Problem::of(&error)),
    }
}

/// Checks that the table exists and that its key fits. Returns whether its items expire, as far as they should.
pub async fn check_changes_table(client: &Client, kind: ChangesTable, name: &str) -> Result<bool, Problem> {
    kind.check_fit(&describe(client, name).await?)?;
    if kind.expires() { has_expiry(client, name).await } else { Ok(true) }
}

/// Checks that the table has scans and looks for its stream. A stream without both images does not fit.
pub async fn check_stream(client: &Client, table: &str) -> Result<StreamState, Problem> {
    stream_of(&describe(client, table).await?)
}

/// Enables a stream of new and old images on the table of scans unless it has one. Returns whether it did. Safe to
/// repeat and to run concurrently.
pub async fn enable_stream(client: &Client, table: &str) -> Result<bool, Problem> {
    for attempts in 1.. {
        match try_to_enable_stream(client, table).await {
            // Another process enables it, or changes the table.
            Err(Problem::Other(_)) if attempts < MAX_ATTEMPTS => sleep(POLL_INTERVAL).await,
            result => return result,
        }
    }
    unreachable!("the last attempt returns")
}

async fn try_to_enable_stream(client: &Client, table: &str) -> Result<bool, Problem> {
    if stream_of(&wait_until_active(client, table).await?)? == StreamState::Ready {
        return Ok(false);
    }
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let request = client.update_table().table_name(table).stream_specification(built(stream.build())?);
    within_timeout(request.send()).await.map_err(|error| Problem::of(&error))?;
    let is_ready = |table: &TableDescription| table.table_status() == Some(&TableStatus::Active);
    wait_until(client, table, "enabling its stream", is_ready).await?;
    Ok(true)
}

fn stream_of(table: &TableDescription) -> Result<StreamState, Problem> {
    check_fit(table).map_err(Problem::DoesNotFit)?;
    let Some(stream) = table.stream_specification().filter(|stream| stream.stream_enabled()) else {
        return Ok(StreamState::Missing);
    };
    match stream.stream_view_type() {
        Some(StreamViewType::NewAndOldImages) => Ok(StreamState::Ready),
        other => {
            let other = other.map_or("an unknown content", StreamViewType::as_str);
            Err(Problem::DoesNotFit(format!("its stream has {other}; expected {}", StreamViewType::NewAndOldImages)))
        }
    }
}

/// Asks for a permission on a table. A write has a condition that no item fulfils, so nothing changes, and costs one
/// write unit.
pub async fn check_permission(
    client: &Client,
    kind: ChangesTable,
    name: &str,
    permission: Permission,
) -> Result<(), Problem> {
    let key = kind.unused_key();
    let hash = kind.keys()[0].0;
    let never = format!("attribute_exists({hash}) AND attribute_not_exists({hash})");
    match permission {
        Permission::Put => {
            let put = client.put_item().table_name(name).set_item(Some(key)).condition_expression(never);
            allowed(within_timeout(put.send()).await)
        }
        Permission::Update => {
            let update = client.update_item().table_name(name).set_key(Some(key)).condition_expression(never);
            allowed(within_timeout(update.send()).await)
        }
        Permission::Delete => {
            let delete = client.delete_item().table_name(name).set_key(Some(key)).condition_expression(never);
            allowed(within_timeout(delete.send()).await)
        }
        Permission::Query => {
            let query = client.query().table_name(name).limit(1).key_condition_expression(format!("{hash} = :none"));
            let none = AttributeValue::S("mini-scan check".into());
            allowed(within_timeout(query.expression_attribute_values(":none", none).send()).await)
        }
        Permission::Scan => allowed(within_timeout(client.scan().table_name(name).limit(1).send()).await),
    }
}

fn allowed<T, E>(result: Result<T, SdkError<E>>) -> Result<(), Problem>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(()),
        Err(error) => Err(Problem::of(&error)),
    }
}

/// Reads at most one record of the table's stream, which needs each permission of a reader.
pub async fn check_stream_permissions(client: &Client, streams: &StreamsClient, table: &str) -> Result<(), Problem> {
    let Some(arn) = describe(client, table).await?.latest_stream_arn else { return Err(Problem::NotFound) };
    let described = within_timeout(streams.describe_stream().stream_arn(&arn).limit(1).send()).await;
    let described = described.map_err(|error| Problem::of(&error))?.stream_description;
    let Some(shard) = described.and_then(|stream| stream.shards?.into_iter().next()?.shard_id) else { return Ok(()) };
    let iterator = streams.get_shard_iterator().stream_arn(&arn).shard_id(shard);
    let iterator = within_timeout(iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send()).await;
    let Some(iterator) = iterator.map_err(|error| Problem::of(&error))?.shard_iterator else { return Ok(()) };
    let records = within_timeout(streams.get_records().shard_iterator(iterator).limit(1).send()).await;
    records.map(|_| ()).map_err(|error| Problem::of(&error))
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::table;
    use super::*;

    fn active(keys: &[(&str, KeyType)], kind: &ScalarAttributeType) -> TableDescription {
        table(keys, kind, TableStatus::Active)
    }

    #[test]
    fn a_table_fits_only_with_its_own_key() {
        let text = &ScalarAttributeType::S;
        for (kind, other) in
            [(ChangesTable::History, ChangesTable::Leases), (ChangesTable::Leases, ChangesTable::History)]
        {
            assert_eq!(kind.check_fit(&active(kind.keys(), text)), Ok(()));
            for other in [active(other.keys(), text), active(kind.keys(), &ScalarAttributeType::N)] {
                assert!(matches!(kind.check_fit(&other), Err(Problem::DoesNotFit(_))), "{kind:?}");
            }
        }
    }

    #[test]
    fn only_a_stream_of_both_images_fits() {
        let scans = || TableDescription::builder().set_attribute_definitions(None);
        let with = |view: StreamViewType| {
            let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build().unwrap();
            let keys = active(&[("pk", KeyType::Hash)], &ScalarAttributeType::S);
            let table = scans().set_key_schema(keys.key_schema).set_attribute_definitions(keys.attribute_definitions);
            stream_of(&table.stream_specification(stream).build())
        };
        assert_eq!(with(StreamViewType::NewAndOldImages), Ok(StreamState::Ready));
        for view in [StreamViewType::KeysOnly, StreamViewType::NewImage, StreamViewType::OldImage] {
            assert!(matches!(with(view), Err(Problem::DoesNotFit(_))));
        }
        let without = active(&[("pk", KeyType::Hash)], &ScalarAttributeType::S);
        assert_eq!(stream_of(&without), Ok(StreamState::Missing));
    }
}
