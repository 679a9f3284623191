//! The only module that knows aws-sdk-dynamodb: the conditional write of a scan, error classification, and the table.
//! Does not decide what follows from an error.

mod batch;
mod client;
mod credentials;
mod error;
mod hosts;
mod item;
mod probe;
mod scans;
mod sdk_headers;
mod table;

pub use aws_sdk_dynamodb::Client;
pub use client::{Problem, connect};
pub use hosts::HostTable;
pub use probe::check_write;
pub use scans::Scans;
pub use table::{check, create};
