//! Queues and their attributes.

use aws_sdk_sqs::types::QueueAttributeName as Name;

use super::{Sqs, code, unique};

#[tokio::test]
async fn a_queue_is_created_found_listed_and_deleted() {
    let sqs = Sqs::start().await;
    let prefix = unique("listed");
    for number in 0..3 {
        sqs.client.create_queue().queue_name(format!("{prefix}-{number}")).send().await.unwrap();
    }
    let name = format!("{prefix}-1");
    let url = sqs.client.get_queue_url().queue_name(&name).send().await.unwrap().queue_url.unwrap();
    assert!(url.ends_with(&format!("/{name}")));

    let mut listed = Vec::new();
    let pages = sqs.client.list_queues().queue_name_prefix(&prefix).max_results(2).into_paginator().items().send();
    let pages = pages.collect::<Vec<_>>().await;
    listed.extend(pages.into_iter().map(Result::unwrap));
    assert_eq!(listed.len(), 3);
    assert!(listed.contains(&url));

    sqs.client.delete_queue().queue_url(&url).send().await.unwrap();
    let found = sqs.client.get_queue_url().queue_name(&name).send().await;
    let sent = sqs.client.send_message().queue_url(&url).message_body("a").send().await;
    if !sqs.differs(&["elasticmq"], "errors have the types of the JSON protocol") {
        assert_eq!(code(found), "NonExistentQueue");
        assert!(sent.unwrap_err().as_service_error().unwrap().is_queue_does_not_exist());
    }
}

#[tokio::test]
async fn a_queue_is_created_again_only_with_the_same_attributes() {
    let sqs = Sqs::start().await;
    let name = unique("again");
    let create = |visibility: &str| {
        sqs.client.create_queue().queue_name(&name).attributes(Name::VisibilityTimeout, visibility).send()
    };
    let url = create("40").await.unwrap().queue_url;
    assert_eq!(create("40").await.unwrap().queue_url, url);
    assert_eq!(sqs.client.create_queue().queue_name(&name).send().await.unwrap().queue_url, url);
    let different = create("41").await;
    if !sqs.differs(&["elasticmq"], "errors have the types of the JSON protocol") {
        assert!(different.as_ref().unwrap_err().as_service_error().unwrap().is_queue_name_exists());
        assert_eq!(code(different), "QueueAlreadyExists");
    }

    let fifo = sqs.client.create_queue().queue_name("a.fifo").attributes(Name::FifoQueue, "true").send().await;
    if sqs.embedded.is_some() {
        assert_eq!(code(fifo), "UnsupportedOperation");
    }
}

#[tokio::test]
async fn attributes_have_defaults_and_are_checked() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[]).await;
    for (name, expected) in [
        (Name::VisibilityTimeout, "30"),
        (Name::DelaySeconds, "0"),
        (Name::ReceiveMessageWaitTimeSeconds, "0"),
        (Name::ApproximateNumberOfMessages, "0"),
    ] {
        assert_eq!(sqs.attribute(&queue, name.clone()).await.as_deref(), Some(expected), "{name}");
    }
    if !sqs.differs(&["elasticmq"], "a queue has a retention period and a maximum size of messages") {
        assert_eq!(sqs.attribute(&queue, Name::MessageRetentionPeriod).await.as_deref(), Some("345600"));
        assert_eq!(sqs.attribute(&queue, Name::MaximumMessageSize).await.as_deref(), Some("1048576"));
    }
    let set =
        |name: Name, value: &str| sqs.client.set_queue_attributes().queue_url(&queue).attributes(name, value).send();
    set(Name::VisibilityTimeout, "7").await.unwrap();
    assert_eq!(sqs.attribute(&queue, Name::VisibilityTimeout).await.as_deref(), Some("7"));
    if !sqs.differs(&["moto", "elasticmq"], "values of attributes are checked") {
        assert_eq!(code(set(Name::VisibilityTimeout, "43201").await), "InvalidAttributeValue");
        assert_eq!(code(set(Name::DelaySeconds, "soon").await), "InvalidAttributeValue");
    }
    let missing = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:missing","maxReceiveCount":1}"#;
    assert!(set(Name::RedrivePolicy, missing).await.is_err());
    let unknown = sqs.client.get_queue_attributes().queue_url(&queue).attribute_names("Colour".into()).send().await;
    if !sqs.differs(&["elasticmq"], "an unknown attribute is an error") {
        assert_eq!(code(unknown), "InvalidAttributeName");
    }
}

#[tokio::test]
async fn a_purge_removes_all_messages() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[]).await;
    sqs.send(&queue, "a").await;
    sqs.client.purge_queue().queue_url(&queue).send().await.unwrap();
    assert!(sqs.receive_now(&queue).await.is_empty());
    let again = sqs.client.purge_queue().queue_url(&queue).send().await;
    if !sqs.differs(&["moto", "elasticmq"], "a queue is purged at most once per minute") {
        assert_eq!(code(again), "PurgeQueueInProgress");
    }
}
