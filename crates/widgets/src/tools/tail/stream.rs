//! The stream of the table of widgets, with its records as what changed.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::types::{AttributeValue as StreamValue, Record as AwsRecord};
use dynamodb::{Item, StreamName, StreamsClient};
use dynamodb_streams::{DecodedStream, DynamoDbStream};

use super::change::{Changes, Image};
use crate::table::item::parse_widget;

pub(super) fn change_stream(client: &StreamsClient, name: &StreamName) -> DecodedStream<Changes> {
    DecodedStream::new(DynamoDbStream::new(client, name.arn.clone()), changes)
}

fn changes(record: AwsRecord) -> Changes {
    let change = record.dynamodb;
    let (old, new) = change.map(|change| (change.old_image, change.new_image)).unwrap_or_default();
    Changes::of(image(old), image(new))
}

fn image(image: Option<HashMap<String, StreamValue>>) -> Image {
    let item: Item = image?.into_iter().map(|(name, value)| (name, attribute(value))).collect();
    Some(parse_widget(&item))
}

/// The clients of tables and of streams have the same types twice. A widget has only these.
fn attribute(value: StreamValue) -> AttributeValue {
    match value {
        StreamValue::S(text) => AttributeValue::S(text),
        StreamValue::N(number) => AttributeValue::N(number),
        StreamValue::Ss(texts) => AttributeValue::Ss(texts),
        _ => AttributeValue::Null(true),
    }
}
