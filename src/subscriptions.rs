//! Subscriptions: who is told of which changes, and where. The crate `webhooks` delivers.
//!
//! Owns the interface to the table of subscriptions ([`ports`]) and knows no vendor.

pub mod dead;
pub mod event;
mod filter;
mod index;
pub mod operations;
pub mod ports;
mod subscription;
mod view;

pub use filter::{Filter, InvalidFilter};
pub use index::Index;
pub use subscription::{Status, StoredSecret, Subscription, new_id};
pub use view::{SubscriptionView, event_type, origin, parse_event, parse_network};
