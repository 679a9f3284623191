//! Parks a message whose write the table refused, without a slot, until it is clear whether the item or the table is at
//! fault. Does not settle the message.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::warn;

use super::Writes;
use crate::consumer::delivery::Message;
use crate::consumer::flow::{ParkedWrite, Refusal, WritePermit};
use crate::consumer::policy::{Settlement, settlement};
use crate::consumer::ports::{Ports, ReceiptOf, StoreError};
use crate::scan::{Reason, Rejection, Scan};

/// The time between two attempts of a parked write, unless it is proven that the table accepts others.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

impl<P: Ports> Writes<'_, P> {
    /// Parks a refused write. Retries it when it is proven that the table accepts others, and every 10 s, until it is
    /// stored or rejected, reaches its deadline, or must leave the parking lot. Returns how to settle the message, and the
    /// parking permit that it still has.
    pub(crate) async fn park(
        &self,
        scan: &Scan,
        message: &Message<ReceiptOf<P>>,
        refused: StoreError,
    ) -> (Settlement, Option<OwnedSemaphorePermit>) {
        self.log_refused(scan, message, &refused);
        let process = self.process;
        let mut refusal = process.refusals.refused(&scan.key);
        process.write_refused(&refused, true);
        let Some(mut parked) = process.parking_lot.park() else { return (Settlement::GivenUp(refused), None) };
        let mut error = refused;
        let mut failed = error.kind;
        let mut earliest = Instant::now();
        loop {
            if let Some(end) = self.wait(&mut parked, &refusal, earliest, message, &error).await {
                return (end, None);
            }
            // A write that is about to be retried must not be evicted, or a full parking lot would never decide.
            let Some(permit) = parked.leave() else { return (Settlement::GivenUp(error), None) };
            let write_permit = match self.write_permit_or_end(message, &error).await {
                Ok(write_permit) => write_permit,
                Err(end) => return (end, None),
            };
            let is_proven = refusal.is_proven();
            process.observer.retried(failed);
            match settlement(self.put(scan, &message.claim, write_permit).await) {
                Ok(Settlement::GivenUp(again)) => {
                    // Otherwise all parked writes that are proven would be sent again at once to a table that throttles.
                    earliest = Instant::now() + RETRY_INTERVAL;
                    failed = again.kind;
                }
                Ok(settlement) => return (settlement, Some(permit)),
                Err(again) if is_proven => {
                    let rejection = Rejection { reason: Reason::RefusedByStore, detail: again.detail };
                    return (Settlement::Rejected(rejection), Some(permit));
                }
                Err(again) => {
                    process.write_refused(&again, false);
                    refusal.again();
                    (failed, error) = (again.kind, again);
                }
            }
            parked = process.parking_lot.park_with(permit);
        }
    }

    /// Waits until the next attempt, which is not before `earliest`. Returns how the write ends if it ends instead.
    async fn wait(
        &self,
        parked: &mut ParkedWrite<'_>,
        refusal: &Refusal<'_>,
        earliest: Instant,
        message: &Message<ReceiptOf<P>>,
        error: &StoreError,
    ) -> Option<Settlement> {
        let proven = async {
            sleep_until(earliest).await;
            refusal.proven().await;
        };
        tokio::select! {
            biased;
            () = self.process.drain.requested() => Some(Settlement::Released),
            () = parked.evicted() => Some(Settlement::GivenUp(error.clone())),
            () = sleep_until(message.claim.deadline) => Some(Settlement::GivenUp(error.clone())),
            () = proven => None,
            () = sleep(RETRY_INTERVAL) => None,
        }
    }

    /// Waits for a write permit. Returns how the write ends if it ends before.
    async fn write_permit_or_end(
        &self,
        message: &Message<ReceiptOf<P>>,
        error: &StoreError,
    ) -> Result<WritePermit<'_>, Settlement> {
        let process = self.process;
        tokio::select! {
            biased;
            () = process.drain.requested() => Err(Settlement::Released),
            permit = timeout_at(message.claim.deadline, process.write_permit(self.thread)) => {
                permit.map_err(|_| Settlement::GivenUp(error.clone()))
            }
        }
    }

    fn log_refused(&self, scan: &Scan, message: &Message<ReceiptOf<P>>, error: &StoreError) {
        let process = self.process;
        if let Some(suppressed) = process.logs.refused.due() {
            warn!(
                message_id = %message.envelope.message_id,
                delivery_attempt = message.envelope.delivery_attempt,
                scan_key = scan.key.as_str(),
                table = process.settings.table,
                error.type = error.kind.name(),
                %error,
                latency_ms = message.claim.age_ms(),
                suppressed,
                "the table refuses a write, which is parked and retried; if it refuses all, compare its key schema and \
                 indexes with those of a table that `mini-scan setup table` creates"
            );
        }
    }
}
