//! The bare loop: the same calls, without validation, deduplication, dead letters or heartbeats.

use anyhow::Context;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::Instant;

use crate::Sample;
use crate::usage::usage;

const AGENT: &str = "bench-events";
const QUEUE: &str = "events";
const TABLE: &str = "Events";
/// Together they store as many events at the same time as the processor does.
const LOOPS: usize = 26;

pub(crate) struct Clients {
    sqs: aws_sdk_sqs::Client,
    dynamo: aws_sdk_dynamodb::Client,
    url: String,
}

impl Clients {
    pub(crate) async fn connect(sqs: &str, dynamo: &str) -> anyhow::Result<Clients> {
        let sqs = aws_sdk_sqs::Client::new(&dynamodb::sdk_config(Some(sqs)).await?);
        let dynamo = dynamodb::connect(Some(dynamo), AGENT).await?;
        let url = sqs.get_queue_url().queue_name(QUEUE).send().await?.queue_url.context("the queue has no URL")?;
        Ok(Clients { sqs, dynamo, url })
    }

    /// Returns how many messages the queue has.
    pub(crate) async fn backlog(&self) -> anyhow::Result<u64> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.sqs.get_queue_attributes().queue_url(&self.url);
        let attributes = request.set_attribute_names(Some(names.to_vec())).send().await?.attributes.unwrap_or_default();
        attributes.values().map(|count| count.parse::<u64>().context("no count")).sum()
    }

    pub(crate) async fn send(&self, body: String) -> anyhow::Result<()> {
        self.sqs.send_message().queue_url(&self.url).message_body(body).send().await?;
        Ok(())
    }

    async fn work(&self) -> anyhow::Result<()> {
        loop {
            let receive = self.sqs.receive_message().queue_url(&self.url).max_number_of_messages(10);
            let messages = receive.send().await?.messages.unwrap_or_default();
            if messages.is_empty() {
                return Ok(());
            }
            try_join_all(messages.iter().map(|message| self.put(message))).await?;
            let entries = messages.iter().enumerate().map(|(number, message)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
                entry.set_receipt_handle(message.receipt_handle.clone()).build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            self.sqs.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await?;
        }
    }

    async fn put(&self, message: &Message) -> anyhow::Result<()> {
        let event: Value = serde_json::from_str(message.body().context("no body")?)?;
        let text = |value: &Value| AttributeValue::S(value.as_str().unwrap_or_default().to_owned());
        let put = self
            .dynamo
            .put_item()
            .table_name(TABLE)
            .item("client_id", text(&event["client_id"]))
            .item("event_key", AttributeValue::S(message.message_id().unwrap_or_default().to_owned()))
            .item("event_type", text(&event["event_type"]))
            .item("data", AttributeValue::S(event["data"].to_string()))
            .condition_expression("attribute_not_exists(client_id)");
        put.send().await?;
        Ok(())
    }
}

pub(crate) async fn run(sqs: &str, dynamo: &str) -> anyhow::Result<Sample> {
    let begin = Instant::now();
    let clients = Clients::connect(sqs, dynamo).await?;
    try_join_all((0..LOOPS).map(|_| clients.work())).await?;
    Ok(Sample { seconds: begin.elapsed().as_secs_f64(), cpu_seconds: usage("self")?.cpu_seconds })
}
