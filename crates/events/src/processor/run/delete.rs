//! Deletes what is done, in batches.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{BATCH, FAILURE_DELAY, LAST_CALLS, Shared, propagate};
use crate::ports::{Call, DeadLetters, Dispatch, Entry, Events, Queue};
use crate::processor::flow::Ticket;

impl<Q: Queue, E: Events, D: DeadLetters, P: Dispatch> Shared<Q, E, D, P> {
    /// Deletes what is done, until `settled` and then what is left. A message that cannot be deleted comes again, and is a
    /// duplicate then.
    pub(super) async fn delete(self: &Arc<Self>, settled: &CancellationToken) {
        let mut batches = JoinSet::new();
        loop {
            let is_last = settled.run_until_cancelled(self.done.notified()).await.is_none();
            if !is_last && self.state().done.len() < BATCH {
                settled.run_until_cancelled(sleep(self.settings.delete_delay)).await;
            }
            while let Some(tickets) = self.take_done() {
                let shared = Arc::clone(self);
                batches.spawn(async move { shared.delete_batch(&tickets).await });
            }
            while let Some(ended) = batches.try_join_next() {
                propagate(ended);
            }
            if is_last {
                break;
            }
        }
        let last = async {
            while let Some(ended) = batches.join_next().await {
                propagate(ended);
            }
        };
        let _ = timeout(LAST_CALLS, last).await;
    }

    fn take_done(&self) -> Option<Vec<Ticket>> {
        let mut state = self.state();
        let count = state.done.len().min(BATCH);
        (count > 0).then(|| state.done.drain(..count).collect())
    }

    async fn delete_batch(&self, tickets: &[Ticket]) {
        let works = self.works(tickets);
        if works.is_empty() {
            return;
        }
        let receipts: Vec<&str> = works.iter().map(|(_, work)| work.message.receipt.as_str()).collect();
        let result = timeout(self.settings.call_timeout, self.ports.queue.delete(&receipts)).await;
        let entries = self.entries(Call::Delete, result.unwrap_or_else(|_| Err(self.late())), works.len());
        let (mut forgotten, mut failed, mut deleted) = (Vec::new(), Vec::new(), 0);
        for ((ticket, _), entry) in works.iter().zip(entries) {
            match entry {
                Entry::Failed => failed.push(*ticket),
                Entry::Gone => forgotten.push(*ticket),
                Entry::Done => {
                    forgotten.push(*ticket);
                    deleted += 1;
                }
            }
        }
        self.observer.deleted(deleted);
        self.forget(&forgotten);
        if !failed.is_empty() {
            // They are deleted with others later, unless their visibility ends before.
            sleep(FAILURE_DELAY).await;
            self.state().done.extend(failed);
            self.done.notify_one();
        }
    }
}
