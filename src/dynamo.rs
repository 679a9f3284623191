//! The only module that knows aws-sdk-dynamodb: the conditional write of a scan, and the tables. Does not decide what
//! follows from an error.

mod add_index;
mod batch;
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
mod side_tables;
mod stream;
mod subscriptions;
mod table;

pub use add_index::{Added, Wait, add_index};
pub use deliveries::{Delivered, DeliveriesKept, DeliveryTable, FoundDelivery, Replayed};
pub use dynamodb::{
    Client, Permission, Problem, StreamName, StreamState, StreamsClient, TableSetup, check_permission,
    check_stream_permissions, check_table, create_table, stream_name,
};
pub use history::{DeadLetterPage, HistoryKey, HistoryPage, HistoryTable, StoredDeadLetter};
pub use hosts::HostTable;
pub use images::{ImageStream, image_stream};
pub use index::IndexState;
pub use pages::{Content, MAX_PAGE_UNITS, Page, PageFilter, Pages, Position, Row, content};
pub use probe::check_write;
pub use scans::Scans;
pub use side_tables::SideTable;
pub use stream::{check_stream, enable_stream};
pub use subscriptions::SubscriptionTable;
pub use table::{check, create};

const USER_AGENT: &str = concat!("mini-scan/", env!("CARGO_PKG_VERSION"));

/// Returns a client of the tables. See [`dynamodb::connect`].
pub async fn connect(endpoint: Option<&str>) -> Result<Client, Problem> {
    dynamodb::connect(endpoint, USER_AGENT).await
}

/// Returns a client of the streams. See [`dynamodb::connect_streams`].
pub async fn connect_streams(endpoint: Option<&str>) -> Result<StreamsClient, Problem> {
    dynamodb::connect_streams(endpoint, USER_AGENT).await
}
