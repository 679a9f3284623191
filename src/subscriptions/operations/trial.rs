//! A test of an endpoint: one signed webhook that no change caused.

use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::time::Instant;
use webhooks::{Answer, EndpointId, Failure, Post, Sender, Signer, WebhookId};

use super::{Access, OperationError, Operations, Vault};
use crate::scan::to_unix_seconds;
use crate::subscriptions::Subscription;
use crate::subscriptions::ports::Subscriptions;

/// The type in the body of a test.
pub const TEST_TYPE: &str = "scan.test";

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    pub id: WebhookId,
    pub result: Result<Answer, Failure>,
    pub took: Duration,
}

impl Trial {
    /// Whether the endpoint accepted the webhook.
    pub fn is_accepted(&self) -> bool {
        matches!(&self.result, Ok(answer) if (200..300).contains(&answer.status))
    }
}

impl<S: Subscriptions> Operations<S> {
    /// Sends one signed webhook, also if the subscription is paused or disabled. Makes one attempt and stores nothing.
    pub async fn test(
        &self,
        access: Access<'_>,
        id: &EndpointId,
        vault: &Vault,
        sender: &impl Sender,
        now: SystemTime,
    ) -> Result<Trial, OperationError> {
        let subscription = self.get(access, id).await?;
        let webhook = WebhookId::of(&[TEST_TYPE.as_bytes(), &rand::random::<[u8; 16]>()], id);
        let post = post(&subscription, &webhook, vault, now)?;
        let began = Instant::now();
        let result = sender.send(post).await;
        Ok(Trial { id: webhook, result, took: began.elapsed() })
    }
}

fn post(
    subscription: &Subscription,
    webhook: &WebhookId,
    vault: &Vault,
    now: SystemTime,
) -> Result<Post, OperationError> {
    let timestamp = to_unix_seconds(now);
    let secrets = subscription.secrets.iter().filter(|secret| secret.until.is_none_or(|until| until > timestamp));
    let secrets: Vec<_> = secrets
        .map(|secret| vault.keys.open(&secret.sealed, &subscription.id))
        .collect::<Result<_, _>>()
        .map_err(OperationError::Secret)?;
    let body = json!({
        "type": TEST_TYPE,
        "timestamp": humantime::format_rfc3339_seconds(now).to_string(),
        "data": { "subscription": subscription.id.as_str() },
    });
    let body = body.to_string();
    Ok(Post {
        url: subscription.url.clone(),
        id: webhook.as_str().to_owned(),
        timestamp,
        signature: Some(Signer::new(&secrets).sign(webhook.as_str(), timestamp, body.as_bytes())),
        trace: None,
        body: body.into(),
    })
}
