//! Subscriptions: who is told of which changes, and where. The crate `webhooks` delivers.
//!
//! Owns the interface to the table of subscriptions ([`ports`]) and knows no vendor.

mod deliveries;
mod directory;
pub mod event;
#[cfg(test)]
mod fakes;
mod filter;
mod index;
mod notifier;
pub mod ports;
mod subscription;
mod unfinished;

pub use deliveries::WatchedDeliveries;
pub use directory::{Counts, Directory};
pub use filter::{Filter, InvalidFilter};
pub use index::Index;
pub use notifier::{DirectoryEngine, WebhookNotifier};
pub use subscription::{Status, StoredSecret, Subscription, new_id};
