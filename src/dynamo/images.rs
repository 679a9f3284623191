//! The stream of the table of scans, with its records as images of scans.

use std::collections::HashMap;

use aws_sdk_dynamodbstreams::primitives::Blob;
use aws_sdk_dynamodbstreams::types::{AttributeValue, Record as AwsRecord};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dynamodb::{EXPIRES_AT, StreamName, StreamsClient};
use dynamodb_streams::{DecodedStream, DynamoDbStream};
use serde_json::{Value, json};

use super::error::whole_seconds;
use super::item::{KEY, RESPONSE_BYTES, TIMESTAMP};
use crate::changes::{Image, Images};
use crate::hosts::{self, Row};
use crate::scan::Key;

type Item = HashMap<String, AttributeValue>;

/// The stream of the table of scans.
pub type ImageStream = DecodedStream<Images>;

pub fn image_stream(client: &StreamsClient, name: &StreamName) -> ImageStream {
    DecodedStream::new(DynamoDbStream::new(client, name.arn.clone()), images)
}

/// Moves the images out of a record of AWS's client.
fn images(record: AwsRecord) -> Images {
    let by_time_to_live = record
        .user_identity()
        .is_some_and(|user| user.r#type() == Some("Service") && user.principal_id() == Some("dynamodb.amazonaws.com"));
    let change = record.dynamodb.unwrap_or_else(|| aws_sdk_dynamodbstreams::types::StreamRecord::builder().build());
    let service = change.keys().and_then(|keys| Key::parse(keys.get(KEY)?.as_s().ok()?));
    let created = change.approximate_creation_date_time().and_then(|time| u64::try_from(time.secs()).ok());
    Images { service, created, old: image(change.old_image), new: image(change.new_image), by_time_to_live }
}

fn image(item: Option<Item>) -> Image {
    let Some(mut item) = item else { return Image::Absent };
    let number = |name: &str| whole_seconds(item.get(name)?.as_n().ok()?);
    let key = item.get(KEY).and_then(|key| Key::parse(key.as_s().ok()?));
    let (timestamp, data_version, expires_at) = (number(TIMESTAMP), number("data_version"), number(EXPIRES_AT));
    let is_text = item.get("response").is_some_and(AttributeValue::is_s);
    let are_bytes = item.get(RESPONSE_BYTES).is_none_or(AttributeValue::is_b);
    let (Some(key), Some(timestamp), Some(data_version), true, true) =
        (key, timestamp, data_version, is_text, are_bytes)
    else {
        return Image::Unreadable(json_of_item(&item).to_string());
    };
    let response = match item.remove("response") {
        Some(AttributeValue::S(text)) => text,
        _ => String::new(),
    };
    let response_bytes = match item.remove(RESPONSE_BYTES) {
        Some(AttributeValue::B(bytes)) => Some(bytes.into_inner()),
        _ => None,
    };
    Image::Row(Row { record: hosts::Record { key, timestamp, data_version, response, response_bytes }, expires_at })
}

/// Returns both images as DynamoDB writes items in JSON.
pub(super) fn json_of_images(images: &Images) -> String {
    let [old, new] = [&images.old, &images.new].map(|image| match image {
        Image::Absent => "null".to_owned(),
        Image::Row(row) => json_of_item(&item(row)).to_string(),
        Image::Unreadable(json) => json.clone(),
    });
    format!(r#"{{"old":{old},"new":{new}}}"#)
}

fn item(Row { record, expires_at }: &Row) -> Item {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: u64| AttributeValue::N(number.to_string());
    let attributes = [
        (KEY, Some(text(record.key.as_str()))),
        ("ip", Some(text(record.key.ip()))),
        ("port", Some(AttributeValue::N(record.key.port().to_owned()))),
        ("service", Some(text(record.key.service()))),
        (TIMESTAMP, Some(number(record.timestamp))),
        ("data_version", Some(number(record.data_version))),
        ("response", Some(text(&record.response))),
        (RESPONSE_BYTES, record.response_bytes.as_deref().map(|bytes| AttributeValue::B(Blob::new(bytes)))),
        (EXPIRES_AT, expires_at.map(number)),
    ];
    attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn json_of_item(item: &Item) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), json_of_value(value))).collect())
}

