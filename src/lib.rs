//! Newest-wins ingestion of internet scan results: Google Cloud Pub/Sub in, Amazon DynamoDB out.
//!
//! The map: [`scan`] says what a scan is and is pure. [`consumer`] says what is done with one and owns the ports it
//! needs; [`pubsub`] and [`dynamo`] implement them and are the only modules that know a vendor's client, and [`service`]
//! runs it all. [`letters`] brings dead letters back by hand. [`telemetry`] reports, [`cli`] holds the flags, and `local` (cargo feature `local`) the embedded servers, the
//! generator and the demo. `ARCHITECTURE.md` has the walk of one message and the invariants.

pub mod cli;
pub mod consumer;
pub mod dead_letters;
pub mod dynamo;
#[cfg(feature = "local")]
pub mod local;
pub mod observe;
pub mod pubsub;
pub mod scan;
pub mod service;
