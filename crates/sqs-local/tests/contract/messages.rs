//! Messages: what they carry, when they are visible, and their limits.

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName as System, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, QueueAttributeName,
};

use super::{Sqs, code, system};

fn value(data_type: &str, text: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type(data_type).string_value(text).build().unwrap()
}

#[tokio::test]
async fn a_message_keeps_its_body_and_its_attributes() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[]).await;
    let binary =
        MessageAttributeValue::builder().data_type("Binary").binary_value(Blob::new([0, 255])).build().unwrap();
    let trace = MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value("Root=1-5759e988-bd862e3fe1be46a994272793");
    let send = sqs.client.send_message().queue_url(&queue).message_body("{\"ä\": \"\\n\t\u{1f600}\"}");
    let send =
        send.message_attributes("name", value("String", "Zoë")).message_attributes("size", value("Number", "1.5"));
    let send = send.message_attributes("raw", binary.clone()).message_group_id("tenant-1");
    let send =
        send.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, trace.build().unwrap());
    let sent = send.send().await.unwrap();
    // Computed with Python's hashlib from the documented encoding.
    assert_eq!(sent.md5_of_message_body(), Some("395b53f1b4d02436add017eaa5fb4502"));
    assert_eq!(sent.md5_of_message_attributes(), Some("c91f53cab21da4a3db19fbcd07809edc"));

    let receive = sqs.client.receive_message().queue_url(&queue).message_attribute_names("All");
    let received = receive.message_system_attribute_names(System::All).visibility_timeout(0).send().await.unwrap();
    let message = &received.messages()[0];
    assert_eq!(message.body(), Some("{\"ä\": \"\\n\t\u{1f600}\"}"));
    assert_eq!(message.message_id(), sent.message_id());
    assert_eq!(message.md5_of_body(), sent.md5_of_message_body());
    assert_eq!(message.md5_of_message_attributes(), sent.md5_of_message_attributes());
    let attributes = message.message_attributes().unwrap();
    assert_eq!((attributes.len(), &attributes["raw"]), (3, &binary));
    assert_eq!(attributes["name"], value("String", "Zoë"));
    assert_eq!(system(message, System::AwsTraceHeader), "Root=1-5759e988-bd862e3fe1be46a994272793");
    assert_eq!(system(message, System::ApproximateReceiveCount), "1");
    assert!(system(message, System::SentTimestamp) <= system(message, System::ApproximateFirstReceiveTimestamp));
    if !sqs.differs(&["elasticmq"], "a standard queue returns MessageGroupId") {
        assert_eq!(system(message, System::MessageGroupId), "tenant-1");
    }

    let receive = sqs.client.receive_message().queue_url(&queue).message_attribute_names("size").wait_time_seconds(20);
    let filtered = receive.send().await.unwrap();
    let filtered = &filtered.messages()[0];
    assert_eq!(filtered.message_attributes().unwrap().len(), 1);
    assert_eq!(filtered.attributes(), None);
    if !sqs.differs(&["moto"], "the MD5 is that of the received attributes") {
        assert_eq!(filtered.md5_of_message_attributes(), Some("37c27d51d23a1f4a7bc330feae6a1de6"));
    }
}

#[tokio::test]
async fn a_long_poll_gets_a_message_that_is_sent_while_it_waits() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[(QueueAttributeName::ReceiveMessageWaitTimeSeconds, "20")]).await;
    let (received, ()) = tokio::join!(sqs.client.receive_message().queue_url(&queue).send(), sqs.send(&queue, "a"));
    assert_eq!(received.unwrap().messages()[0].body(), Some("a"));
}

#[tokio::test]
async fn every_waiting_long_poll_gets_its_message() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[]).await;
    let poll = || async {
        let receive = sqs.client.receive_message().queue_url(&queue).wait_time_seconds(20);
        receive.send().await.unwrap().messages.unwrap().len()
    };
    let send = async {
        for body in ["a", "b", "c"] {
            sqs.send(&queue, body).await;
        }
    };
    let (first, second, third, ()) = tokio::join!(poll(), poll(), poll(), send);
    assert_eq!([first, second, third], [1, 1, 1]);
}

