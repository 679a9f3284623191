//! Reads the dead-letter subscription, with a client of its own: what the consumer published is not believed but looked
//! at.

use std::time::Duration;

use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::Subscriber;
use tokio::time::timeout;

use super::truth::Letter;

/// How long nothing may come before it is taken that nothing more will.
const SILENCE: Duration = Duration::from_secs(5);

/// The letters of a subscription, until there are `expected` or no more come.
pub(super) async fn read(host: &str, subscription: &str, expected: usize) -> Result<Vec<Letter>, String> {
    let mut letters = Vec::with_capacity(expected);
    if expected == 0 {
        return Ok(letters);
    }
    let builder = Subscriber::builder()
        .with_endpoint(format!("http://{host}"))
        .with_credentials(anonymous::Builder::new().build());
    let client = builder.build().await.map_err(|error| error.to_string())?;
    let mut stream = client.subscribe(subscription).build();
    while letters.len() < expected {
        let Ok(Some(delivery)) = timeout(SILENCE, stream.next()).await else { break };
        let (message, handler) = delivery.map_err(|error| error.to_string())?;
        letters.push(Letter { payload: message.data, reason: message.attributes.get("rejection_reason").cloned() });
        handler.ack();
    }
    Ok(letters)
}
