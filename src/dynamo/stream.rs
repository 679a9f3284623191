//! The stream of the table of scans, with the new and the old image of each change.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{StreamViewType, TableDescription};
use dynamodb::{Problem, StreamState, describe, stream_state};

use super::table::check_fit;

const VIEW: StreamViewType = StreamViewType::NewAndOldImages;

/// Checks that the table has scans and looks for its stream. A stream without both images does not fit.
pub async fn check_stream(client: &Client, table: &str) -> Result<StreamState, Problem> {
    stream_of(&describe(client, table).await?)
}

/// Enables the stream on the table of scans unless it has one. Returns whether it did. Safe to repeat and to run
/// concurrently.
pub async fn enable_stream(client: &Client, table: &str) -> Result<bool, Problem> {
    stream_of(&describe(client, table).await?)?;
    dynamodb::enable_stream(client, table, &VIEW).await
}

fn stream_of(table: &TableDescription) -> Result<StreamState, Problem> {
    check_fit(table).map_err(Problem::DoesNotFit)?;
    stream_state(table, &VIEW)
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification, TableStatus,
    };

    use super::*;

    fn described(keys: &[(&str, KeyType)], kind: &ScalarAttributeType) -> TableDescription {
        let mut table = TableDescription::builder().table_status(TableStatus::Active);
        for (name, key_type) in keys {
            let key = KeySchemaElement::builder().attribute_name(*name).key_type(key_type.clone());
            let attribute = AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone());
            table = table.key_schema(key.build().unwrap()).attribute_definitions(attribute.build().unwrap());
        }
        table.build()
    }

    #[test]
    fn only_a_stream_of_both_images_fits() {
        let scans = || TableDescription::builder().set_attribute_definitions(None);
        let with = |view: StreamViewType| {
            let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build().unwrap();
            let keys = described(&[("pk", KeyType::Hash)], &ScalarAttributeType::S);
            let table = scans().set_key_schema(keys.key_schema).set_attribute_definitions(keys.attribute_definitions);
            stream_of(&table.stream_specification(stream).build())
        };
        assert_eq!(with(StreamViewType::NewAndOldImages), Ok(StreamState::Ready));
        for view in [StreamViewType::KeysOnly, StreamViewType::NewImage, StreamViewType::OldImage] {
            assert!(matches!(with(view), Err(Problem::DoesNotFit(_))));
        }
        let without = described(&[("pk", KeyType::Hash)], &ScalarAttributeType::S);
        assert_eq!(stream_of(&without), Ok(StreamState::Missing));
    }
}
