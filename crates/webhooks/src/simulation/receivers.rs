//! The receivers: healthy, slow, failing and hanging ones.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::world::{World, id, secret};
use crate::ids::WebhookId;
use crate::ports::Clock;
use crate::sender::{Answer, Failure, Post, Sender};
use crate::signing::verify;

#[derive(Clone, Copy, Debug)]
pub(super) enum Behaviour {
    /// Answers 200 within this time.
    Healthy(Duration),
    /// Answers with this status.
    Failing(u16),
    /// Never answers. It may have accepted the webhook.
    Hanging,
    /// Fails with this probability, before or after it accepted the webhook.
    Flaky(f64),
    /// Is hanging or failing until this time, and healthy later.
    Recovers(Instant, bool),
    /// Answers 429, and asks for a pause, until this time.
    Busy(Instant),
}

fn answer(status: u16) -> Result<Answer, Failure> {
    Ok(Answer { status, retry_after: None, body: Bytes::new() })
}

impl Sender for World {
    async fn send(&self, post: Post) -> Result<Answer, Failure> {
        let name = post.url.strip_prefix("https://").and_then(|url| url.strip_suffix(".test/")).unwrap();
        let headers = (post.id.as_str(), &*post.timestamp.to_string(), post.signature.as_deref().unwrap());
        verify(&[secret()], headers, &post.body, self.now(), Duration::from_secs(1)).unwrap();
        let endpoint = id(name);
        let behaviour = self.state().behaviours[&endpoint];
        let accept = || {
            let key = (endpoint.clone(), WebhookId::from_stored(&post.id).unwrap());
            self.state().received.entry(key).or_default().push(Instant::now());
        };
        match behaviour {
            Behaviour::Failing(status) => answer(status),
            Behaviour::Recovers(until, false) if Instant::now() < until => answer(500),
            Behaviour::Recovers(until, true) if Instant::now() < until => pending().await,
            Behaviour::Hanging => pending().await,
            Behaviour::Busy(until) if Instant::now() < until => {
                Ok(Answer { status: 429, retry_after: Some(Duration::from_secs(3)), body: Bytes::new() })
            }
            Behaviour::Flaky(probability) => {
                let (draw, longest) = (self.state().random.random::<f64>(), Duration::from_secs(12));
                let time = self.state().random.random_range(Duration::ZERO..longest);
                sleep(time).await;
                if !self.has_faults() || draw >= probability {
                    accept();
                    return answer(204);
                }
                if draw < probability / 2.0 {
                    accept();
                }
                Err(Failure::Broken)
            }
            Behaviour::Healthy(time) => {
                sleep(time).await;
                accept();
                answer(200)
            }
            Behaviour::Recovers(..) | Behaviour::Busy(_) => {
                accept();
                answer(200)
            }
        }
    }
}
