//! A write that the store refused: parked without a slot and tried again, until it shows whether the item or the table is
//! at fault.

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

/// How a refused write ended.
pub(crate) enum Parked {
    /// With the parking permit that its message keeps until it is settled.
    Settled(Outcome, OwnedSemaphorePermit),
    /// At its age, or because it had to make room.
    GivenUp(StoreError),
    /// The process drains.
    Released,
}

impl<P: Ports> Writes<'_, P> {
    /// Parks a refused write with its payload and without its slot, trying it again until it is stored, rejected, has
    /// reached its age, or must make room.
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
        let process = self.process;
        if let Some(suppressed) = process.refused_log.due() {
            let table = &process.settings.table;
            warn!(
                message_id = %message.envelope.message_id,
                delivery_attempt = message.envelope.delivery_attempt,
                scan_key = scan.key.as_str(),
                error.type = refused.kind.name(),
                latency_ms = message.claim.age_ms(),
                suppressed,
                "table {table} refuses a write, which is held and tried again: {refused}. If it refuses every one, compare \
                 its key schema and indexes with what `mini-scan setup table` makes"
            );
        }
        let strikes = process.refusals.first();
        let mut error = refused;
        let permit = match process.parked.try_permit() {
            Some(permit) => permit,
            None => {
                if process.refusals.at_bound() {
                    process.refusals_changed(Some(self.every_write_is_refused(&error)));
                }
                if !process.refusals.make_room() {
                    return Parked::GivenUp(error);
                }
                tokio::select! {
                    biased;
                    () = process.drain.requested() => return Parked::Released,
                    permit = timeout_at(message.claim.deadline, process.parked.permit()) => match permit {
                        Ok(permit) => permit,
                        Err(_) => return Parked::GivenUp(error),
                    },
                }
            }
        };
        let mut parked = process.refusals.park(strikes);
        let mut failed = error.kind;
        loop {
            let next_turn = async {
                sleep(RETRY_INTERVAL).await;
                process.turn().await
            };
            let turn = tokio::select! {
                biased;
                () = process.drain.requested() => return Parked::Released,
                () = parked.evicted() => return Parked::GivenUp(error),
                turn = timeout_at(message.claim.deadline, next_turn) => match turn {
                    Ok(turn) => turn,
                    Err(_) => return Parked::GivenUp(error),
                },
            };
            process.observer.retried(failed);
            match classify(self.attempt(scan, &message.claim, turn).await) {
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
            "table {} refuses every write ({error}); nothing is lost, one write a second is tried. \
             Compare its key schema and indexes with what `mini-scan setup table` makes.",
            self.process.settings.table
        )
    }
}
