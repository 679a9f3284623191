//! The dead-letter topic as the consumer's port. A connection over which a letter found no answer is given up.

use std::sync::{Arc, Mutex, PoisonError};

use super::publishers::Publishers;
use super::{Connection, Problem, grant_publisher};
use crate::consumer::ports::{DeadLetter, DeadLetterError, DeadLetters};

#[derive(Debug)]
pub struct TopicDeadLetters {
    connection: Connection,
    topic: String,
    /// Absent after a letter that was not answered: the client never gives up a dead connection by itself.
    publishers: Mutex<Option<Arc<Publishers>>>,
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
                let publishers = Arc::new(Publishers::connect(&self.connection, &self.topic).await?);
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
                "publishing to {topic} (--dead-letter-topic) is refused: {detail}. Grant it: {}",
                grant_publisher(topic)
            ),
            problem => format!("cannot publish to {topic}: {problem}"),
        })
    }
}

impl DeadLetters for TopicDeadLetters {
    async fn publish(&self, letter: DeadLetter) -> Result<(), DeadLetterError> {
        let mut publishers = self.publishers().await.map_err(|problem| self.unavailable(&problem))?;
        let problem = publishers.publishers.publish(letter.payload, letter.attributes).await.err();
        publishers.proven = !matches!(problem, Some(Problem::Unreachable(_) | Problem::Other(_)));
        match problem {
            None => Ok(()),
            Some(Problem::Invalid(detail)) => Err(DeadLetterError::Invalid(detail)),
            Some(problem) => Err(self.unavailable(&problem)),
        }
    }
}
