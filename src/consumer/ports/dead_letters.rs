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
    /// Publishes one letter. `Ok` proves that the topic has it.
    fn publish(&self, letter: DeadLetter) -> impl Future<Output = Result<(), DeadLetterError>>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
    /// The topic cannot be reached, is missing or refused.
    #[error("{0}")]
    Unavailable(String),
    /// This letter, published alone, breaks a limit of the service.
    #[error("{0}")]
    Invalid(String),
}
