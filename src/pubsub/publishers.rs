//! A topic to publish to: messages go out in batches, and alone where a batch is refused.

use std::collections::HashMap;

use bytes::Bytes;
use google_cloud_pubsub::client::Publisher;
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model::Message;

use super::{Connection, Problem};

const BATCH: u32 = 100;

/// Belongs to the runtime that made it.
#[derive(Debug, Clone)]
pub struct Publishers {
    batched: Publisher,
    single: Publisher,
}

impl Publishers {
    /// Prepares to publish to the topic of this full name; the first message shows whether it is there.
    pub async fn connect(connection: &Connection, topic: &str) -> Result<Publishers, Problem> {
        let (batched, single) = (connection.publisher(topic, BATCH).await?, connection.publisher(topic, 1).await?);
        Ok(Publishers { batched, single })
    }

    /// Publishes one message and gives its id; `Ok` proves that the topic has it. `Problem::Invalid` is this message's
    /// own fault.
    pub async fn publish(&self, payload: Bytes, attributes: HashMap<String, String>) -> Result<String, Problem> {
        let message = Message::new().set_data(payload).set_attributes(attributes);
        // Whose message broke the batch is not said, so each goes once more alone.
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
