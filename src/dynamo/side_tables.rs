//! The tables beside that of the scans: their keys, and the actions that programs need on them.

use dynamodb::{IndexSpec, Permission, TableSpec, hash, range};

/// A table beside that of the scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideTable {
    History,
    Leases,
    Subscriptions,
    Deliveries,
}

static HISTORY: TableSpec = TableSpec { keys: &[hash("ip"), range("entry")], index: None, expires: true, stream: None };
/// Leases never expire: a deleted lease reads its shard again.
static LEASES: TableSpec = TableSpec { keys: &[hash("leaseKey")], index: None, expires: false, stream: None };
static SUBSCRIPTIONS: TableSpec =
    TableSpec { keys: &[hash("bucket"), range("id")], index: Some(&BY_OWNER), expires: false, stream: None };
static BY_OWNER: IndexSpec = IndexSpec { name: "by-owner", keys: &[hash("owner"), range("id")], includes: None };
impl SideTable {
    pub fn spec(self) -> &'static TableSpec {
        match self {
            SideTable::History => &HISTORY,
            SideTable::Leases => &LEASES,
            SideTable::Subscriptions => &SUBSCRIPTIONS,
            SideTable::Deliveries => &delivery_table::SPEC,
        }
    }

    /// Returns what the reader of changes needs.
    pub fn permissions(self) -> &'static [Permission] {
        use Permission::{Delete, Get, Put, Query, Scan, Update};
        match self {
            SideTable::History => &[Put, Update, Delete, Query],
            SideTable::Leases => &[Scan, Put, Update, Delete],
            SideTable::Subscriptions => &[Get, Query, Update],
            SideTable::Deliveries => delivery_table::PERMISSIONS,
        }
    }

    /// Returns what only commands and the API need.
    pub fn permissions_of_commands(self) -> &'static [Permission] {
        use Permission::{Delete, Get, Put, QueryIndex, Scan};
        match self {
            SideTable::History | SideTable::Leases => &[],
            SideTable::Subscriptions => &[Put, Delete, Scan, QueryIndex],
            SideTable::Deliveries => &[Get],
        }
    }
}
