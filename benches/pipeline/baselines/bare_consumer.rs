//! A consumer of both clients and nothing else. It writes each scan, unless it remembers that the record is up to date. It
//! has no retries, no dead letters, no metrics and no drain.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt, TryStreamExt, stream};
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;
use mini_scan::scan::Scan;

use super::writes::{Put, Record, client, put};
use super::{decoded, streams};
use crate::bare_loop::IN_FLIGHT;

/// The state that all threads share: the newest timestamp of each key.
#[derive(Debug, Default)]
pub(super) struct BareConsumer(Mutex<HashMap<String, u64>>);

impl BareConsumer {
    /// Runs the streams of one thread, until the process is killed.
    pub(super) async fn run(&self, number: usize, host: &str, endpoint: &str) -> anyhow::Result<()> {
        let client = &client(endpoint).await;
        let streams = streams(number, host).await?.into_iter().map(|messages| {
            let next = |mut messages: MessageStream| async move { messages.next().await.map(|next| (next, messages)) };
            Box::pin(stream::unfold(messages, next))
        });
        let settled = stream::select_all(streams).map(|next| async move {
            let (message, handler) = next?;
            self.settle(client, message, handler).await
        });
        settled.buffer_unordered(IN_FLIGHT).try_collect().await
    }

    async fn settle(&self, client: &Client, message: Message, handler: Handler) -> anyhow::Result<()> {
        let scan = decoded(&message.data)?;
        if self.newest(&scan).is_none_or(|newest| newest < scan.timestamp) {
            let newest = match put(client, record(&scan), scan.timestamp).await? {
                Put::Stored => scan.timestamp,
                Put::Stale(stored) => stored,
            };
            self.remember(&scan, newest);
        }
        handler.ack();
        Ok(())
    }

    fn newest(&self, scan: &Scan) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(scan.key.as_str()).copied()
    }

    fn remember(&self, scan: &Scan, newest: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(scan.key.as_str().to_owned(), newest);
    }
}

fn record(scan: &Scan) -> Record {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    [
        text(scan.key.as_str()),
        text(scan.key.ip()),
        AttributeValue::N(scan.key.port().to_owned()),
        text(scan.key.service()),
        AttributeValue::N(scan.timestamp.to_string()),
        text(&scan.response),
        AttributeValue::N((scan.data_version as u8).to_string()),
    ]
}
