//! Prints signed webhooks, so that other implementations can verify them. The columns are separated by tabs: the secrets
//! with a space between them, the id, the time, the body, and the signatures.

use std::time::UNIX_EPOCH;

use webhooks::{Clock, EndpointId, Secret, Signer, SystemClock, WebhookId};

fn main() -> Result<(), webhooks::BoxError> {
    let endpoint = EndpointId::parse("customer-7")?;
    let timestamp = SystemClock.now().duration_since(UNIX_EPOCH)?.as_secs();
    let (old, new) = (Secret::generate(), Secret::generate());
    let shortest = Secret::from_bytes(&[1; 24])?;
    for secrets in [vec![&old], vec![&new, &old], vec![&shortest]] {
        for body in ["", "{}", r#"{"type":"scan.opened","data":{"name":"ä €"}}"#] {
            let id = WebhookId::of(&[body.as_bytes()], &endpoint);
            let signatures = Signer::new(secrets.iter().copied()).sign(id.as_str(), timestamp, body.as_bytes());
            let revealed: Vec<_> = secrets.iter().map(|secret| secret.reveal().to_string()).collect();
            println!("{}\t{id}\t{timestamp}\t{body}\t{signatures}", revealed.join(" "));
        }
    }
    Ok(())
}
