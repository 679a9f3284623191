//! Client events: their contract, and what becomes of each message of the queue.
//!
//! - [`event`] decodes a message into an event or a reason why it is invalid. It is pure.
//! - [`processor`] stores what the queue delivers.
//! - [`ports`] is what it needs from outside.
//! - [`schema`] loads JSON Schemas and validates events.
//! - [`moment`] has the one form of times that sorts.

pub mod event;
pub mod moment;
pub mod ports;
pub mod processor;
pub mod schema;
