//! The simulated dead-letter topic. Every attempt to publish is checked.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::faults::{PublishAnswer, PublishCall, Script};
use super::world::World;
use crate::consumer::ports::{DeadLetter, DeadLetterError, DeadLetters};

const LATENCY: Duration = Duration::from_millis(5);

/// The number of attributes of a dead letter with its reason alone.
pub(super) const BARE: usize = 1;

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) calls: Vec<Instant>,
    /// The payloads of dead letters that were refused as invalid.
    refused: Vec<Bytes>,
    pub(super) fault: Script<PublishCall, PublishAnswer>,
}

impl Default for Topic {
    fn default() -> Topic {
        Topic {
            dead_letters: Vec::new(),
            calls: Vec::new(),
            refused: Vec::new(),
            fault: Script::new(|_| PublishAnswer::Normal),
        }
    }
}

impl Topic {
    pub(super) fn has(&self, payload: &Bytes) -> bool {
        self.dead_letters.iter().any(|dead_letter| dead_letter.payload == *payload)
    }

    pub(super) fn has_refused(&self, payload: &Bytes) -> bool {
        self.refused.contains(payload)
    }

    pub(super) fn reasons(&self) -> Vec<&str> {
        self.dead_letters.iter().map(|dead_letter| dead_letter.attributes["rejection_reason"].as_str()).collect()
    }
}

#[derive(Debug)]
pub(super) struct SimDeadLetters {
    pub(super) world: World,
    pub(super) instance: usize,
}

impl DeadLetters for SimDeadLetters {
    async fn publish(&self, dead_letter: DeadLetter) -> Result<(), DeadLetterError> {
        let answer = {
            let mut state = self.world.state();
            state.check_dead_letter(self.instance, &dead_letter);
            let at = state.start.elapsed();
            state.topic.calls.push(Instant::now());
            let number = state.topic.calls.len();
            state.topic.fault.call(PublishCall { number, attributes: dead_letter.attributes.len(), at })
        };
        self.world.notify();
        sleep(LATENCY).await;
        match answer {
            PublishAnswer::Normal | PublishAnswer::ResponseLost => {
                self.world.state().topic.dead_letters.push(dead_letter);
                self.world.notify();
            }
            PublishAnswer::Unavailable => {}
            PublishAnswer::Invalid => {
                self.world.state().topic.refused.push(dead_letter.payload);
                return Err(DeadLetterError::Invalid("injected".to_owned()));
            }
            PublishAnswer::Hang => std::future::pending().await,
        }
        match answer {
            PublishAnswer::Normal => Ok(()),
            _ => Err(DeadLetterError::Unavailable("injected".to_owned())),
        }
    }
}
