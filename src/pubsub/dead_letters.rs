//! The dead-letter topic: letters go out in batches, and alone where a batch is refused. A connection over which a letter
//! found no answer is given up.

use std::sync::{Arc, Mutex, PoisonError};

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::client::Publisher;
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model::Message;

use super::{Connection, Problem};
use crate::consumer::port::{DeadLetter, DeadLetterError, DeadLetters};

const BATCH: u32 = 100;

#[derive(Debug)]
pub struct TopicDeadLetters {
    connection: Connection,
    topic: String,
    /// Absent after a letter that was not answered: the client never gives up a dead connection by itself.
    publishers: Mutex<Option<Arc<Publishers>>>,
}

#[derive(Debug)]
struct Publishers {
    batched: Publisher,
    single: Publisher,
}

/// Publishers in use; given up if they are dropped before they have proven themselves.
struct InUse<'a> {
    letters: &'a TopicDeadLetters,
    publishers: Arc<Publishers>,
    proven: bool,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let mut current = self.letters.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.proven && current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &self.publishers)) {
            *current = None;
        }
    }
}

impl TopicDeadLetters {
    /// Prepares to publish to the topic of this full name; the first letter shows whether it is there.
    pub async fn connect(connection: &Connection, topic: &str) -> Result<TopicDeadLetters, Problem> {
        let letters =
            TopicDeadLetters { connection: connection.clone(), topic: topic.to_owned(), publishers: Mutex::default() };
        letters.publishers().await?.proven = true;
        Ok(letters)
    }

    /// Those that are there, or new ones with a connection of their own.
    async fn publishers(&self) -> Result<InUse<'_>, Problem> {
        let current = || self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        let there = current().clone();
        let publishers = match there {
            Some(publishers) => publishers,
            None => {
                let publishers = Arc::new(Publishers {
                    batched: self.connection.publisher(&self.topic, BATCH).await?,
                    single: self.connection.publisher(&self.topic, 1).await?,
                });
                current().insert(publishers).clone()
            }
        };
        Ok(InUse { letters: self, publishers, proven: false })
    }

    fn unavailable(&self, problem: &Problem) -> DeadLetterError {
        let topic = &self.topic;
        DeadLetterError::Unavailable(match problem {
            Problem::NotFound => format!(
                "dead-letter topic {topic} (--dead-letter-topic) does not exist; \
                 create it: mini-scan setup pubsub --topic TOPIC --dead-letter-topic {topic}"
            ),
            Problem::Refused(detail) => format!(
                "publishing to {topic} (--dead-letter-topic) is refused: {detail}. Grant it: gcloud pubsub topics \
                 add-iam-policy-binding {topic} --role=roles/pubsub.publisher --member=IDENTITY"
            ),
            problem => format!("cannot publish to {topic}: {problem}"),
        })
    }
}

impl DeadLetters for TopicDeadLetters {
    async fn publish(&self, letter: DeadLetter) -> Result<(), DeadLetterError> {
        let mut publishers = self.publishers().await.map_err(|problem| self.unavailable(&problem))?;
        let Publishers { batched, single } = &*publishers.publishers;
        let message = Message::new().set_data(letter.payload).set_attributes(letter.attributes);
        // Whose letter broke the batch is not said, so each goes once more alone.
        let result = match batched.publish(message.clone()).await {
            Err(error) if invalid(&error).is_some() => single.publish(message).await,
            result => result,
        };
        let problem = match &result {
            Ok(_) => None,
            Err(PublishError::Rpc(error)) => Some(Problem::from(error.as_ref())),
            Err(error) => Some(Problem::Other(error.to_string())),
        };
        publishers.proven = !matches!(problem, Some(Problem::Unreachable(_) | Problem::Other(_)));
        match problem {
            None => Ok(()),
            Some(Problem::Invalid(detail)) => Err(DeadLetterError::Invalid(detail)),
            Some(problem) => Err(self.unavailable(&problem)),
        }
    }
}

fn invalid(error: &PublishError) -> Option<String> {
    let PublishError::Rpc(error) = error else { return None };
    let status = error.status().filter(|status| status.code == Code::InvalidArgument)?;
    Some(status.message.clone())
}
