//! The stream of the table of events, with its records as what they mean for a deliverer.

use std::collections::HashMap;

use aws_sdk_dynamodbstreams::types::{AttributeValue, OperationType, Record as AwsRecord};
use dynamodb::{StreamName, StreamsClient};
use dynamodb_streams::{DecodedStream, DynamoDbStream};

use super::StoredEvent;
use super::dead::json_of_key;
use crate::event::parse_sort_key;
use crate::table::item::{CLIENT_ID, DATA, DIRECT, DISPATCH, EVENT_KEY, EVENT_TYPE, SENT_AT, TRACE, client};

type Item = HashMap<String, AttributeValue>;

/// What a record means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new event.
    Event(StoredEvent),
    /// A new event that its processor delivers.
    Direct,
    /// No new event.
    Other,
    /// An item that is no event. Its key is JSON in ASCII.
    Unreadable { key: String, why: String },
}

/// The stream of the table of events.
pub type EventStream = DecodedStream<Change>;

pub fn event_stream(client: &StreamsClient, name: &StreamName) -> EventStream {
    DecodedStream::new(DynamoDbStream::new(client, name.arn.clone()), change)
}

fn change(record: AwsRecord) -> Change {
    if record.event_name != Some(OperationType::Insert) {
        return Change::Other;
    }
    let (keys, image) = match record.dynamodb {
        Some(change) => (change.keys.unwrap_or_default(), change.new_image.unwrap_or_default()),
        None => Default::default(),
    };
    match event(image) {
        Ok(change) => change,
        Err(why) => {
            let part = |name: &'static str| Some((name, keys.get(name)?.as_s().ok()?.clone()));
            let parts: Vec<_> = [part(CLIENT_ID), part(EVENT_KEY)].into_iter().flatten().collect();
            Change::Unreadable { key: json_of_key(&parts), why: why.to_owned() }
        }
    }
}

fn event(mut item: Item) -> Result<Change, &'static str> {
    if item.get(DISPATCH).is_some_and(|dispatch| dispatch.as_s().is_ok_and(|text| text == DIRECT)) {
        return Ok(Change::Direct);
    }
    let mut text = |name: &str| match item.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    };
    let partition = text(CLIENT_ID).ok_or("client_id is no string")?;
    let key = text(EVENT_KEY).filter(|key| parse_sort_key(key).is_some());
    let event = StoredEvent {
        client_id: client(&partition).to_owned(),
        key: key.ok_or("event_key is no event_time#event_id")?,
        event_type: text(EVENT_TYPE).ok_or("event_type is no string")?,
        data: text(DATA).ok_or("data is no string")?,
        trace: text(TRACE),
        sent: item.get(SENT_AT).and_then(|sent| sent.as_n().ok()?.parse().ok()),
    };
    // The body of a webhook contains it as it is.
    if serde_json::from_str::<&serde_json::value::RawValue>(&event.data).is_err() {
        return Err("data is no JSON text");
    }
    Ok(Change::Event(event))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodbstreams::types::StreamRecord;

    use super::*;

    fn text(text: &str) -> AttributeValue {
        AttributeValue::S(text.to_owned())
    }

    fn item() -> Item {
        let attributes = [
            (CLIENT_ID, text("acme\u{1f}3")),
            (EVENT_KEY, text("2026-11-22T10:00:00.000Z#7")),
            (EVENT_TYPE, text("order")),
            (DATA, text(r#"{"n":1.50}"#)),
            (SENT_AT, AttributeValue::N("1700".to_owned())),
        ];
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn read(name: OperationType, item: Item) -> Change {
        let keys = item.iter().filter(|(name, _)| [CLIENT_ID, EVENT_KEY].contains(&name.as_str()));
        let keys = keys.map(|(name, value)| (name.clone(), value.clone())).collect();
        let change_of = StreamRecord::builder().set_keys(Some(keys)).set_new_image(Some(item)).build();
        change(AwsRecord::builder().event_name(name).dynamodb(change_of).build())
    }

    #[test]
    fn an_insert_is_an_event_of_its_client_in_whichever_bucket() {
        let expected = StoredEvent {
            client_id: "acme".to_owned(),
            event_type: "order".to_owned(),
            key: "2026-11-22T10:00:00.000Z#7".to_owned(),
            data: r#"{"n":1.50}"#.to_owned(),
            sent: Some(1700),
            trace: None,
        };
        assert_eq!(read(OperationType::Insert, item()), Change::Event(expected));
    }

    #[test]
    fn only_new_events_without_direct_dispatch_are_delivered() {
        let mut direct = item();
        direct.insert(DISPATCH.to_owned(), text(DIRECT));
        assert_eq!(read(OperationType::Insert, direct), Change::Direct);
        assert_eq!(read(OperationType::Modify, item()), Change::Other);
        assert_eq!(read(OperationType::Remove, item()), Change::Other);
    }

    #[test]
    fn an_item_of_another_form_is_unreadable_and_keeps_its_key() {
        for (name, value) in [
            (EVENT_KEY, text("yesterday#7")),
            (EVENT_TYPE, AttributeValue::Bool(true)),
            (DATA, AttributeValue::M(Item::new())),
            (DATA, text("{")),
        ] {
            let mut item = item();
            item.insert(name.to_owned(), value);
            let Change::Unreadable { key, why } = read(OperationType::Insert, item) else { panic!("{name}") };
            assert!(key.contains(r#""client_id":"acme\u001f3""#), "{key}");
            assert!(why.starts_with(name), "{why}");
        }
    }
}
