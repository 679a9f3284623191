//! The only module that knows google-cloud-pubsub: streams of a subscription, dead letters there and back,
//! administration.

mod admin;
mod connection;
mod dead_letters;
mod envelope;
mod letters;
mod problem;
mod publishers;
mod source;

pub use admin::{Admin, Found, SubscriptionSettings};
pub use connection::Connection;
pub use dead_letters::TopicDeadLetters;
pub use letters::{LEASE_EXTENSION, Leased, LetterReceipt, LetterStream};
pub use problem::{Problem, grant_publisher, grant_subscriber};
pub use publishers::Publishers;
pub use source::{StreamReceipt, StreamSettings, StreamSource};
