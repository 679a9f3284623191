//! `widget-registry`: widgets and the symmetric connections between their ports, in DynamoDB.
//!
//! - `widget`, `operation`, `transaction` and `plan` are pure: what a widget is, what a client asks for, and the transaction that
//!   does it.
//! - `registry` is the write path: it repeats attempts until an operation has a definitive answer. Owns the interface to the
//!   tables that it needs (`ports`).
//! - `table` implements that interface with DynamoDB.
//! - `api` serves the registry over HTTP. `service` connects it to its tables.
//! - `client` calls the API, for commands that put load on it. `local` has the embedded servers and the demo.
//! - `tools` has the operator's commands, `observe` the logs and metrics, and `cli` the flags.

pub mod api;
pub mod cli;
pub mod client;
#[cfg(feature = "local")]
pub mod local;
pub mod names;
pub mod observe;
pub mod operation;
pub mod plan;
pub mod ports;
pub mod registry;
pub mod service;
pub mod table;
pub mod tools;
pub mod transaction;
pub mod widget;

#[cfg(test)]
mod simulation;
