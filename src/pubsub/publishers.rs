//! Publishes to one topic: in batches, and one by one if Pub/Sub refuses a batch. Does not know what messages contain.

use std::collections::HashMap;

use bytes::Bytes;
use google_cloud_pubsub::client::Publisher;
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model::Message;

use super::{Connection, Problem};

const BATCH: u32 = 100;

/// Publishers to one topic. Use them only on the runtime that created them.
#[derive(Debug, Clone)]
pub struct Publishers {
    batched: Publisher,
    single: Publisher,
}

impl Publishers {
    /// Prepares to publish to the topic with this full name. The first message shows whether the topic exists.
    pub async fn connect(connection: &Connection, topic: &str) -> Result<Publishers, Problem> {
        let (batched, single) = (connection.publisher(topic, BATCH).await?, connection.publisher(topic, 1).await?);
        Ok(Publishers { batched, single })
    }

    /// Publishes one message and returns its id. `Ok` proves that the topic has the message. `Problem::Invalid` means
    /// that this message breaks a rule of Pub/Sub.
    pub async fn publish(&self, payload: Bytes, attributes: HashMap<String, String>) -> Result<String, Problem> {
        let message = Message::new().set_data(payload).set_attributes(attributes);
        // Pub/Sub does not say which message of a batch is invalid, so each is published again by itself.
        match self.batched.publish(message.clone()).await.map_err(|error| problem(&error)) {
            Err(Problem::Invalid(_)) => self.single.publish(message).await.map_err(|error| problem(&error)),
            result => result,
        }
    }
}

fn problem(error: &PublishError) -> Problem {
    match error {
        PublishError::Rpc(error) => Problem::from(error.as_ref()),
        error => Problem::Other(error.to_string()),
    }
}
