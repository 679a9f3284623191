//! The dead-letter topic as the consumer's port. Drops a connection on which a publish request got no response. Does
//! not retry.

use std::sync::{Arc, Mutex, PoisonError};

use super::publishers::Publishers;
use super::{Connection, Problem, grant_publisher};
use crate::consumer::ports::{DeadLetter, DeadLetterError, DeadLetters};

#[derive(Debug)]
pub struct TopicDeadLetters {
    connection: Connection,
    topic: String,
    /// `None` after a publish request without a response, because the client never drops a dead connection by itself.
    publishers: Mutex<Option<Arc<Publishers>>>,
}

/// Publishers during a request. Unless they are marked as healthy, dropping this discards them.
struct InUse<'a> {
    owner: &'a TopicDeadLetters,
    publishers: Arc<Publishers>,
    is_healthy: bool,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let mut current = self.owner.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_healthy && current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &self.publishers)) {
            *current = None;
        }
    }
}

impl TopicDeadLetters {
    /// Prepares to publish to the topic with this full name. The first dead letter shows whether the topic exists.
    pub async fn connect(connection: &Connection, topic: &str) -> Result<TopicDeadLetters, Problem> {
        let dead_letters =
            TopicDeadLetters { connection: connection.clone(), topic: topic.to_owned(), publishers: Mutex::default() };
        dead_letters.publishers().await?.is_healthy = true;
        Ok(dead_letters)
    }

    /// Returns the current publishers, or new ones with their own connection.
    async fn publishers(&self) -> Result<InUse<'_>, Problem> {
        let current = || self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        let existing = current().clone();
        let publishers = match existing {
            Some(publishers) => publishers,
            None => {
                let publishers = Arc::new(Publishers::connect(&self.connection, &self.topic).await?);
                current().insert(publishers).clone()
            }
        };
        Ok(InUse { owner: self, publishers, is_healthy: false })
    }

    fn unavailable(&self, problem: &Problem) -> DeadLetterError {
        let topic = &self.topic;
        DeadLetterError::Unavailable(match problem {
            Problem::NotFound => format!(
                "dead-letter topic {topic} (--dead-letter-topic) does not exist; \
                 create it: mini-scan setup pubsub --topic TOPIC --dead-letter-topic {topic}"
            ),
            Problem::Refused(detail) => format!(
                "Pub/Sub denied publishing to {topic} (--dead-letter-topic): {detail}. Grant it: {}",
                grant_publisher(topic)
            ),
            problem => format!("cannot publish to {topic}: {problem}"),
        })
    }
}

impl DeadLetters for TopicDeadLetters {
    async fn publish(&self, dead_letter: DeadLetter) -> Result<(), DeadLetterError> {
        let mut publishers = self.publishers().await.map_err(|problem| self.unavailable(&problem))?;
        let problem = publishers.publishers.publish(dead_letter.payload, dead_letter.attributes).await.err();
        publishers.is_healthy =
            !matches!(problem, Some(Problem::Unreachable(_) | Problem::Transient(_) | Problem::Other(_)));
        match problem {
            None => Ok(()),
            Some(Problem::Invalid(detail)) => Err(DeadLetterError::Invalid(detail)),
            Some(problem) => Err(self.unavailable(&problem)),
        }
    }
}
