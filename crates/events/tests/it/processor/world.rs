//! The servers of a test, with a proxy in front of the table.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use tokio::time::sleep;

pub(super) use crate::support::pages::{get, http_address, metric, until_ready};
use crate::support::program::{Launch, event_pipeline};
use crate::support::proxy::Proxy;
use crate::support::servers::Servers;
use crate::support::with_timeout;

pub(super) type Item = HashMap<String, AttributeValue>;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(super) struct World {
    pub(super) servers: Servers,
    pub(super) proxy: Proxy,
}

impl World {
    /// Starts servers with the queues and tables of `event-pipeline setup`.
    pub(super) async fn start() -> World {
        let servers = Servers::set_up().await;
        let proxy = Proxy::start(servers.dynamo.endpoint.trim_start_matches("http://")).await;
        World { servers, proxy }
    }

    /// Returns a processor whose table is behind the proxy.
    pub(super) fn processor(&self, flags: &[&str]) -> Launch {
        let flags = ["processor", "--visibility", "10s"].into_iter().chain(flags.iter().copied());
        event_pipeline(flags).against(&self.servers).env("AWS_ENDPOINT_URL_DYNAMODB", &self.proxy.endpoint)
    }

    pub(super) async fn send(&self, body: &str, attributes: &[(&str, &str)]) {
        self.servers.sqs.send("events", body, attributes).await;
    }

    /// Returns how many messages of the queue are visible, and how many are not.
    pub(super) async fn count(&self) -> (usize, usize) {
        let attributes = self.servers.sqs.attributes("events").await;
        let count = |name: QueueAttributeName| attributes[&name].parse().expect("a number");
        (
            count(QueueAttributeName::ApproximateNumberOfMessages),
            count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
        )
    }

    pub(super) async fn until_count(&self, visible: usize, invisible: usize) {
        let reached = async {
            while self.count().await != (visible, invisible) {
                sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(&format!("{visible} visible and {invisible} invisible messages"), reached).await;
    }

    pub(super) async fn until_empty(&self) {
        self.until_count(0, 0).await;
    }

    /// Returns the items of the table of events.
    pub(super) async fn items(&self) -> Vec<Item> {
        let pages = self.servers.dynamo.client.scan().table_name("Events").consistent_read(true).into_paginator();
        let items: Result<Vec<_>, _> = pages.items().send().collect().await;
        items.expect("the table exists")
    }

    pub(super) async fn until_stored(&self, count: usize) -> Vec<Item> {
        let reached = async {
            loop {
                let items = self.items().await;
                if items.len() >= count {
                    return items;
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(&format!("{count} events"), reached).await
    }

    pub(super) async fn set_route(&self, client: &str, url: &str) {
        let put = self.servers.dynamo.client.put_item().table_name("routes");
        let put = put.item("client_id", AttributeValue::S(client.to_owned()));
        let put = put.item("target_url", AttributeValue::S(url.to_owned()));
        put.send().await.expect("the table exists");
    }

    pub(super) async fn remove_route(&self, client: &str) {
        let delete = self.servers.dynamo.client.delete_item().table_name("routes");
        let delete = delete.key("client_id", AttributeValue::S(client.to_owned()));
        delete.send().await.expect("the table exists");
    }

    pub(super) async fn dead_letters(&self) -> Vec<Message> {
        self.servers.sqs.receive_all("events-dlq").await
    }
}

pub(super) fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).unwrap_or_else(|| panic!("no text {name}: {item:?}"))
}

pub(super) fn attribute<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.message_attributes()?.get(name)?.string_value()
}
