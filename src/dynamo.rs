//! The only module that knows aws-sdk-dynamodb: the conditional write of a scan, error classification, and the tables.
//! Does not decide what follows from an error.

mod add_index;
mod batch;
mod changes_tables;
mod client;
mod credentials;
mod error;
mod history;
mod hosts;
mod images;
mod index;
mod item;
mod pages;
mod probe;
mod scans;
mod sdk_headers;
mod table;

pub use add_index::{Added, Wait, add_index};
pub use aws_sdk_dynamodb::Client;
pub use changes_tables::{
    ChangesTable, Permission, StreamState, check_changes_table, check_permission, check_stream,
    check_stream_permissions, create_changes_table, enable_stream,
};
pub use client::{Problem, StreamsClient, connect, connect_streams};
pub use history::{DeadLetterPage, HistoryKey, HistoryTable, StoredDeadLetter, SummaryPage};
pub use hosts::HostTable;
pub use images::{ImageStream, StreamName, stream_name};
pub use index::IndexState;
pub use pages::{Content, MAX_PAGE_UNITS, Page, PageFilter, Pages, Position, Row, content};
pub use probe::check_write;
pub use scans::Scans;
pub use table::{check, create};
