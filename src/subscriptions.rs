//! Subscriptions: who is told of which changes, and where. The crate `webhooks` delivers.
//!
//! Owns the interface to the table of subscriptions ([`ports`]) and knows no vendor.

mod filter;
pub mod ports;
mod subscription;

pub use filter::{Filter, InvalidFilter};
pub use subscription::{Status, StoredSecret, Subscription, new_id};
