//! Reads a suspect with all of its peers at one moment, and decides.

use std::time::Duration;

use dynamodb::StoreError;

use super::reading::repeated;
use super::rules::{Snapshot, Violation, peers_of, violations};
use crate::table::WidgetTable;
use crate::widget::Serial;

/// A widget that changes while it is read is read again, with its new peers.
const ATTEMPTS: u32 = 20;
const REPEAT_FOR: Duration = Duration::from_secs(20);

/// What became of a suspect.
pub(super) enum Confirmed {
    Decided(Vec<Violation>),
    Undecided { serial: Serial, error: String },
}

pub(super) async fn confirm(table: &WidgetTable, serial: Serial) -> Confirmed {
    let mut serials = vec![serial.clone()];
    for _ in 0..ATTEMPTS {
        let snapshot = match read(table, &serials).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Confirmed::Undecided { serial, error: error.to_string() },
        };
        let peers = peers_of(&snapshot, &serial);
        if peers.iter().all(|peer| snapshot.contains_key(peer)) {
            return Confirmed::Decided(violations(&snapshot, &serial));
        }
        // Without the peers that it had before.
        serials = peers;
        serials.push(serial.clone());
    }
    Confirmed::Undecided { serial, error: "its peers changed at each attempt".to_owned() }
}

async fn read(table: &WidgetTable, serials: &[Serial]) -> Result<Snapshot, StoreError> {
    let rows = repeated(REPEAT_FOR, || table.rows(serials)).await?;
    Ok(serials.iter().cloned().zip(rows).collect())
}
