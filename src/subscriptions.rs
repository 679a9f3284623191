//! Subscriptions: who is told of which changes, and where. The crate `webhooks` delivers.
//!
//! Owns the interface to the table of subscriptions ([`ports`]) and knows no vendor.

pub mod dead;
mod deliveries;
mod directory;
pub mod event;
#[cfg(test)]
mod fakes;
mod filter;
mod index;
mod notifier;
pub mod operations;
pub mod ports;
mod subscription;
mod unfinished;
mod view;

pub use deliveries::WatchedDeliveries;
pub use directory::{Counts, Directory};
pub use filter::{Filter, InvalidFilter};
pub use index::Index;
pub use notifier::{DirectoryEngine, WebhookNotifier};
pub use subscription::{Status, StoredSecret, Subscription, new_id};
pub use view::{SubscriptionView, event_type, origin, parse_event, parse_network};
