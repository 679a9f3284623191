//! Subscriptions: who is told of which changes, and where. The crate `webhooks` delivers.
//!
//! Owns the interface to the table of subscriptions ([`ports`]) and knows no vendor.

pub mod event;
mod filter;
mod index;
pub mod ports;
mod subscription;

pub use filter::{Filter, InvalidFilter};
pub use index::Index;
pub use subscription::{Status, StoredSecret, Subscription, new_id};
