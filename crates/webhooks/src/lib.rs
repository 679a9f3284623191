#![doc = include_str!("../README.md")]

mod address;
mod breaker;
mod connector;
mod delivery;
mod engine;
mod ids;
mod origin;
mod ports;
mod rate;
mod resolver;
mod schedule;
mod secret;
mod sender;
mod settings;
mod signing;
#[cfg(test)]
mod simulation;
mod stored;
mod target;
mod traffic;

pub use breaker::BreakerSettings;
pub use delivery::{DeadReason, Delivery, LastAttempt, StoredDelivery, Token};
pub use engine::{Engine, Handled};
pub use ids::{EndpointId, InvalidEndpointId, WebhookId};
pub use origin::{Origin, TraceParent};
pub use ports::{
    BoxError, Changed, Clock, Deferred, DeliveryStore, DisabledReason, DueDelivery, Endpoint, EndpointStatus,
    EndpointStore, Observer, Report, StoreError, SystemClock,
};
pub use resolver::{Addresses, Resolver, SystemResolver};
pub use schedule::Schedule;
pub use secret::{InvalidSecret, KeyFileError, OpenError, SealedSecret, Secret, SecretKeys};
pub use sender::{Answer, Failure, HttpSender, Post, Sender, SenderError, SenderSettings};
pub use settings::Settings;
pub use signing::{Rejected, SIGNATURE, SIGNED_ID, Signer, TIMESTAMP, verify};
pub use target::{AllowedTarget, InvalidTarget, Policy, RefusedTarget, Target};
