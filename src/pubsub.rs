//! The only module that knows google-cloud-pubsub: streams of a subscription, the dead-letter topic, administration.

mod admin;
mod connection;
mod dead_letters;
mod problem;
mod source;

pub use admin::{Admin, Found, SubscriptionSettings};
pub use connection::Connection;
pub use dead_letters::TopicDeadLetters;
pub use problem::Problem;
pub use source::{StreamReceipt, StreamSettings, StreamSource};
