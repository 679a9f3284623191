//! Reads the messages of a queue, each one once, and releases those that it leaves.

use std::collections::HashSet;
use std::time::Duration;

use crate::queues::{MAX_BATCH, Problem, Queue, Received};

/// A long poll asks all servers of SQS. An answer without messages then means that none is visible.
const WAIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Reader<'a> {
    queue: &'a Queue,
    /// How long other receivers do not get what is read, if the process dies.
    visibility: Duration,
    seen: HashSet<String>,
    /// The receipts of what is left in the queue.
    left: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(queue: &'a Queue, visibility: Duration) -> Reader<'a> {
        Reader { queue, visibility, seen: HashSet::new(), left: Vec::new() }
    }

    /// Returns up to ten messages that it has not returned before, and none at the end of the queue.
    pub(super) async fn next(&mut self, max: usize) -> Result<Vec<Received>, Problem> {
        let received = self.queue.receive(max.min(MAX_BATCH), self.visibility, WAIT).await?;
        let (new, seen): (Vec<_>, Vec<_>) =
            received.into_iter().partition(|message| self.seen.insert(message.id.clone()));
        // Their time has passed. Only the newest receipt counts.
        self.left.extend(seen.into_iter().map(|message| message.receipt));
        Ok(new)
    }

    /// Leaves a message in the queue. It is visible again after [`Reader::release`].
    pub(super) fn leave(&mut self, message: &Received) {
        self.left.push(message.receipt.clone());
    }

    /// Makes visible again what it leaves.
    pub(super) async fn release(self) -> Result<(), Problem> {
        for receipts in self.left.chunks(MAX_BATCH) {
            let receipts: Vec<_> = receipts.iter().map(String::as_str).collect();
            self.queue.release(&receipts).await?;
        }
        Ok(())
    }
}
