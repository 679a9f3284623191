//! The tables of the pipeline, with what is needed of each.

use aws_sdk_dynamodb::types::{KeyType, ScalarAttributeType};
use dynamodb::{Client, IndexSpec, Permission, TableSpec, hash, range};

use super::error::NamedTable;
use crate::names::{Endpoints, Tables};
use crate::observe::PROGRAM;
use crate::table::spec::EVENTS;

/// A table of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Events,
    Routes,
    Deliveries,
    Leases,
}

static ROUTES: TableSpec = TableSpec { keys: &[hash("client_id")], index: None, expires: false, stream: None };
static BY_DUE: IndexSpec = IndexSpec {
    name: "by-due",
    keys: &[hash("queue"), ("due", KeyType::Range, ScalarAttributeType::N)],
    includes: Some(&["token"]),
};
static DELIVERIES: TableSpec =
    TableSpec { keys: &[hash("queue"), range("id")], index: Some(&BY_DUE), expires: true, stream: None };
/// Leases never expire: a deleted lease reads its shard again.
static LEASES: TableSpec = TableSpec { keys: &[hash("leaseKey")], index: None, expires: false, stream: None };

impl Kind {
    pub(super) const ALL: [Kind; 4] = [Kind::Events, Kind::Routes, Kind::Deliveries, Kind::Leases];

    pub(super) fn named(self, tables: &Tables) -> NamedTable<'_> {
        let (name, flag) = match self {
            Kind::Events => (&tables.events, "--events-table"),
            Kind::Routes => (&tables.routes, "--routes-table"),
            Kind::Deliveries => (&tables.deliveries, "--deliveries-table"),
            Kind::Leases => (&tables.leases, "--leases-table"),
        };
        NamedTable { name, flag }
    }

    pub(super) fn spec(self) -> &'static TableSpec {
        match self {
            Kind::Events => &EVENTS,
            Kind::Routes => &ROUTES,
            Kind::Deliveries => &DELIVERIES,
            Kind::Leases => &LEASES,
        }
    }

    /// Returns what the processor and the deliverer need. Tools need more.
    pub(super) fn permissions(self) -> &'static [Permission] {
        use Permission::{Delete, Get, Put, Query, QueryIndex, Scan, Update};
        match self {
            Kind::Events => &[Put],
            Kind::Routes => &[Get, Update],
            Kind::Deliveries => &[Put, Update, Delete, Query, QueryIndex],
            Kind::Leases => &[Scan, Put, Update, Delete],
        }
    }
}

pub(super) async fn connect(endpoints: &Endpoints) -> Result<Client, dynamodb::Problem> {
    dynamodb::connect(endpoints.dynamo.as_deref(), PROGRAM.name).await
}
