//! What the program needs of the table of events.

use aws_sdk_dynamodb::types::StreamViewType;
use dynamodb::{TableSpec, hash, range};

/// The client, with its bucket.
pub const CLIENT_ID: &str = "client_id";
/// The time and the id of the event.
pub const EVENT_KEY: &str = "event_key";

pub static EVENTS: TableSpec = TableSpec {
    keys: &[hash(CLIENT_ID), range(EVENT_KEY)],
    index: None,
    expires: true,
    stream: Some(StreamViewType::NewImage),
};
