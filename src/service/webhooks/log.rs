//! The log of successful deliveries, which answers whether a webhook reached its endpoint. It never delays a delivery.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use webhooks::{Clock, Report};

use crate::dynamo::{Delivered, DeliveryTable};
use crate::subscriptions::ports::Observer;

/// The entries in memory. More are dropped and counted.
const QUEUE: usize = 10_000;
const WRITERS: usize = 16;
/// How long entries are written after the last delivery.
const FLUSH: Duration = Duration::from_secs(2);

/// Writes the log.
pub(super) struct DeliveryLog {
    table: DeliveryTable,
    observer: Arc<dyn Observer>,
    entries: mpsc::Receiver<Delivered>,
}

impl DeliveryLog {
    pub(super) fn new(table: DeliveryTable, observer: Arc<dyn Observer>) -> (DeliveryLog, mpsc::Sender<Delivered>) {
        let (sender, entries) = mpsc::channel(QUEUE);
        (DeliveryLog { table, observer, entries }, sender)
    }

    /// Writes entries until nothing is delivered any more.
    pub(super) async fn write(mut self, drained: &CancellationToken) {
        let (table, observer) = (&self.table, &self.observer);
        let entries = stream::poll_fn(|context| self.entries.poll_recv(context));
        let writes = entries.for_each_concurrent(WRITERS, |entry| async move {
            if table.log_delivered(&entry).await.is_err() {
                observer.log_dropped();
            }
        });
        let late = async {
            drained.cancelled().await;
            sleep(FLUSH).await;
        };
        tokio::select! {
            () = writes => {}
            () = late => {}
        }
    }
}

/// Passes the reports of the engine on, and logs its successes.
pub(super) struct Reports {
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    log: Option<mpsc::Sender<Delivered>>,
}

impl Reports {
    pub(super) fn new(
        observer: Arc<dyn Observer>,
        clock: Arc<dyn Clock>,
        log: Option<mpsc::Sender<Delivered>>,
    ) -> Reports {
        Reports { observer, clock, log }
    }
}

impl webhooks::Observer for Reports {
    fn report(&self, report: &Report<'_>) {
        self.observer.report(report);
        let (Some(log), Report::Delivered { endpoint, id, attempts, took, .. }) = (&self.log, report) else { return };
        let (endpoint, id) = ((*endpoint).clone(), (*id).clone());
        let entry = Delivered { endpoint, id, at: self.clock.now(), attempts: *attempts, took: *took };
        if log.try_send(entry).is_err() {
            self.observer.log_dropped();
        }
    }
}
