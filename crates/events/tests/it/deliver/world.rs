//! The servers of a test with the tables and queues of the pipeline, and what a test puts there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::Message;
use delivery_table::WaitingDeliveries;
use event_pipeline::routes::{MAIN, RouteTable, Target};
use tokio::time::sleep;
use webhooks::SystemClock;

use super::receiver::Receiver;
use crate::support::program::{Launch, Program, event_pipeline};
use crate::support::servers::Servers;
use crate::support::with_timeout;

pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);
pub(super) const TIME: &str = "2026-11-22T10:00:00.000Z";

pub(super) struct World {
    pub(super) servers: Servers,
    pub(super) receiver: Receiver,
}

impl World {
    /// Sets the pipeline up, with a receiver that answers with this status.
    pub(super) async fn start(status: u16) -> World {
        World { servers: Servers::set_up().await, receiver: Receiver::start(status).await }
    }

    pub(super) fn routes(&self) -> RouteTable {
        RouteTable::new(self.servers.dynamo.client.clone(), "routes".to_owned())
    }

    pub(super) fn waiting(&self) -> WaitingDeliveries {
        let client = self.servers.dynamo.client.clone();
        WaitingDeliveries::new(client, "deliveries".to_owned(), None, Arc::new(SystemClock))
    }

    /// Routes a client to a path of the receiver.
    pub(super) async fn route(&self, client: &str, path: &str) {
        let target = Target::new(self.receiver.url(path));
        self.routes().set(client, MAIN, &target).await.expect("the table answers");
    }

    /// Returns a deliverer that polls often, and that may not reach the receiver.
    pub(super) fn deliverer(&self) -> Launch {
        let flags = ["deliver", "--poll-interval", "50ms", "--allow-http"];
        event_pipeline(flags).against(&self.servers).env("EVENT_PIPELINE_FAILOVER", "2s")
    }

    /// Starts a deliverer that may reach the receiver.
    pub(super) fn deliver(&self) -> Program {
        self.deliverer().env("EVENT_PIPELINE_ALLOW_TARGET", &self.receiver.host()).start()
    }

    /// Stores an event as the processor does.
    pub(super) async fn put(&self, client: &str, id: &str, more: &[(&str, &str)]) {
        let mut put = self.servers.dynamo.client.put_item().table_name("Events");
        let key = format!("{TIME}#{id}");
        let usual = [("client_id", client), ("event_key", &key), ("event_type", "order"), ("data", r#"{"n":1.50}"#)];
        for (name, value) in usual.iter().chain(more) {
            put = put.item(*name, AttributeValue::S((*value).to_owned()));
        }
        put.send().await.expect("the table answers");
    }

    /// Returns the stored events.
    pub(super) async fn stored(&self) -> Vec<HashMap<String, AttributeValue>> {
        let pages = self.servers.dynamo.client.scan().table_name("Events").consistent_read(true).into_paginator();
        pages.items().send().collect::<Result<_, _>>().await.expect("the table exists")
    }

    /// Returns the last record that is handled together with all records before it, if one is.
    pub(super) async fn checkpoint(&self) -> Option<String> {
        let scan = self.servers.dynamo.client.scan().table_name("event-leases").consistent_read(true);
        let rows = scan.send().await.expect("the table exists").items.unwrap_or_default();
        let checkpoints = rows.iter().filter_map(|row| row.get("checkpoint")?.as_s().ok());
        checkpoints.filter(|checkpoint| checkpoint.starts_with(|first: char| first.is_ascii_digit())).max().cloned()
    }

    /// Waits for the first checkpoint.
    pub(super) async fn first_checkpoint(&self) -> String {
        let stored = async {
            loop {
                match self.checkpoint().await {
                    Some(checkpoint) => return checkpoint,
                    None => sleep(POLL_INTERVAL).await,
                }
            }
        };
        with_timeout("a checkpoint", stored).await
    }

    /// Waits for a message of the dead-letter queue.
    pub(super) async fn dead_letter(&self) -> Message {
        let received = async {
            loop {
                if let Some(message) = self.servers.sqs.receive_all("deliver-dlq").await.pop() {
                    return message;
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout("a dead letter", received).await
    }

    /// Returns how many deliveries wait.
    pub(super) async fn count_waiting(&self) -> usize {
        let scan =
            self.servers.dynamo.client.scan().table_name("deliveries").filter_expression("attribute_exists(due)");
        let found = scan.send().await.expect("the table answers");
        usize::try_from(found.count).expect("a count")
    }

    pub(super) async fn wait_until_waiting(&self, count: usize) {
        let waiting = async {
            while self.count_waiting().await != count {
                sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout("deliveries that wait", waiting).await;
    }
}

pub(super) fn attribute<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.message_attributes.as_ref()?.get(name)?.string_value.as_deref()
}
