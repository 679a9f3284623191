//! Dead-letter queues, and the tasks that move messages back.

use aws_sdk_sqs::types::{MessageSystemAttributeName as System, QueueAttributeName};

use super::{Sqs, code, system};

#[tokio::test]
async fn a_message_is_dead_lettered_after_its_receives_and_moved_back() {
    let sqs = Sqs::start().await;
    let dead = sqs.queue(&[]).await;
    let dead_arn = sqs.arn(&dead).await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":2}}"#);
    let queue = sqs.queue(&[(QueueAttributeName::RedrivePolicy, &policy)]).await;
    let arn = sqs.arn(&queue).await;
    sqs.send(&queue, "a").await;

    let first = sqs.receive(&queue, 0).await.remove(0);
    assert_eq!(sqs.receive(&queue, 0).await.len(), 1);
    assert!(sqs.receive_now(&queue).await.is_empty());
    let letter = sqs.receive(&dead, 0).await.remove(0);
    assert_eq!((letter.body(), letter.message_id()), (Some("a"), first.message_id()));
    assert_eq!(system(&letter, System::SentTimestamp), system(&first, System::SentTimestamp));
    if !sqs.differs(&["moto", "elasticmq"], "a dead letter names its source") {
        assert_eq!(system(&letter, System::DeadLetterQueueSourceArn), arn);
    }
    if !sqs.differs(&["moto"], "a dead letter counts its receives in all queues") {
        assert_eq!(system(&letter, System::ApproximateReceiveCount), "3");
    }
    let sources = sqs.client.list_dead_letter_source_queues().queue_url(&dead).send().await.unwrap();
    assert_eq!(sources.queue_urls(), [&*queue]);

    if sqs.differs(&["moto"], "move tasks") {
        return;
    }
    sqs.client.start_message_move_task().source_arn(&dead_arn).send().await.unwrap();
    let moved = sqs.receive(&queue, 600).await.remove(0);
    assert_eq!(moved.body(), Some("a"));
    if !sqs.differs(&["elasticmq"], "a moved message is a new one") {
        assert_ne!(moved.message_id(), first.message_id());
        assert_eq!(system(&moved, System::ApproximateReceiveCount), "1");
    }
    let tasks = sqs.client.list_message_move_tasks().source_arn(&dead_arn).send().await.unwrap();
    let task = &tasks.results()[0];
    assert_eq!((task.status(), task.approximate_number_of_messages_moved()), (Some("COMPLETED"), 1));
}

#[tokio::test]
async fn only_messages_of_a_dead_letter_queue_are_moved() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[]).await;
    let arn = sqs.arn(&queue).await;
    let started = sqs.client.start_message_move_task().source_arn(&arn).send().await;
    if !sqs.differs(&["moto", "elasticmq"], "the source of a move task is a dead-letter queue") {
        assert_eq!(code(started), "InvalidParameterValue");
    }
    let cancelled = sqs.client.cancel_message_move_task().task_handle("unknown").send().await;
    if !sqs.differs(&["moto", "elasticmq"], "an unknown task is ResourceNotFoundException") {
        assert_eq!(code(cancelled), "ResourceNotFoundException");
    }
}

#[tokio::test]
async fn a_running_task_is_cancelled() {
    let sqs = Sqs::start().await;
    let dead = sqs.queue(&[]).await;
    let dead_arn = sqs.arn(&dead).await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":1000}}"#);
    let queue = sqs.queue(&[(QueueAttributeName::RedrivePolicy, &policy)]).await;
    if sqs.differs(&["moto"], "move tasks") {
        return;
    }
    // At one message per second, this task would take a minute.
    for number in 0..60 {
        sqs.send(&dead, &number.to_string()).await;
    }
    let start = sqs.client.start_message_move_task().source_arn(&dead_arn).destination_arn(sqs.arn(&queue).await);
    let handle = start.max_number_of_messages_per_second(1).send().await.unwrap().task_handle.unwrap();
    let cancelled = sqs.client.cancel_message_move_task().task_handle(handle).send().await.unwrap();
    assert!(cancelled.approximate_number_of_messages_moved() < 60);
}
