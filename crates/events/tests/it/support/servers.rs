//! The embedded servers, each on its own thread and only for one test.

use std::collections::HashMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName};
use dynamodb_local::Storage;
use dynamodb_local::thread::Running;
use sqs_local::{Faults, Server};
use tokio::sync::oneshot;

use super::program::event_pipeline;

/// Where the program finds its services.
pub(crate) struct Servers {
    pub(crate) sqs: Sqs,
    pub(crate) dynamo: Dynamo,
}

impl Servers {
    pub(crate) async fn start() -> Servers {
        Servers { sqs: Sqs::start().await, dynamo: Dynamo::start().await }
    }

    /// Starts servers with the queues and tables of `event-pipeline setup`.
    pub(crate) async fn set_up() -> Servers {
        let servers = Servers::start().await;
        event_pipeline(["setup"]).against(&servers).succeed().await;
        servers
    }
}

/// An embedded DynamoDB and a client of it. The client never retries.
pub(crate) struct Dynamo {
    /// The value for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub(crate) endpoint: String,
    pub(crate) client: aws_sdk_dynamodb::Client,
    _running: Running,
}

impl Dynamo {
    pub(crate) async fn start() -> Dynamo {
        let running = Running::start("dynamo", async || {
            let server = dynamodb_local::Server::bind(([127, 0, 0, 1], 0).into()).await?;
            let database = Storage::Memory.open().map_err(std::io::Error::other)?;
            Ok((server.address(), server.serve(database)))
        });
        let running = running.await.expect("the server starts");
        let endpoint = format!("http://{}", running.address());
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .endpoint_url(&endpoint)
            .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_dynamodb::config::Credentials::new("local", "local", None, None, "tests"))
            .retry_config(aws_sdk_dynamodb::config::retry::RetryConfig::disabled());
        Dynamo { endpoint, client: aws_sdk_dynamodb::Client::from_conf(config.build()), _running: running }
    }
}

/// An embedded SQS and a client of it. The client never retries.
pub(crate) struct Sqs {
    /// The value for `AWS_ENDPOINT_URL_SQS`.
    pub(crate) endpoint: String,
    pub(crate) client: Client,
    pub(crate) faults: Faults,
    _running: Running,
}

impl Sqs {
    pub(crate) async fn start() -> Sqs {
        let (sender, faults) = oneshot::channel();
        let running = Running::start("sqs", async || {
            let server = Server::bind(([127, 0, 0, 1], 0).into()).await?;
            sender.send(server.faults()).expect("the test waits for it");
            let address = server.address();
            Ok((address, async { server.serve(std::future::pending()).await.map_err(|error| error.to_string()) }))
        });
        let running = running.await.expect("the server starts");
        let endpoint = format!("http://{}", running.address());
        let (client, faults) = (client(&endpoint), faults.await.expect("the server has started"));
        Sqs { endpoint, client, faults, _running: running }
    }

    pub(crate) async fn url(&self, queue: &str) -> String {
        let found = self.client.get_queue_url().queue_name(queue).send().await.expect("the queue exists");
        found.queue_url.expect("a queue has a URL")
    }

    pub(crate) async fn attributes(&self, queue: &str) -> HashMap<QueueAttributeName, String> {
        let get = self.client.get_queue_attributes().queue_url(self.url(queue).await);
        let got = get.attribute_names(QueueAttributeName::All).send().await.expect("the queue exists");
        got.attributes.unwrap_or_default()
    }

    /// Receives all visible messages, and keeps them invisible.
    pub(crate) async fn receive_all(&self, queue: &str) -> Vec<Message> {
        let url = self.url(queue).await;
        let mut all = Vec::new();
        loop {
            let receive = self.client.receive_message().queue_url(&url).max_number_of_messages(10);
            let receive = receive.visibility_timeout(60).message_attribute_names("All");
            let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
            let some = receive.send().await.expect("the queue exists").messages.unwrap_or_default();
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    pub(crate) async fn send(&self, queue: &str, body: &str, attributes: &[(&str, &str)]) {
        let mut send = self.client.send_message().queue_url(self.url(queue).await).message_body(body);
        for (name, value) in attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(*value).build();
            send = send.message_attributes(*name, value.expect("it has a type"));
        }
        send.send().await.expect("the message is sent");
    }
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "tests"))
        .retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}
