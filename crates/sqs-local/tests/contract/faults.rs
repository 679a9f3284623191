//! What only the embedded server has: fault injection and a shutdown.

use std::time::Duration;

use sqs_local::{Fault, Operation};
use tokio::time::Instant;

use super::batches::{deletion, entry};
use super::{Sqs, code};

#[tokio::test]
async fn planned_faults_happen_once_for_each_request() {
    let sqs = Sqs::embedded().await;
    let faults = sqs.embedded.as_ref().unwrap().faults.clone();
    let queue = sqs.queue(&[]).await;
    let send = || sqs.client.send_message().queue_url(&queue).message_body("a").send();

    faults.plan(Operation::SendMessage, 2, Fault::Refuse);
    faults.plan(Operation::SendMessage, 1, Fault::Throttle);
    faults.plan(Operation::SendMessage, 1, Fault::LoseResponse);
    for expected in ["InternalFailure", "InternalFailure", "RequestThrottled", "InternalFailure", ""] {
        assert_eq!(code(send().await), expected);
    }
    // The message whose response was lost is there.
    assert_eq!(sqs.receive_now(&queue).await.len(), 2);

    faults.plan(Operation::SendMessageBatch, 1, Fault::FailFirstEntry);
    let batch = sqs.client.send_message_batch().queue_url(&queue).entries(entry("a", "1")).entries(entry("b", "2"));
    let sent = batch.send().await.unwrap();
    assert_eq!((sent.successful()[0].id(), sent.failed()[0].id()), ("b", "a"));
    assert!(!sent.failed()[0].sender_fault());

    let delay = Duration::from_millis(50);
    faults.plan(Operation::ReceiveMessage, 1, Fault::Delay(delay));
    assert_eq!(faults.pending(), 1);
    let started = Instant::now();
    assert_eq!(sqs.receive_now(&queue).await.len(), 1);
    assert!(started.elapsed() >= delay);
    assert_eq!(faults.pending(), 0);
}

#[tokio::test]
async fn a_handle_of_another_server_is_invalid() {
    let (one, other) = (Sqs::embedded().await, Sqs::embedded().await);
    let mut queues = Vec::new();
    for sqs in [&one, &other] {
        queues.push(sqs.client.create_queue().queue_name("same").send().await.unwrap().queue_url.unwrap());
        sqs.send(&queues[0], "a").await;
    }
    let received = one.receive(&queues[0], 600).await;
    let delete = other.client.delete_message_batch().queue_url(&queues[1]);
    let deleted = delete.entries(deletion("a", received[0].receipt_handle().unwrap())).send().await.unwrap();
    assert_eq!(deleted.failed()[0].code(), "ReceiptHandleIsInvalid");
}

#[tokio::test]
async fn the_server_ends_after_its_shutdown() {
    let mut sqs = Sqs::embedded().await;
    let queue = sqs.queue(&[]).await;
    let embedded = sqs.embedded.as_mut().unwrap();
    embedded.stop.take().unwrap().send(()).unwrap();
    (&mut embedded.serving).await.unwrap();
    assert!(sqs.client.receive_message().queue_url(&queue).send().await.is_err());
}

#[tokio::test]
async fn an_operation_that_is_not_supported_is_an_error() {
    let sqs = Sqs::embedded().await;
    let queue = sqs.queue(&[]).await;
    assert_eq!(code(sqs.client.list_queue_tags().queue_url(&queue).send().await), "InvalidAction");
}
