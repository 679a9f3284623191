//! The only module that knows google-cloud-pubsub: streams of a subscription, dead letters there and back,
//! administration.

mod admin;
mod connection;
mod dead_letter_stream;
mod dead_letters;
mod envelope;
mod permissions;
mod problem;
mod publishers;
mod source;

pub use admin::{Admin, Found, SubscriptionSettings};
pub use connection::Connection;
pub use dead_letter_stream::{DeadLetterReceipt, DeadLetterStream, LEASE_EXTENSION, Leased};
pub use dead_letters::TopicDeadLetters;
pub use permissions::has_permission;
pub use problem::{Problem, grant_publisher, grant_subscriber};
pub use publishers::Publishers;
pub use source::{StreamReceipt, StreamSettings, StreamSource};
