//! The dead-letter topic: letters go out in batches, and alone where a batch is refused.

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::client::Publisher;
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model::Message;

use super::{Connection, Problem};
use crate::consumer::port::{DeadLetter, DeadLetterError, DeadLetters};

const BATCH: u32 = 100;

#[derive(Debug)]
pub struct TopicDeadLetters {
    topic: String,
    batched: Publisher,
    single: Publisher,
}

impl TopicDeadLetters {
    /// Prepares to publish to the topic of this full name; the first letter shows whether it is there.
    pub async fn connect(connection: &Connection, topic: &str) -> Result<TopicDeadLetters, Problem> {
        Ok(TopicDeadLetters {
            topic: topic.to_owned(),
            batched: connection.publisher(topic, BATCH).await?,
            single: connection.publisher(topic, 1).await?,
        })
    }

    fn unavailable(&self, error: &PublishError) -> DeadLetterError {
        let topic = &self.topic;
        let detail = match error {
            PublishError::Rpc(error) => match Problem::from(error.as_ref()) {
                Problem::NotFound => {
                    format!(
                        "dead-letter topic {topic} (--dead-letter-topic) does not exist; \
                         create it: mini-scan setup pubsub --topic TOPIC --dead-letter-topic {topic}"
                    )
                }
                Problem::Refused(detail) => {
                    format!(
                        "publishing to {topic} (--dead-letter-topic) is refused: {detail}. Grant it: gcloud pubsub \
                         topics add-iam-policy-binding {topic} --role=roles/pubsub.publisher --member=IDENTITY"
                    )
                }
                problem => format!("cannot publish to {topic}: {problem}"),
            },
            error => format!("cannot publish to {topic}: {error}"),
        };
        DeadLetterError::Unavailable(detail)
    }
}

impl DeadLetters for TopicDeadLetters {
    async fn publish(&self, letter: DeadLetter) -> Result<(), DeadLetterError> {
        let message = Message::new().set_data(letter.payload).set_attributes(letter.attributes);
        // Whose letter broke the batch is not said, so each goes once more alone.
        let result = match self.batched.publish(message.clone()).await {
            Err(error) if invalid(&error).is_some() => self.single.publish(message).await,
            result => result,
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => Err(invalid(&error).map_or_else(|| self.unavailable(&error), DeadLetterError::Invalid)),
        }
    }
}

fn invalid(error: &PublishError) -> Option<String> {
    let PublishError::Rpc(error) = error else { return None };
    let status = error.status().filter(|status| status.code == Code::InvalidArgument)?;
    Some(status.message.clone())
}
