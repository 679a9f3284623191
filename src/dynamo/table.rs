//! Checks and creates the table. Of a record, it knows only the key, the expiry attribute and the indexes.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType, TableDescription, TableStatus,
};
use dynamodb::{
    Problem, attribute_type, built, describe, enable_expiry, failed, key_text, not_from_dynamodb, wait_until_active,
    within_timeout,
};

use super::index::{IndexState, attributes, key_schema, projection, state};
use super::item::{KEY, types};
use crate::consumer::ports::{Fit, StoreError};
use crate::hosts::Index;

/// A table that can store scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Whether it was missing before.
    pub is_new: bool,
    /// Whether it has a stream of new and old images.
    pub has_stream: bool,
}

/// Checks that the table exists and that its key fits scans. Returns the state of the index that reads of a host need.
pub async fn check(client: &Client, table: &str) -> Result<IndexState, Problem> {
    let description = describe(client, table).await?;
    check_fit(&description).map_err(Problem::DoesNotFit)?;
    Ok(state(Index::ByIp, &description))
}

/// Compares the table's description with the records of scans.
pub(super) async fn fit(client: &Client, table: &str) -> Result<Fit, StoreError> {
    let described = within_timeout(client.describe_table().table_name(table).send()).await;
    match described.map_err(|error| failed(&error))?.table {
        Some(description) => Ok(check_fit(&description).map_or_else(Fit::DoesNotFit, |()| Fit::Fits)),
        None => Err(not_from_dynamodb()),
    }
}

/// Creates the table of scans if it is missing: key `pk`, on-demand billing, a stream of new and old images, expiry by
/// `expires_at`, and these indexes. Enables expiry on an existing table, and otherwise leaves it unchanged. Safe to
/// repeat and to run concurrently.
pub async fn create(client: &Client, table: &str, indexes: &[Index]) -> Result<Table, Problem> {
    let is_new = match describe(client, table).await {
        Ok(_) => false,
        Err(Problem::NotFound) => create_missing(client, table, indexes).await?,
        Err(problem) => return Err(problem),
    };
    let description = wait_until_active(client, table).await?;
    check_fit(&description).map_err(Problem::DoesNotFit)?;
    enable_expiry(client, table).await?;
    let stream = description.stream_specification().filter(|stream| stream.stream_enabled());
    let has_stream = stream.and_then(|stream| stream.stream_view_type()) == Some(&StreamViewType::NewAndOldImages);
    Ok(Table { is_new, has_stream })
}

async fn create_missing(client: &Client, table: &str, indexes: &[Index]) -> Result<bool, Problem> {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let mut request = client
        .create_table()
        .table_name(table)
        .attribute_definitions(built(
            AttributeDefinition::builder().attribute_name(KEY).attribute_type(ScalarAttributeType::S).build(),
        )?)
        .key_schema(built(KeySchemaElement::builder().attribute_name(KEY).key_type(KeyType::Hash).build())?)
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(built(stream.build())?);
    let mut definitions: Vec<AttributeDefinition> = Vec::new();
    for index in indexes {
        let global = GlobalSecondaryIndex::builder()
            .index_name(index.name())
            .set_key_schema(Some(built(key_schema(*index))?))
            .projection(projection());
        request = request.global_secondary_indexes(built(global.build())?);
        definitions.extend(built(attributes(*index))?);
    }
    definitions.sort_by(|one, other| one.attribute_name().cmp(other.attribute_name()));
    definitions.dedup();
    for definition in definitions {
        request = request.attribute_definitions(definition);
    }
    match within_timeout(request.send()).await {
        Ok(_) => Ok(true),
        // Another process created it since the check.
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(false),
        Err(error) => Err(without_index_support(&error, indexes)),
    }
}

/// Names the problem behind a refused index. Older servers accept only one partition key and one sort key.
pub(super) fn without_index_support<E>(error: &SdkError<E>, indexes: &[Index]) -> Problem
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match Problem::of(error) {
        Problem::Other(detail)
            if error.code() == Some("ValidationException") && indexes.contains(&Index::ByService) =>
        {
            Problem::Other(format!(
                "{detail} (index by-service has two partition keys: DynamoDB accepts them, DynamoDB Local since 3.3.0)"
            ))
        }
        problem => problem,
    }
}

/// Fails with the difference if the table refuses records: its key is another one, or an index needs another type.
pub(super) fn check_fit(table: &TableDescription) -> Result<(), String> {
    if table.table_status() == Some(&TableStatus::Deleting) {
        return Err("DynamoDB is deleting it".to_owned());
    }
    let key = key_text(table.key_schema(), |name| attribute_type(table, name));
    if key != format!("HASH {KEY} (S)") {
        return Err(format!("its key is {key}; scans need only HASH {KEY} (S)"));
    }
    let global = table.global_secondary_indexes().iter().map(|index| (index.index_name(), index.key_schema()));
    let local = table.local_secondary_indexes().iter().map(|index| (index.index_name(), index.key_schema()));
    for (index, key) in global.chain(local).flat_map(|(index, keys)| keys.iter().map(move |key| (index, key))) {
        let name = key.attribute_name();
        let (needed, of_scans) = (attribute_type(table, name), types().find(|(attribute, _)| *attribute == name));
        if let Some((_, kind)) = of_scans
            && kind.as_str() != needed
        {
            let (index, kind) = (index.unwrap_or("?"), kind.as_str());
            return Err(format!("its index {index} needs {name} ({needed}); scans have {name} ({kind})"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Describes a table whose key attributes have this type.
    pub(in crate::dynamo) fn table(
        keys: &[(&str, KeyType)],
        kind: &ScalarAttributeType,
        status: TableStatus,
    ) -> TableDescription {
        let mut table = TableDescription::builder().table_status(status);
        for (name, key_type) in keys {
            let key = KeySchemaElement::builder().attribute_name(*name).key_type(key_type.clone());
            let attribute = AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone());
            table = table.key_schema(key.build().unwrap()).attribute_definitions(attribute.build().unwrap());
        }
        table.build()
    }

    #[test]
    fn a_table_fits_if_its_only_key_is_the_text_pk() {
        let (hash, text) = ([(KEY, KeyType::Hash)], ScalarAttributeType::S);
        assert_eq!(check_fit(&table(&hash, &text, TableStatus::Active)), Ok(()));
        for (what, other) in [
            ("another name", table(&[("id", KeyType::Hash)], &text, TableStatus::Active)),
            ("a numeric key", table(&hash, &ScalarAttributeType::N, TableStatus::Active)),
            ("a sort key", table(&[(KEY, KeyType::Hash), ("at", KeyType::Range)], &text, TableStatus::Active)),
            ("a table in deletion", table(&hash, &text, TableStatus::Deleting)),
        ] {
            assert!(check_fit(&other).is_err(), "{what}");
        }
    }
}