fn json_of_value(value: &AttributeValue) -> Value {
    let base64 = |bytes: &Blob| STANDARD.encode(bytes.as_ref());
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::B(bytes) => json!({ "B": base64(bytes) }),
        AttributeValue::Bool(flag) => json!({ "BOOL": flag }),
        AttributeValue::Null(_) => json!({ "NULL": true }),
        AttributeValue::M(item) => json!({ "M": json_of_item(item) }),
        AttributeValue::L(values) => json!({ "L": values.iter().map(json_of_value).collect::<Vec<_>>() }),
        AttributeValue::Ss(set) => json!({ "SS": set }),
        AttributeValue::Ns(set) => json!({ "NS": set }),
        AttributeValue::Bs(set) => json!({ "BS": set.iter().map(base64).collect::<Vec<_>>() }),
        // A type that this program does not know.
        other => json!({ "?": format!("{other:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodbstreams::types::Identity;

    use super::*;

    fn text(text: &str) -> AttributeValue {
        AttributeValue::S(text.to_owned())
    }

    fn record() -> Item {
        let mut item = item(&Row {
            record: hosts::Record {
                key: Key::new([1, 1, 1, 1].into(), 80, "HTTP"),
                timestamp: 7,
                data_version: 1,
                response: "\u{fffd}".to_owned(),
                response_bytes: Some(vec![0xff]),
            },
            expires_at: Some(9),
        });
        item.insert("more".to_owned(), AttributeValue::L(vec![AttributeValue::Null(true), text("a")]));
        item
    }

    #[test]
    fn a_record_is_read_from_its_image_and_written_as_json() {
        let Image::Row(row) = image(Some(record())) else { panic!("it is a record") };
        assert_eq!((row.record.timestamp, row.expires_at), (7, Some(9)));
        assert_eq!(row.record.response_bytes.as_deref(), Some(&[0xff][..]));
        let images = Images {
            service: Some(row.record.key.clone()),
            created: Some(1),
            old: Image::Absent,
            new: Image::Row(row),
            by_time_to_live: false,
        };
        let json: Value = serde_json::from_str(&json_of_images(&images)).unwrap();
        assert_eq!((&json["old"], &json["new"]["response_bytes"]["B"]), (&Value::Null, &json!("/w==")));
        assert_eq!(json["new"].as_object().unwrap().len(), 9);
    }

    #[test]
    fn only_the_identity_of_dynamodb_is_a_removal_by_time_to_live() {
        for (kind, principal, expected) in [
            ("Service", "dynamodb.amazonaws.com", true),
            ("Service", "replication.dynamodb.amazonaws.com", false),
            ("User", "dynamodb.amazonaws.com", false),
        ] {
            let identity = Identity::builder().r#type(kind).principal_id(principal).build();
            let record = AwsRecord::builder().user_identity(identity).build();
            assert_eq!(images(record).by_time_to_live, expected, "{kind} {principal}");
        }
        assert!(!images(AwsRecord::builder().build()).by_time_to_live);
    }

    #[test]
    fn an_image_without_an_attribute_of_every_record_keeps_all_of_them_as_json() {
        for name in [KEY, TIMESTAMP, "response", "data_version", RESPONSE_BYTES] {
            let mut row = record();
            row.insert(name.to_owned(), AttributeValue::Bool(true));
            let Image::Unreadable(json) = image(Some(row)) else { panic!("{name}") };
            let json: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json[name], json!({ "BOOL": true }));
            assert_eq!(json["more"], json!({ "L": [{ "NULL": true }, { "S": "a" }] }));
        }
        assert_eq!(image(None), Image::Absent);
    }
}
