//! Batches: errors of the whole, and errors of single entries.

use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    SendMessageBatchRequestEntry,
};

use super::{Sqs, code};

pub(crate) fn entry(id: &str, body: impl Into<String>) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
}

pub(crate) fn deletion(id: &str, handle: &str) -> DeleteMessageBatchRequestEntry {
    DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build().unwrap()
}

fn failures(failed: &[BatchResultErrorEntry]) -> Vec<(&str, &str, bool)> {
    failed.iter().map(|failed| (failed.id(), failed.code(), failed.sender_fault())).collect()
}

#[tokio::test]
async fn an_entry_of_a_batch_fails_alone() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[]).await;
    let send = sqs.client.send_message_batch().queue_url(&queue).entries(entry("a", "1")).entries(entry("b", "2"));
    if sqs.differs(&["moto", "elasticmq"], "an illegal character fails only its entry") {
        send.send().await.unwrap();
    } else {
        let sent = send.entries(entry("c", "\0")).send().await.unwrap();
        assert_eq!(sent.successful().iter().map(|sent| sent.id()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(failures(sent.failed()), [("c", "InvalidMessageContents", true)]);
    }

    let mut received = sqs.receive(&queue, 600).await;
    if received.len() == 1 {
        received.extend(sqs.receive(&queue, 600).await);
    }
    let handle = |position: usize| received[position].receipt_handle().unwrap();
    let change = |id: &str, position: usize, timeout: i32| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id).receipt_handle(handle(position));
        entry.visibility_timeout(timeout).build().unwrap()
    };
    let changed = sqs.client.change_message_visibility_batch().queue_url(&queue);
    let changed = changed.entries(change("a", 0, 43_201)).entries(change("b", 1, 700)).send().await;
    if !sqs.differs(&["moto", "elasticmq"], "a visibility timeout that is too long fails only its entry") {
        assert_eq!(failures(changed.unwrap().failed()), [("a", "InvalidParameterValue", true)]);
    }

    let delete = sqs.client.delete_message_batch().queue_url(&queue);
    let delete = delete.entries(deletion("a", handle(0))).entries(deletion("b", "no handle"));
    let deleted = delete.entries(deletion("c", handle(1))).send().await.unwrap();
    assert_eq!(deleted.successful().iter().map(|deleted| deleted.id()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(failures(deleted.failed()), [("b", "ReceiptHandleIsInvalid", true)]);
}

#[tokio::test]
async fn a_batch_has_1_to_10_entries_with_different_ids_and_1_mib() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[]).await;
    let send = |entries: Vec<SendMessageBatchRequestEntry>| {
        sqs.client.send_message_batch().queue_url(&queue).set_entries(Some(entries)).send()
    };
    let many = (0..11).map(|id| entry(&id.to_string(), "a")).collect();
    assert_eq!(code(send(many).await), "TooManyEntriesInBatchRequest");
    if !sqs.differs(&["elasticmq"], "the ids and the sizes of entries are checked") {
        assert_eq!(code(send(Vec::new()).await), "EmptyBatchRequest");
        assert_eq!(code(send(vec![entry("a", "1"), entry("a", "2")]).await), "BatchEntryIdsNotDistinct");
        assert_eq!(code(send(vec![entry("a b", "1")]).await), "InvalidBatchEntryId");
        let long = ["a", "b"].map(|id| entry(id, "x".repeat(600_000)));
        assert_eq!(code(send(long.into()).await), "BatchRequestTooLong");
    }
    assert!(sqs.receive_now(&queue).await.is_empty());
}
