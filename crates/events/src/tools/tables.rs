//! The tables of the pipeline, with what is needed of each.

use delivery_table::SPEC as DELIVERIES;
use dynamodb::{Client, TableSpec};

use super::error::NamedTable;
use crate::deliver::LEASES;
use crate::names::{Endpoints, Tables};
use crate::observe::PROGRAM;
use crate::routes::SPEC as ROUTES;
use crate::table::SPEC as EVENTS;

/// A table of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Events,
    Routes,
    Deliveries,
    Leases,
}

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
}

pub(super) async fn connect(endpoints: &Endpoints) -> Result<Client, dynamodb::Problem> {
    dynamodb::connect(endpoints.dynamo.as_deref(), PROGRAM.name).await
}
