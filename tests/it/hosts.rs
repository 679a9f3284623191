//! Reading of records from the table and its indexes, through the library.

mod failures;
mod pages;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{GlobalSecondaryIndex, KeyType, Projection, ProjectionType, ScalarAttributeType};
use mini_scan::consumer::ports::{Answer, Store};
use mini_scan::dynamo::{HostTable, Scans, connect};
use mini_scan::hosts::{Error, Filter, Hosts, Observer, Operation, Query};
use mini_scan::scan::{DataVersion, Key, Scan};

use tracing::Span;

use crate::support::dynamo::{Dynamo, attribute, key};
use crate::support::servers::DynamoServer;
use crate::support::{unique, with_timeout};

/// What DynamoDB Local 2.6 lacks.
pub(crate) const NO_KEYS_OF_TWO_ATTRIBUTES: &str = "the index of services, whose key has two attributes";

/// A table of records with both indexes.
pub(crate) struct Table {
    pub(crate) dynamo: Dynamo,
    pub(crate) name: String,
}

impl Table {
    pub(crate) async fn new() -> Table {
        let (dynamo, name) = (Dynamo::connect(), unique("hosts"));
        let create = dynamo.create(&name).attribute_definitions(attribute("ip", ScalarAttributeType::S));
        let create = create.attribute_definitions(attribute("port", ScalarAttributeType::N));
        let by_ip = index("by-ip", &[("ip", KeyType::Hash), ("port", KeyType::Range)]);
        let by_service =
            index("by-service", &[("port", KeyType::Hash), ("service", KeyType::Hash), ("ip", KeyType::Range)]);
        let create = create.global_secondary_indexes(by_ip);
        let create = match dynamo.skips(DynamoServer::DynamoDbLocal, NO_KEYS_OF_TWO_ATTRIBUTES) {
            true => create,
            false => create
                .attribute_definitions(attribute("service", ScalarAttributeType::S))
                .global_secondary_indexes(by_service),
        };
        with_timeout("a new table", create.send()).await.expect("the table is created");
        Table { dynamo, name }
    }

    /// Stores these scans as the consumer does.
    pub(crate) async fn store(&self, scans: impl IntoIterator<Item = Scan>) {
        let store = Scans::new(self.dynamo.client.clone(), self.name.clone(), None);
        for scan in scans {
            assert_eq!(store.put(&scan).await, Ok(Answer::Stored), "{scan:?}");
        }
    }

    /// Returns whether the server cannot have the index of services.
    pub(crate) fn lacks_services(&self) -> bool {
        self.dynamo.skips(DynamoServer::DynamoDbLocal, NO_KEYS_OF_TWO_ATTRIBUTES)
    }

    pub(crate) async fn delete(&self, key: &Key) {
        let key = crate::support::dynamo::text(key.as_str());
        let delete = self.dynamo.client.delete_item().table_name(&self.name).key("pk", key);
        delete.send().await.expect("the item is deleted");
    }

    async fn hosts(&self) -> (Hosts<HostTable>, Arc<Counts>) {
        self.hosts_at(&self.dynamo.endpoint).await
    }

    /// Returns the reader of this table at another endpoint, e.g. a proxy.
    async fn hosts_at(&self, endpoint: &str) -> (Hosts<HostTable>, Arc<Counts>) {
        let counts = Arc::<Counts>::default();
        let client = connect(Some(endpoint)).await.expect("a client");
        (Hosts::new(HostTable::new(client, self.name.clone(), None), counts.clone()), counts)
    }
}

fn index(name: &str, keys: &[(&str, KeyType)]) -> GlobalSecondaryIndex {
    let schema = keys.iter().map(|(name, kind)| key(name, kind.clone())).collect();
    let projection = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
    let index = GlobalSecondaryIndex::builder().index_name(name).set_key_schema(Some(schema)).projection(projection);
    index.build().expect("a complete index")
}

/// What the reader reported.
#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    failures: AtomicU64,
    unprocessed: AtomicU64,
    /// Read units are multiples of a half.
    half_units: AtomicU64,
}

impl Counts {
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn units(&self) -> f64 {
        self.half_units.load(Ordering::Relaxed) as f64 / 2.0
    }
}

impl Observer for Counts {
    fn called(&self, _: &Span, _: Operation, _: Duration, failure: Option<&Error>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(failure.is_some()), Ordering::Relaxed);
    }

    fn read_units(&self, units: f64) {
        self.half_units.fetch_add((units * 2.0) as u64, Ordering::Relaxed);
    }

    fn unprocessed(&self) {
        self.unprocessed.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn scan(ip: &str, port: u16, service: &str) -> Scan {
    Scan {
        key: Key::new(ip.parse().expect("an address"), port, service),
        timestamp: 1_740_298_125,
        data_version: DataVersion::V2,
        response: format!("{service} on {port}"),
        response_bytes: None,
    }
}

fn addresses(ips: &[&str], filter: Filter) -> Query {
    Query::Addresses(ips.iter().map(|ip| ip.parse().expect("an address")).collect(), filter)
}

fn all_of(ip: &str) -> Query {
    addresses(&[ip], Filter::default())
}
