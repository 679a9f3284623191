//! Batches: deletes messages, and sets their visibility. Each entry has its own result.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, ChangeMessageVisibilityBatchResultEntry,
    DeleteMessageBatchRequestEntry, DeleteMessageBatchResultEntry,
};

use super::{Problem, Queue};

/// Why SQS did not take one entry of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where it is in the batch.
    pub index: usize,
    pub why: String,
    /// It may be taken later.
    pub is_transient: bool,
}

impl Queue {
    /// Deletes up to ten messages. Returns those that SQS did not delete.
    pub async fn delete(&self, receipts: &[&str]) -> Result<Vec<Rejected>, Problem> {
        let entry = |(index, receipt): (usize, &&str)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(*receipt);
            entry.build().map_err(unbuilt)
        };
        let entries = receipts.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let delete = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let deleted = delete.send().await.map_err(|error| Problem::of(&error))?;
        let successful = deleted.successful.iter().map(DeleteMessageBatchResultEntry::id);
        Ok(rejected(receipts.len(), successful, &deleted.failed))
    }

    /// Makes up to ten messages visible after this time. Returns those whose visibility SQS did not set.
    pub async fn set_visibility(&self, receipts: &[&str], after: Duration) -> Result<Vec<Rejected>, Problem> {
        let entry = |(index, receipt): (usize, &&str)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(*receipt).visibility_timeout(seconds(after)).build().map_err(unbuilt)
        };
        let entries = receipts.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let change = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
        let changed = change.send().await.map_err(|error| Problem::of(&error))?;
        let successful = changed.successful.iter().map(ChangeMessageVisibilityBatchResultEntry::id);
        Ok(rejected(receipts.len(), successful, &changed.failed))
    }

    /// Makes up to ten messages visible for other receivers.
    pub async fn release(&self, receipts: &[&str]) -> Result<(), Problem> {
        // An entry may fail because its message was deleted or received by others. Then there is nothing to release.
        self.set_visibility(receipts, Duration::ZERO).await.map(|_| ())
    }
}

/// Returns the entries that failed, of `count` entries whose ids are their positions. An entry that the answer does not name has
/// failed too.
pub(super) fn rejected<'a>(
    count: usize,
    successful: impl Iterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
) -> Vec<Rejected> {
    let index = |id: &str| id.parse().ok().filter(|index| *index < count);
    let unnamed = |index| Rejected { index, why: "SQS returned no result".to_owned(), is_transient: true };
    let mut rejected: BTreeMap<usize, Rejected> = (0..count).map(|index| (index, unnamed(index))).collect();
    for index in successful.filter_map(index) {
        rejected.remove(&index);
    }
    for failed in failed {
        let Some(index) = index(failed.id()) else { continue };
        let why = match failed.message() {
            Some(message) => format!("{}: {message}", failed.code()),
            None => failed.code().to_owned(),
        };
        // The codes begin with different prefixes in different versions of the API.
        let is_transient = !failed.sender_fault() || failed.code().contains("Throttl");
        rejected.insert(index, Rejected { index, why, is_transient });
    }
    rejected.into_values().collect()
}

pub(super) fn unbuilt(error: BuildError) -> Problem {
    Problem::Other(error.to_string())
}

/// Returns whole seconds, as SQS takes them.
pub(super) fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(id: &str, code: &str, sender_fault: bool) -> BatchResultErrorEntry {
        BatchResultErrorEntry::builder().id(id).code(code).sender_fault(sender_fault).build().unwrap()
    }

    #[test]
    fn each_entry_has_its_own_result() {
        let failures = [
            failed("1", "ReceiptHandleIsInvalid", true),
            failed("2", "InternalError", false),
            failed("3", "RequestThrottled", true),
        ];
        let found = rejected(5, ["0", "9", "x"].into_iter(), &failures);
        let found: Vec<_> = found.iter().map(|entry| (entry.index, entry.why.as_str(), entry.is_transient)).collect();
        let expected = [
            (1, "ReceiptHandleIsInvalid", false),
            (2, "InternalError", true),
            (3, "RequestThrottled", true),
            (4, "SQS returned no result", true),
        ];
        assert_eq!(found, expected);
    }
}
