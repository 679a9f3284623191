//! Leases in memory: one process reads the stream, and stores no position.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dynamodb_streams::{Expected, Lease, LeaseError, LeasePage, LeaseTable, LeaseUpdate, ScanPosition, Updated};

#[derive(Debug, Default)]
pub(super) struct Leases {
    rows: Mutex<BTreeMap<String, Lease>>,
}

impl Leases {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, Lease>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseTable for Leases {
    async fn scan(&self, prefix: &str, _: Option<&ScanPosition>) -> Result<LeasePage, LeaseError> {
        let leases = self.rows().values().filter(|row| row.key.starts_with(prefix)).cloned().collect();
        Ok(LeasePage { leases, next: None })
    }

    async fn create(&self, lease: &Lease) -> Result<Updated, LeaseError> {
        let mut rows = self.rows();
        if let Some(row) = rows.get(&lease.key) {
            return Ok(Updated::Refused(Some(row.clone())));
        }
        rows.insert(lease.key.clone(), lease.clone());
        Ok(Updated::Applied(lease.clone()))
    }

    async fn update(&self, key: &str, expected: &Expected, update: &LeaseUpdate) -> Result<Updated, LeaseError> {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(key) else { return Ok(Updated::Refused(None)) };
        if !is_met(expected, row) {
            return Ok(Updated::Refused(Some(row.clone())));
        }
        *row = changed(row.clone(), update.clone());
        Ok(Updated::Applied(row.clone()))
    }

    async fn delete(&self, key: &str, expected: &Expected) -> Result<Updated, LeaseError> {
        let mut rows = self.rows();
        let Some(row) = rows.get(key).cloned() else { return Ok(Updated::Refused(None)) };
        if !is_met(expected, &row) {
            return Ok(Updated::Refused(Some(row)));
        }
        rows.remove(key);
        Ok(Updated::Applied(row))
    }
}

fn is_met(expected: &Expected, row: &Lease) -> bool {
    row.owner == expected.owner && expected.counter.is_none_or(|counter| counter == row.counter)
}

fn changed(row: Lease, update: LeaseUpdate) -> Lease {
    Lease {
        owner: update.owner.unwrap_or(row.owner),
        counter: update.counter.unwrap_or(row.counter),
        owner_switches: update.owner_switches.unwrap_or(row.owner_switches),
        checkpoint: update.checkpoint.unwrap_or(row.checkpoint),
        children: update.children.unwrap_or(row.children),
        handover_to: update.handover_to.unwrap_or(row.handover_to),
        ..row
    }
}
