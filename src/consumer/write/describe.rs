//! Describes the table for all refused messages that wait. Runs on one thread of the instance.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::consumer::ports::{Store, StoreErrorKind};
use crate::consumer::process::Process;

/// The minimum time between two descriptions.
const INTERVAL: Duration = Duration::from_secs(2);
/// The same after a description was denied. A person must grant the permission.
const DENIED_INTERVAL: Duration = Duration::from_secs(60);

/// Describes the table whenever a refused message waits for it, and while the table does not fit.
pub(crate) async fn describe(process: &Process, store: &impl Store) -> Infallible {
    let mut earliest = Instant::now();
    loop {
        process.refusals.description_wanted().await;
        sleep_until(earliest).await;
        let (start, requested) = (Instant::now(), process.refusals.tick());
        let mut interval = INTERVAL;
        match store.describe().await {
            Ok(fit) => process.described(requested, fit),
            Err(error) => {
                if error.kind == StoreErrorKind::Permission {
                    interval = DENIED_INTERVAL;
                }
                process.description_failed(&error);
            }
        }
        earliest = start + interval;
    }
}
