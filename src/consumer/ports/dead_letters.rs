//! A dead-letter topic.

use std::collections::HashMap;
use std::future::Future;

use bytes::Bytes;

/// A rejected message on its way to the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub payload: Bytes,
    pub attributes: HashMap<String, String>,
}

/// The dead-letter topic.
pub trait DeadLetters {
    /// Publishes one dead letter. `Ok` proves that the topic has it.
    fn publish(&self, dead_letter: DeadLetter) -> impl Future<Output = Result<(), DeadLetterError>>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
    /// The topic does not exist, cannot be reached, or denies permission.
    #[error("{0}")]
    Unavailable(String),
    /// This dead letter, published alone, exceeds a limit of the service.
    #[error("{0}")]
    Invalid(String),
}
