//! The global secondary indexes of the table: their keys, and what a description of the table shows of them. Pure.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, IndexStatus, KeySchemaElement, KeyType, Projection, ProjectionType, TableDescription,
};

use super::item::TYPES;
use super::table::{attribute_type, key_text};

/// An index that readers need, and the consumer does not.
///
/// Its attributes never change in a record, so a rescan costs no write unit in it. A projected `timestamp` would change
/// with every rescan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// The records of an address.
    ByIp,
    /// The addresses on which a service answers at a port.
    ByService,
}

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

impl Index {
    pub fn name(self) -> &'static str {
        match self {
            Index::ByIp => "by-ip",
            Index::ByService => "by-service",
        }
    }

    pub(super) fn key_schema(self) -> Result<Vec<KeySchemaElement>, BuildError> {
        let element = |(name, kind): &(&str, KeyType)| {
            KeySchemaElement::builder().attribute_name(*name).key_type(kind.clone()).build()
        };
        self.keys().iter().map(element).collect()
    }

    pub(super) fn projection() -> Projection {
        Projection::builder().projection_type(ProjectionType::KeysOnly).build()
    }

    /// Returns the attributes of its key with their types.
    pub(super) fn attributes(self) -> Result<Vec<AttributeDefinition>, BuildError> {
        let definition = |(name, _): &(&str, KeyType)| {
            let kind = TYPES.iter().find(|(attribute, _)| attribute == name).map(|(_, kind)| kind.clone());
            AttributeDefinition::builder().attribute_name(*name).set_attribute_type(kind).build()
        };
        self.keys().iter().map(definition).collect()
    }

    /// Compares the table's index of this name with the one that `setup` creates.
    pub(super) fn state(self, table: &TableDescription) -> IndexState {
        let mut indexes = table.global_secondary_indexes().iter();
        let Some(index) = indexes.find(|index| index.index_name() == Some(self.name())) else {
            return IndexState::Missing;
        };
        let found = key_text(index.key_schema(), |name| attribute_type(table, name));
        let expected = self.key_schema().map(|keys| key_text(&keys, of_records)).unwrap_or_default();
        let projection = index.projection().and_then(Projection::projection_type);
        match index.index_status() {
            Some(IndexStatus::Deleting) => IndexState::Deleting,
            _ if found != expected => {
                IndexState::Unusable(format!("its key is {found}; reads need {expected}, so they cannot use it"))
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

    fn keys(self) -> &'static [(&'static str, KeyType)] {
        match self {
            Index::ByIp => BY_IP,
            Index::ByService => BY_SERVICE,
        }
    }
}

fn of_records(name: &str) -> &'static str {
    match TYPES.iter().find(|(attribute, _)| *attribute == name) {
        Some((_, aws_sdk_dynamodb::types::ScalarAttributeType::N)) => "N",
        Some((_, aws_sdk_dynamodb::types::ScalarAttributeType::B)) => "B",
        _ => "S",
    }
}

/// Returns whether DynamoDB refuses to create an index now, because it allows one change of indexes at a time.
pub(super) fn is_changing(table: &TableDescription) -> bool {
    let is_changing = |status: Option<&IndexStatus>| !matches!(status, None | Some(IndexStatus::Active));
    table.global_secondary_indexes().iter().any(|index| is_changing(index.index_status()))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{GlobalSecondaryIndexDescription, ScalarAttributeType};

    use super::*;

    type ByIpIndex<'a> = (&'a [(&'a str, KeyType)], ProjectionType, IndexStatus);

    fn table(index: Option<ByIpIndex>) -> TableDescription {
        let mut table = TableDescription::builder();
        for (name, kind) in TYPES {
            let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
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
        assert_eq!(Index::ByIp.state(&table(None)), IndexState::Missing);
        for (status, expected) in [
            (IndexStatus::Creating, IndexState::Building),
            (IndexStatus::Active, IndexState::Ready),
            (IndexStatus::Updating, IndexState::Ready),
            (IndexStatus::Deleting, IndexState::Deleting),
        ] {
            assert_eq!(Index::ByIp.state(&table(Some((BY_IP, keys_only(), status)))), expected);
        }
        let other = Index::ByIp.state(&table(Some((BY_SERVICE, keys_only(), IndexStatus::Creating))));
        let expected = "its key is HASH port (N), HASH service (S), RANGE ip (S); reads need HASH ip (S), RANGE port (N), so they cannot use it";
        assert_eq!(other, IndexState::Unusable(expected.to_owned()));
        let all = Index::ByIp.state(&table(Some((BY_IP, ProjectionType::All, IndexStatus::Active))));
        assert!(matches!(all, IndexState::Costly(_)), "{all:?}");
        assert_eq!(
            Index::ByService.state(&table(Some((BY_IP, keys_only(), IndexStatus::Active)))),
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
        let attributes = Index::ByService.attributes().unwrap();
        let attributes: Vec<_> =
            attributes.iter().map(|it| (it.attribute_name(), it.attribute_type().clone())).collect();
        let (text, number) = (ScalarAttributeType::S, ScalarAttributeType::N);
        assert_eq!(attributes, [("port", number), ("service", text.clone()), ("ip", text)]);
    }
}