#[tokio::test]
async fn a_message_returns_when_its_visibility_timeout_ends() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[]).await;
    sqs.send(&queue, "a").await;
    let first = sqs.receive(&queue, 1).await.remove(0);
    let second = sqs.receive(&queue, 600).await.remove(0);
    assert_eq!(system(&second, System::ApproximateReceiveCount), "2");
    assert_eq!(system(&second, System::SentTimestamp), system(&first, System::SentTimestamp));
    assert_ne!(first.receipt_handle(), second.receipt_handle());

    let delete = |handle: Option<&str>| {
        sqs.client.delete_message().queue_url(&queue).receipt_handle(handle.unwrap_or_default()).send()
    };
    if !sqs.differs(&["moto", "elasticmq"], "only the newest receipt handle deletes") {
        delete(first.receipt_handle()).await.unwrap();
    }
    let change = sqs.client.change_message_visibility().queue_url(&queue).visibility_timeout(0);
    change.receipt_handle(second.receipt_handle().unwrap()).send().await.unwrap();
    let third = sqs.receive(&queue, 600).await.remove(0);
    assert_eq!(system(&third, System::ApproximateReceiveCount), "3");
    delete(third.receipt_handle()).await.unwrap();
    if !sqs.differs(&["elasticmq"], "a second deletion succeeds") {
        delete(third.receipt_handle()).await.unwrap();
    }
    assert_eq!(sqs.attribute(&queue, QueueAttributeName::ApproximateNumberOfMessagesNotVisible).await.unwrap(), "0");
    if !sqs.differs(&["moto", "elasticmq"], "a handle that is no handle is an error") {
        assert_eq!(code(delete(Some("abc")).await), "ReceiptHandleIsInvalid");
    }
}

#[tokio::test]
async fn a_delayed_message_is_visible_after_its_delay() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[(QueueAttributeName::DelaySeconds, "900")]).await;
    sqs.client.send_message().queue_url(&queue).message_body("a").delay_seconds(1).send().await.unwrap();
    sqs.send(&queue, "b").await;
    let received = sqs.receive(&queue, 600).await;
    assert_eq!(received.iter().map(|message| message.body().unwrap()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(sqs.attribute(&queue, QueueAttributeName::ApproximateNumberOfMessagesDelayed).await.unwrap(), "1");
}

#[tokio::test]
async fn messages_and_numbers_have_limits() {
    let sqs = Sqs::start().await;
    let queue = sqs.queue(&[]).await;
    let send = |body: String| sqs.client.send_message().queue_url(&queue).message_body(body);
    if !sqs.differs(&["moto", "elasticmq"], "bodies are checked") {
        assert_eq!(code(send(String::new()).send().await), "MissingParameter");
        assert_eq!(code(send("\u{1}".to_owned()).send().await), "InvalidMessageContents");
    }
    assert_eq!(code(send("a".to_owned()).delay_seconds(901).send().await), "InvalidParameterValue");
    if !sqs.differs(&["elasticmq"], "a message has at most 1 MiB") {
        send("a".repeat(1 << 20)).send().await.unwrap();
        assert_eq!(code(send("a".repeat((1 << 20) + 1)).send().await), "InvalidParameterValue");
    }
    let mut many = send("a".to_owned());
    for number in 0..11 {
        many = many.message_attributes(format!("a{number}"), value("String", "b"));
    }
    if !sqs.differs(&["moto", "elasticmq"], "a message has at most 10 attributes") {
        assert_eq!(code(many.send().await), "InvalidParameterValue");
    }
    let receive = || sqs.client.receive_message().queue_url(&queue);
    if !sqs.differs(&["moto", "elasticmq"], "the numbers of a receive have limits") {
        assert_eq!(code(receive().max_number_of_messages(11).send().await), "InvalidParameterValue");
        assert_eq!(code(receive().wait_time_seconds(21).send().await), "InvalidParameterValue");
        assert_eq!(code(receive().visibility_timeout(43_201).send().await), "InvalidParameterValue");
    }
}
