//! Reads the dead-letter subscription with its own client, so that the check does not rely on the consumer's counts.

use std::time::Duration;

use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::Subscriber;
use tokio::time::timeout;

use super::truth::DeadLetter;

/// How long to wait for the next dead letter.
const NEXT_TIMEOUT: Duration = Duration::from_secs(20);

/// Reads `expected` dead letters, or fewer if no more arrive.
pub(super) async fn read(host: &str, subscription: &str, expected: usize) -> Result<Vec<DeadLetter>, String> {
    let mut dead_letters = Vec::with_capacity(expected);
    if expected == 0 {
        return Ok(dead_letters);
    }
    let builder = Subscriber::builder()
        .with_endpoint(format!("http://{host}"))
        .with_credentials(anonymous::Builder::new().build());
    let client = builder.build().await.map_err(|error| error.to_string())?;
    let mut stream = client.subscribe(subscription).build();
    while dead_letters.len() < expected {
        let Ok(Some(delivery)) = timeout(NEXT_TIMEOUT, stream.next()).await else { break };
        let (message, handler) = delivery.map_err(|error| error.to_string())?;
        dead_letters
            .push(DeadLetter { payload: message.data, reason: message.attributes.get("rejection_reason").cloned() });
        handler.ack();
    }
    Ok(dead_letters)
}
