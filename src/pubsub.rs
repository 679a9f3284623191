//! The only module that knows google-cloud-pubsub: streams of a subscription, publishing and reading dead letters, and
//! administration. Does not decide what follows from a message.

mod admin;
mod connection;
mod dead_letter_stream;
mod dead_letters;
mod envelope;
mod permissions;
mod problem;
mod publishers;
mod source;

pub use admin::{Admin, Delivery, SubscriptionDetails, SubscriptionSettings};
pub use connection::Connection;
pub use dead_letter_stream::{
    DeadLetterReceipt, DeadLetterStream, FORGOTTEN_AFTER, LEASE_EXTENSION, LeaseLimit, PASSING_LEASE,
};
pub use dead_letters::TopicDeadLetters;
pub use permissions::{CONSUME, has_permission};
pub use problem::{Problem, grant_publisher, grant_subscriber};
pub use publishers::Publishers;
pub use source::{Activity, StreamReceipt, StreamSettings, StreamSource};
