//! The tables of the registry, with what is needed of each.

use dynamodb::{Client, Permission, Problem, TableSpec};

use super::error::NamedTable;
use crate::names::Tables;
use crate::observe::USER_AGENT;
use crate::table::{REQUESTS, WIDGETS};

/// A table of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Widgets,
    Requests,
}

impl Kind {
    pub(super) const ALL: [Kind; 2] = [Kind::Widgets, Kind::Requests];

    pub(super) fn named(self, tables: &Tables) -> NamedTable<'_> {
        match self {
            Kind::Widgets => NamedTable::widgets(tables),
            Kind::Requests => NamedTable::requests(tables),
        }
    }

    pub(super) fn spec(self) -> &'static TableSpec {
        match self {
            Kind::Widgets => &WIDGETS,
            Kind::Requests => &REQUESTS,
        }
    }

    /// Returns what `serve` needs. A transaction needs the permission of each of its items.
    pub(super) fn permissions(self) -> &'static [Permission] {
        use Permission::{Delete, Get, Put, Scan, Update};
        match self {
            Kind::Widgets => &[Get, Scan, Put, Update, Delete],
            Kind::Requests => &[Put],
        }
    }
}

pub(super) async fn connect(endpoint: Option<&str>) -> Result<Client, Problem> {
    dynamodb::connect(endpoint, USER_AGENT).await
}
