//! The global secondary indexes of the table: their keys, and what a description of the table shows of them. Pure.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, IndexStatus, KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType,
    TableDescription,
};
use dynamodb::{attribute_type, key_text};

use super::item::types;
use crate::hosts::Index;

const BY_IP: &[(&str, KeyType)] = &[("ip", KeyType::Hash), ("port", KeyType::Range)];
const BY_SERVICE: &[(&str, KeyType)] = &[("port", KeyType::Hash), ("service", KeyType::Hash), ("ip", KeyType::Range)];

/// What a table has under the name of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    Missing,
    /// DynamoDB is creating it.
    Building,
    Deleting,
    Ready,
    /// Reads cannot use it, for this reason.
    Unusable(String),
    /// Reads can use it, but it makes writes more expensive, for this reason.
    Costly(String),
}

/// The attributes of a key never change in a record, so a rescan costs no write unit in an index. A projected `timestamp`
/// would change with every rescan.
pub(super) fn projection() -> Projection {
    Projection::builder().projection_type(ProjectionType::KeysOnly).build()
}

pub(super) fn key_schema(index: Index) -> Result<Vec<KeySchemaElement>, BuildError> {
    let element = |(name, kind): &(&str, KeyType)| {
        KeySchemaElement::builder().attribute_name(*name).key_type(kind.clone()).build()
    };
    keys(index).iter().map(element).collect()
}

/// Returns the attributes of an index's key with their types.
pub(super) fn attributes(index: Index) -> Result<Vec<AttributeDefinition>, BuildError> {
    let definition = |(name, _): &(&str, KeyType)| {
        AttributeDefinition::builder().attribute_name(*name).attribute_type(type_of_records(name)).build()
    };
    keys(index).iter().map(definition).collect()
}

/// Compares the table's index of this name with the one that `setup` creates.
pub(super) fn state(index: Index, table: &TableDescription) -> IndexState {
    let mut indexes = table.global_secondary_indexes().iter();
    let Some(found) = indexes.find(|found| found.index_name() == Some(index.name())) else {
        return IndexState::Missing;
    };
    let key = key_text(found.key_schema(), |name| attribute_type(table, name));
    let expected = key_schema(index).map(|keys| key_text(&keys, |name| type_of_records(name).to_string()));
    let expected = expected.unwrap_or_default();
    let projection = found.projection().and_then(Projection::projection_type);
    match found.index_status() {
        Some(IndexStatus::Deleting) => IndexState::Deleting,
        _ if key != expected => {
            IndexState::Unusable(format!("its key is {key}; reads need {expected}, so they cannot use it"))
        }
        _ if projection != Some(&ProjectionType::KeysOnly) => {
            let projection = projection.map_or("?", ProjectionType::as_str);
            IndexState::Costly(format!(
                "it projects {projection} instead of KEYS_ONLY, so a rescan may also consume write units of the index"
            ))
        }
        Some(IndexStatus::Creating) => IndexState::Building,
        _ => IndexState::Ready,
    }
}

fn keys(index: Index) -> &'static [(&'static str, KeyType)] {
    match index {
        Index::ByIp => BY_IP,
        Index::ByService => BY_SERVICE,
    }
}

fn type_of_records(name: &str) -> ScalarAttributeType {
    let found = types().find(|(attribute, _)| *attribute == name);
    found.map_or(ScalarAttributeType::S, |(_, kind)| kind.clone())
}

/// Returns whether DynamoDB refuses to create an index now, because it allows one change of indexes at a time.
pub(super) fn is_changing(table: &TableDescription) -> bool {
    let is_changing = |status: Option<&IndexStatus>| !matches!(status, None | Some(IndexStatus::Active));
    table.global_secondary_indexes().iter().any(|index| is_changing(index.index_status()))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::GlobalSecondaryIndexDescription;

    use super::*;

    type ByIpIndex<'a> = (&'a [(&'a str, KeyType)], ProjectionType, IndexStatus);

    fn table(index: Option<ByIpIndex>) -> TableDescription {
        let mut table = TableDescription::builder();
        for (name, kind) in types() {
            let definition = AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone());
            table = table.attribute_definitions(definition.build().unwrap());
        }
        let Some((keys, projection, status)) = index else { return table.build() };
        let projection = Projection::builder().projection_type(projection).build();
        let mut index = GlobalSecondaryIndexDescription::builder().index_name("by-ip").projection(projection);
        for (name, kind) in keys {
            let key = KeySchemaElement::builder().attribute_name(*name).key_type(kind.clone());
            index = index.key_schema(key.build().unwrap());
        }
        table.global_secondary_indexes(index.index_status(status).build()).build()
    }

    #[test]
    fn the_state_of_an_index_follows_its_key_then_its_projection_then_its_status() {
        let keys_only = || ProjectionType::KeysOnly;
        assert_eq!(state(Index::ByIp, &table(None)), IndexState::Missing);
        for (status, expected) in [
            (IndexStatus::Creating, IndexState::Building),
            (IndexStatus::Active, IndexState::Ready),
            (IndexStatus::Updating, IndexState::Ready),
            (IndexStatus::Deleting, IndexState::Deleting),
        ] {
            assert_eq!(state(Index::ByIp, &table(Some((BY_IP, keys_only(), status)))), expected);
        }
        let other = state(Index::ByIp, &table(Some((BY_SERVICE, keys_only(), IndexStatus::Creating))));
        let expected = "its key is HASH port (N), HASH service (S), RANGE ip (S); reads need HASH ip (S), RANGE port (N), so they cannot use it";
        assert_eq!(other, IndexState::Unusable(expected.to_owned()));
        let all = state(Index::ByIp, &table(Some((BY_IP, ProjectionType::All, IndexStatus::Active))));
        assert!(matches!(all, IndexState::Costly(_)), "{all:?}");
        assert_eq!(
            state(Index::ByService, &table(Some((BY_IP, keys_only(), IndexStatus::Active)))),
            IndexState::Missing
        );
    }

    #[test]
    fn an_index_that_is_created_or_deleted_delays_another_one() {
        for (status, expected) in [
            (IndexStatus::Creating, true),
            (IndexStatus::Deleting, true),
            (IndexStatus::Updating, true),
            (IndexStatus::Active, false),
        ] {
            assert_eq!(is_changing(&table(Some((BY_IP, ProjectionType::KeysOnly, status)))), expected);
        }
        assert!(!is_changing(&table(None)));
    }

    #[test]
    fn the_attributes_of_a_key_have_the_types_of_records() {
        let attributes = attributes(Index::ByService).unwrap();
        let attributes: Vec<_> =
            attributes.iter().map(|it| (it.attribute_name(), it.attribute_type().clone())).collect();
        let (text, number) = (ScalarAttributeType::S, ScalarAttributeType::N);
        assert_eq!(attributes, [("port", number), ("service", text.clone()), ("ip", text)]);
    }
}
