//! The only module that knows aws-sdk-dynamodb: the conditional write of a scan, and the table it goes to.

mod batch;
mod client;
mod credentials;
mod error;
mod item;
mod lean;
mod probe;
mod scans;
mod table;

pub use aws_sdk_dynamodb::Client;
pub use client::{Problem, connect};
pub use probe::check_write;
pub use scans::Scans;
pub use table::{check, create};
