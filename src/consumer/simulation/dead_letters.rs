//! The simulated dead-letter topic.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::faults::{Posting, Publishing, Script};
use super::world::World;
use crate::consumer::ports::{DeadLetter, DeadLetterError, DeadLetters};

const LATENCY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) letters: Vec<DeadLetter>,
    pub(super) calls: Vec<Instant>,
    pub(super) fault: Script<Posting, Publishing>,
}

impl Default for Topic {
    fn default() -> Topic {
        Topic { letters: Vec::new(), calls: Vec::new(), fault: Script::new(|_| Publishing::Well) }
    }
}

impl Topic {
    pub(super) fn has(&self, payload: &Bytes) -> bool {
        self.letters.iter().any(|letter| letter.payload == *payload)
    }

    pub(super) fn reasons(&self) -> Vec<&str> {
        self.letters.iter().map(|letter| letter.attributes["rejection_reason"].as_str()).collect()
    }
}

#[derive(Debug)]
pub(super) struct SimDeadLetters {
    pub(super) world: World,
}

impl DeadLetters for SimDeadLetters {
    async fn publish(&self, letter: DeadLetter) -> Result<(), DeadLetterError> {
        let how = {
            let mut state = self.world.state();
            let at = state.start.elapsed();
            state.topic.calls.push(Instant::now());
            let number = state.topic.calls.len();
            state.topic.fault.ask(Posting { number, attributes: letter.attributes.len(), at })
        };
        self.world.note();
        sleep(LATENCY).await;
        match how {
            Publishing::Well | Publishing::Unanswered => {
                self.world.state().topic.letters.push(letter);
                self.world.note();
            }
            Publishing::Unavailable => {}
            Publishing::Invalid => return Err(DeadLetterError::Invalid("told to refuse".to_owned())),
            Publishing::Never => std::future::pending().await,
        }
        match how {
            Publishing::Well => Ok(()),
            _ => Err(DeadLetterError::Unavailable("told to be away".to_owned())),
        }
    }
}
