//! The behaviour of SQS that programs rely on, through AWS's client.
//!
//! The tests run against an embedded server. `MINI_SCAN_CONTRACT_SQS=http://…` names another one, and
//! `MINI_SCAN_CONTRACT_SQS_NAME` is what it is: `moto` or `elasticmq`. The documentation of AWS is the standard: where
//! these servers are known to differ from it, the test prints so and skips the assertion.

#![expect(clippy::unwrap_used, reason = "Clippy allows it in tests, but not in what they share")]

mod batches;
mod dead_letters;
mod faults;
mod messages;
mod queues;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use sqs_local::{Faults, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server and a client for it. The client never retries.
struct Sqs {
    client: Client,
    name: String,
    /// What an embedded server has.
    embedded: Option<Embedded>,
}

struct Embedded {
    faults: Faults,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Sqs {
    async fn start() -> Sqs {
        match setting("MINI_SCAN_CONTRACT_SQS") {
            Some(endpoint) => {
                let name = setting("MINI_SCAN_CONTRACT_SQS_NAME").expect("MINI_SCAN_CONTRACT_SQS_NAME");
                Sqs { client: client(&endpoint), name, embedded: None }
            }
            None => Sqs::embedded().await,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "`Embedded` owns the task")]
    async fn embedded() -> Sqs {
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let (client, faults) = (client(&format!("http://{}", server.address())), server.faults());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async { server.serve(async { _ = stopped.await }).await.unwrap() });
        Sqs { client, name: "embedded".to_owned(), embedded: Some(Embedded { faults, stop: Some(stop), serving }) }
    }

    /// Returns whether to skip `assertion`, because this server is known to differ from AWS's documentation there.
    fn differs(&self, servers: &[&str], assertion: &str) -> bool {
        let differs = servers.contains(&self.name.as_str());
        if differs {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            println!("{test}: SKIPPED against {}: {assertion}", self.name);
        }
        differs
    }

    /// Creates a queue with a name of its own and returns its URL.
    async fn queue(&self, attributes: &[(QueueAttributeName, &str)]) -> String {
        let mut create = self.client.create_queue().queue_name(unique("queue"));
        for (name, value) in attributes {
            create = create.attributes(name.clone(), *value);
        }
        create.send().await.unwrap().queue_url.unwrap()
    }

    async fn attribute(&self, queue: &str, name: QueueAttributeName) -> Option<String> {
        let get = self.client.get_queue_attributes().queue_url(queue).attribute_names(QueueAttributeName::All);
        get.send().await.unwrap().attributes.unwrap().remove(&name)
    }

    async fn arn(&self, queue: &str) -> String {
        self.attribute(queue, QueueAttributeName::QueueArn).await.unwrap()
    }

    async fn send(&self, queue: &str, body: &str) {
        self.client.send_message().queue_url(queue).message_body(body).send().await.unwrap();
    }

    /// Waits for messages, and receives them for `visibility` seconds with their system attributes.
    async fn receive(&self, queue: &str, visibility: i32) -> Vec<Message> {
        let receive = self.client.receive_message().queue_url(queue).max_number_of_messages(10).wait_time_seconds(20);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        receive.visibility_timeout(visibility).send().await.unwrap().messages.unwrap_or_default()
    }

    /// Receives what is visible now.
    async fn receive_now(&self, queue: &str) -> Vec<Message> {
        let receive = self.client.receive_message().queue_url(queue).max_number_of_messages(10).wait_time_seconds(0);
        receive.send().await.unwrap().messages.unwrap_or_default()
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

fn unique(name: &str) -> String {
    format!("{name}-{:016x}", rand::random::<u64>())
}

/// Returns the code of a failed call, without the prefix that some codes have.
fn code<T, E: ProvideErrorMetadata>(result: Result<T, SdkError<E>>) -> String {
    let code = result.err().and_then(|error| error.code().map(str::to_owned)).unwrap_or_default();
    code.trim_start_matches("AWS.SimpleQueueService.").to_owned()
}

fn system(message: &Message, name: MessageSystemAttributeName) -> &str {
    message.attributes().and_then(|attributes| attributes.get(&name)).map_or("", String::as_str)
}

#[expect(clippy::disallowed_methods, reason = "the tests have no flags; the environment chooses their server")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
