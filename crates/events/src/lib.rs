//! Client events: their contract, what becomes of each message of the queue, and the tools around both.
//!
//! - [`event`] decodes a message into an event or a reason why it is invalid. It is pure.
//! - [`processor`] stores what the queue delivers.
//! - [`ports`] is what it needs from outside.
//! - [`schema`] loads JSON Schemas and validates events.
//! - [`moment`] has the one form of times that sorts.
//! - [`buckets`] has the number of partitions of each client.
//! - [`names`] has the names of the queues and tables.
//! - [`observe`] is the program as logs and metrics name it.
//! - [`table`] stores events, and [`queues`] is SQS as the tools use it.
//! - [`tools`] is the commands of operators.
//! - [`cli`] turns flags into settings.

pub mod buckets;
pub mod cli;
pub mod dead_letter;
pub mod event;
pub mod moment;
pub mod names;
pub mod observe;
pub mod ports;
pub mod processor;
pub mod queues;
pub mod schema;
pub mod table;
pub mod tools;
pub mod trace;
