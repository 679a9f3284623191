//! Parks a write that the table refused, without a slot, and retries it until it is clear whether the item or the table is
//! at fault. Does not settle the message.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout_at};
use tracing::warn;

use super::Writes;
use crate::consumer::dedup::Job;
use crate::consumer::delivery::Message;
use crate::consumer::flow::RETRY_INTERVAL;
use crate::consumer::policy::{Decision, Outcome, classify};
use crate::consumer::ports::{Ports, ReceiptOf, StoreError};
use crate::scan::{Reason, Rejection, Scan};

/// How a parked write ended.
pub(crate) enum Parked {
    /// Stored, stale or rejected. The message keeps its parking permit until it is settled.
    Settled(Outcome, OwnedSemaphorePermit),
    /// At its deadline, or because the parking lot is full.
    GivenUp(StoreError),
    /// By a drain.
    Released,
}

impl<P: Ports> Writes<'_, P> {
    /// Parks a refused write and releases its slot. Retries it until it is stored or rejected, reaches its deadline, or must
    /// leave the parking lot.
    pub(crate) async fn park(
        &self,
        job: Job<ReceiptOf<P>>,
        refused: StoreError,
    ) -> (Arc<Scan>, Box<Message<ReceiptOf<P>>>, Parked) {
        let Job { scan, message, slot } = job;
        drop(slot);
        let end = self.park_message(&scan, &message, refused).await;
        (scan, message, end)
    }

    async fn park_message(&self, scan: &Scan, message: &Message<ReceiptOf<P>>, refused: StoreError) -> Parked {
        let process = self.thread.process;
        if let Some(suppressed) = process.logs.refused.due() {
            warn!(
                message_id = %message.envelope.message_id,
                delivery_attempt = message.envelope.delivery_attempt,
                scan_key = scan.key.as_str(),
                table = process.settings.table,
                error.type = refused.kind.name(),
                error = %refused,
                latency_ms = message.claim.age_ms(),
                suppressed,
                "the table refuses a write, which is parked and retried; if it refuses all, compare its key schema and \
                 indexes with those of a table that `mini-scan setup table` creates"
            );
        }
        let refusals = process.refusals.first();
        let mut error = refused;
        let permit = match process.parking_lot.try_permit() {
            Some(permit) => permit,
            None => {
                if process.refusals.parking_lot_is_full() {
                    process.refusals_changed(Some(self.every_write_is_refused(&error)));
                }
                if !process.refusals.evict_oldest() {
                    return Parked::GivenUp(error);
                }
                tokio::select! {
                    biased;
                    () = process.drain.requested() => return Parked::Released,
                    permit = timeout_at(message.claim.deadline, process.parking_lot.permit()) => match permit {
                        Ok(permit) => permit,
                        Err(_) => return Parked::GivenUp(error),
                    },
                }
            }
        };
        let mut parked = process.refusals.park(refusals);
        let mut failed = error.kind;
        loop {
            let next_attempt = async {
                sleep(RETRY_INTERVAL).await;
                process.write_permit().await
            };
            let write_permit = tokio::select! {
                biased;
                () = process.drain.requested() => return Parked::Released,
                () = parked.evicted() => return Parked::GivenUp(error),
                permit = timeout_at(message.claim.deadline, next_attempt) => match permit {
                    Ok(permit) => permit,
                    Err(_) => return Parked::GivenUp(error),
                },
            };
            process.observer.retried(failed);
            match classify(self.put(scan, &message.claim, write_permit).await) {
                Decision::Settle(outcome) => return Parked::Settled(outcome, permit),
                Decision::Retry(again) => failed = again.kind,
                Decision::Refused(again) => {
                    (failed, error) = (again.kind, again);
                    if parked.refused_again(&scan.key) {
                        let rejection = Rejection { reason: Reason::RefusedByStore, detail: error.detail };
                        return Parked::Settled(Outcome::Rejected(rejection), permit);
                    }
                }
            }
        }
    }

    fn every_write_is_refused(&self, error: &StoreError) -> String {
        format!(
            "table {} refuses every write ({error}). Nothing is lost; one write per second is tried. \
             Compare its key schema and indexes with those of a table that `mini-scan setup table` creates.",
            self.thread.process.settings.table
        )
    }
}
