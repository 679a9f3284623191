//! Delivers events to endpoints by Standard Webhooks.

mod address;
mod connector;
mod ids;
mod resolver;
mod secret;
mod sender;
mod signing;
mod target;

pub use ids::{EndpointId, InvalidEndpointId, WebhookId};
pub use resolver::{Addresses, Resolver, SystemResolver};
pub use secret::{InvalidSecret, KeyFileError, OpenError, SealedSecret, Secret, SecretKeys};
pub use sender::{Answer, Failure, HttpSender, Post, Sender, SenderError, SenderSettings};
pub use signing::{Rejected, SIGNATURE, SIGNED_ID, Signer, TIMESTAMP, verify};
pub use target::{AllowedTarget, InvalidTarget, Policy, RefusedTarget, Target};
