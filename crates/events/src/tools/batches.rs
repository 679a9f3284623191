//! Groups messages into requests that SQS accepts, and repeats the entries that may be taken later.

use std::time::Duration;

use tokio::time::sleep;

use crate::queues::{MAX_BATCH, MAX_BATCH_BYTES, Outgoing, Problem, Queue, Rejected};

const MAX_ATTEMPTS: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(200);

/// Collects messages with what identifies them until a request is full.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) messages: Vec<Outgoing>,
    pub(super) tags: Vec<T>,
    bytes: usize,
    most: usize,
}

impl<T> Batch<T> {
    /// Takes up to `most` messages, at most ten.
    pub(super) fn new(most: usize) -> Batch<T> {
        Batch { messages: Vec::new(), tags: Vec::new(), bytes: 0, most: most.clamp(1, MAX_BATCH) }
    }

    /// Adds a message. Returns the full batch before it, if it does not fit.
    pub(super) fn add(&mut self, message: Outgoing, tag: T) -> Option<Batch<T>> {
        let size = message.size();
        let is_full = self.messages.len() == self.most || self.bytes + size > MAX_BATCH_BYTES;
        let full = (is_full && !self.messages.is_empty()).then(|| {
            let most = self.most;
            std::mem::replace(self, Batch::new(most))
        });
        self.messages.push(message);
        self.tags.push(tag);
        self.bytes += size;
        full
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// Sends up to ten messages, and repeats those that SQS may take later. Returns those that it did not take, by their index
/// among `messages`.
pub(super) async fn send_all(queue: &Queue, messages: &[Outgoing]) -> Result<Vec<Rejected>, Problem> {
    let mut indexes: Vec<usize> = (0..messages.len()).collect();
    let mut rejected = Vec::new();
    for attempt in 1.. {
        let some: Vec<_> = indexes.iter().map(|&index| messages[index].clone()).collect();
        let failed = queue.send(&some).await?.into_iter();
        let failed = failed.filter_map(|entry| Some(Rejected { index: *indexes.get(entry.index)?, ..entry }));
        let (again, refused): (Vec<_>, Vec<_>) = failed.partition(|entry| entry.is_transient && attempt < MAX_ATTEMPTS);
        rejected.extend(refused);
        if again.is_empty() {
            break;
        }
        indexes = again.iter().map(|entry| entry.index).collect();
        sleep(BACKOFF * attempt).await;
    }
    Ok(rejected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Outgoing {
        Outgoing { body: "x".repeat(bytes), ..Outgoing::default() }
    }

    #[test]
    fn a_batch_has_at_most_ten_messages_and_a_mebibyte() {
        let mut batch = Batch::new(MAX_BATCH);
        for number in 0..10 {
            assert!(batch.add(message(1), number).is_none());
        }
        assert_eq!(batch.add(message(MAX_BATCH_BYTES), 10).unwrap().tags, (0..10).collect::<Vec<_>>());
        assert_eq!(batch.add(message(1), 11).unwrap().tags, [10]);
        assert_eq!(batch.tags, [11]);
    }
}
