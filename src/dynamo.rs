//! The only module that knows aws-sdk-dynamodb: the conditional write of a scan, error classification, and the tables.
//! Does not decide what follows from an error.

mod add_index;
mod batch;
mod client;
mod credentials;
mod deliveries;
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
mod side_tables;
mod stream;
mod subscriptions;
mod table;
mod transaction;
mod values;

pub use add_index::{Added, Wait, add_index};
pub use aws_sdk_dynamodb::Client;
pub use client::{Problem, StreamsClient, connect, connect_streams};
pub use deliveries::{Delivered, DeliveriesKept, DeliveryTable, FoundDelivery, Replayed};
pub use history::{DeadLetterPage, HistoryKey, HistoryPage, HistoryTable, StoredDeadLetter};
pub use hosts::HostTable;
pub use images::{ImageStream, StreamName, stream_name};
pub use index::IndexState;
pub use pages::{Content, MAX_PAGE_UNITS, Page, PageFilter, Pages, Position, Row, content};
pub use probe::check_write;
pub use scans::Scans;
pub use side_tables::{Permission, SideTable, check_permission, check_side_table, create_side_table};
pub use stream::{StreamState, check_stream, check_stream_permissions, enable_stream};
pub use subscriptions::SubscriptionTable;
pub use table::{check, create};
