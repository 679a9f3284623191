//! Newest-wins ingestion of internet scan results: Google Cloud Pub/Sub in, Amazon DynamoDB out.
//!
//! - [`scan`] decodes a message into a scan or a rejection. It is pure.
//! - [`consumer`] processes scans and defines the ports that it needs.
//! - [`pubsub`] and [`dynamo`] implement these ports. Only they know a vendor's client.
//! - [`hosts`] reads the records of addresses, networks and services.
//! - [`changes`] keeps a history of what changed.
//! - [`subscriptions`] decides who is told of which changes.
//! - [`api`] serves them as a REST API.
//! - [`service`] runs the consumer on both clouds and checks the setup first.
//! - [`dead_letters`] lists and redrives dead letters on an operator's command.
//! - [`backfill`] compares the history with the records on an operator's command.
//! - [`dead_changes`] lists and deletes changes that could not be handled on an operator's command.
//! - [`webhook_commands`] changes subscriptions and looks after their deliveries on an operator's command.
//! - [`get`] looks up addresses on a person's command.
//! - [`export`] writes every record to a file on an operator's command.
//! - [`observe`] counts and shows what the consumer reports: metrics, the status line and spans. [`cli`] defines the flags.
//! - `local` (cargo feature `local`) contains the embedded servers, the scan generator and the demo.
//!
//! `ARCHITECTURE.md` follows one message through these modules and lists the invariants.

pub mod api;
pub mod backfill;
pub mod changes;
pub mod cli;
pub mod consumer;
pub mod dead_changes;
pub mod dead_letters;
pub mod dynamo;
pub mod export;
pub mod get;
pub mod hosts;
#[cfg(feature = "local")]
pub mod local;
pub mod observe;
pub mod pubsub;
pub mod scan;
pub mod service;
pub mod subscriptions;
pub mod webhook_commands;
