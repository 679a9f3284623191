//! Client events: their contract, what becomes of each message of the queue, and the tools around both.
//!
//! - [`event`] decodes a message into an event or a reason why it is invalid. It is pure.
//! - [`processor`] stores what the queue delivers.
//! - [`ports`] is what it needs from outside.
//! - [`schema`] loads JSON Schemas and validates events.
//! - [`queues`] is SQS, for it and for the tools, and [`table`] is its table.
//! - [`dead_letter`] describes dead letters in attributes of SQS, and [`trace`] continues traces. Both are pure.
//! - [`moment`] has the one form of times that sorts.
//! - [`buckets`] has the number of partitions of each client.
//! - [`names`] has the names of the queues and tables.
//! - [`observe`] is the program as logs and metrics name it.
//! - [`tools`] is the commands of operators.
//! - [`key`] has the names under which an event is delivered.
//! - [`routes`] names where the events of a client are delivered.
//! - [`deliver`] delivers what is stored.
//! - [`service`] connects the roles to their services.
//! - `local` is the embedded servers and the demo.
//! - [`cli`] turns flags into settings.

pub mod buckets;
pub mod cli;
pub mod dead_letter;
pub mod deliver;
pub mod event;
pub mod key;
#[cfg(feature = "local")]
pub mod local;
pub mod moment;
pub mod names;
pub mod observe;
pub mod ports;
pub mod processor;
pub mod queues;
pub mod routes;
pub mod schema;
pub mod service;
pub mod table;
pub mod tools;
pub mod trace;
