//! Connects to DynamoDB, classifies its errors, and creates and checks tables. Knows no program's items.
//!
//! - [`connect`], [`connect_streams`] and [`sdk_config`] connect with this machine's credentials, or to a local server.
//! - [`failed`], [`applied`], [`answered`] and [`read_units`] read answers; [`StoreErrorKind`] names what failed.
//! - [`TableSpec`] describes what a program needs of a table: [`create_table`], [`check_table`], [`check_permission`].
//! - [`NamedTable`] explains a problem with a table to a person.
//! - [`cancelled`] reads why a transaction was cancelled; [`transact`] repeats one that met another one.
//! - [`raise_warm_throughput`] prepares a table for load.
//! - [`values`] reads and builds attributes.

mod client;
mod credentials;
mod error;
mod named_table;
mod sdk_headers;
mod spec;
mod stream;
mod table;
mod transaction;
pub mod values;
mod warm;

use std::collections::HashMap;

pub use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
pub use client::{Problem, StreamsClient, connect, connect_streams, sdk_config};
pub use error::{
    CallError, StoreError, StoreErrorKind, answered, applied, by_code, failed, not_from_dynamodb, read_units,
};
pub use named_table::NamedTable;
pub use sdk_headers::NoSdkHeaders;
pub use spec::{IndexSpec, Key, Permission, TableSpec, check_permission, check_table, create_table, hash, range};
pub use stream::{StreamName, StreamState, check_stream_permissions, enable_stream, stream_name, stream_state};
pub use table::{
    EXPIRES_AT, POLL_INTERVAL, attribute_type, built, describe, enable_expiry, has_expiry, key_text, wait_until,
    wait_until_active, within_timeout,
};
pub use transaction::{Checked, TransactionError, cancelled, incomplete, transact};
pub use warm::{WarmThroughput, raise_warm_throughput, warm_throughput};

/// The attributes of an item by their names.
pub type Item = HashMap<String, AttributeValue>;
