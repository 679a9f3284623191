//! The demo must pass with a correct program and fail with a faulty one.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::program::Environment;
use super::*;
use crate::scan::{self, Reason, Scan};
use dynamodb_local::thread;

/// A minimal consumer: one stream, and one message at a time.
#[derive(Clone, Copy)]
struct Simple {
    conditional: bool,
    dead_letters: bool,
}

const CORRECT: Simple = Simple { conditional: true, dead_letters: true };

struct Running {
    outcomes: Arc<Mutex<Outcomes>>,
    _task: JoinSet<Result<(), BoxError>>,
}

impl Consumer for Running {
    fn outcomes(&self) -> Outcomes {
        self.outcomes.lock().unwrap().clone()
    }

    async fn stop(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl Program for Simple {
    type Consumer = Running;

    async fn setup(&self, environment: &Environment) -> Result<(), BoxError> {
        let endpoint = format!("http://{}", environment.pubsub_host);
        let no_credentials = || anonymous::Builder::new().build();
        let topics = TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(no_credentials()).build().await?;
        let subscriptions =
            SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(no_credentials()).build().await?;
        for (topic, subscription) in [
            (environment.topic, environment.subscription),
            (environment.dead_letter_topic, environment.dead_letter_subscription),
        ] {
            let topic = format!("projects/{}/topics/{topic}", environment.project);
            let subscription = format!("projects/{}/subscriptions/{subscription}", environment.project);
            topics.create_topic().set_name(&topic).send().await?;
            subscriptions.create_subscription().set_name(subscription).set_topic(topic).send().await?;
        }
        let key = AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
        let table = dynamo(environment)
            .create_table()
            .table_name(environment.table)
            .attribute_definitions(key.build()?)
            .key_schema(KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash).build()?)
            .billing_mode(BillingMode::PayPerRequest);
        table.send().await?;
        Ok(())
    }

    async fn serve(&self, _: &Environment) -> Result<Option<thread::Running>, BoxError> {
        Ok(None)
    }

    async fn consume(&self, environment: &Environment) -> Result<Running, BoxError> {
        let outcomes = Arc::<Mutex<Outcomes>>::default();
        let mut task = JoinSet::new();
        task.spawn(consume(*self, environment.clone(), Arc::clone(&outcomes)));
        Ok(Running { outcomes, _task: task })
    }
}

async fn consume(program: Simple, environment: Environment, outcomes: Arc<Mutex<Outcomes>>) -> Result<(), BoxError> {
    let endpoint = format!("http://{}", environment.pubsub_host);
    let no_credentials = || anonymous::Builder::new().build();
    let dead_letters = format!("projects/{}/topics/{}", environment.project, environment.dead_letter_topic);
    let dead_letters =
        Publisher::builder(dead_letters).with_endpoint(&endpoint).with_credentials(no_credentials()).build().await?;
    let scans = Subscriber::builder().with_endpoint(&endpoint).with_credentials(no_credentials()).build().await?;
    let mut scans = scans.subscribe(environment.subscription_name()).build();
    let table = dynamo(&environment);
    while let Some(delivery) = scans.next().await {
        let (message, receipt) = delivery?;
        let published = message.publish_time.unwrap_or_default();
        let published = SystemTime::try_from(published)?;
        let reason = match scan::decode(&message.data, published, Duration::from_secs(24 * 60 * 60)) {
            Ok(scan) if scan.response.len() < 400_000 => {
                let stored = put(program, &table, environment.table, scan).await?;
                let mut outcomes = outcomes.lock().unwrap();
                *if stored { &mut outcomes.stored } else { &mut outcomes.stale } += 1;
                None
            }
            Ok(_) => Some(Reason::ItemTooLarge),
            Err(rejection) => Some(rejection.reason),
        };
        if let Some(reason) = reason {
            if program.dead_letters {
                let dead_letter = model::Message::new().set_data(message.data);
                dead_letters.publish(dead_letter.set_attributes([("rejection_reason", reason.as_str())])).await?;
            }
            outcomes.lock().unwrap().rejections.push((reason, 1));
        }
        receipt.ack();
    }
    Ok(())
}

fn dynamo(environment: &Environment) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(&environment.dynamo_url)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"));
    Client::from_conf(config.build())
}

async fn put(program: Simple, table: &Client, name: &str, scan: Scan) -> Result<bool, BoxError> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let timestamp = AttributeValue::N(scan.timestamp.to_string());
    let mut put = table
        .put_item()
        .table_name(name)
        .item("pk", text(scan.key.as_str()))
        .item("ip", text(scan.key.ip()))
        .item("port", AttributeValue::N(scan.key.port().to_owned()))
        .item("service", text(scan.key.service()))
        .item("timestamp", timestamp.clone())
        .item("response", text(&scan.response))
        .item("data_version", AttributeValue::N((scan.data_version as u8).to_string()));
    if program.conditional {
        put = put
            .condition_expression("attribute_not_exists(pk) OR #ts < :ts")
            .expression_attribute_names("#ts", "timestamp")
            .expression_attribute_values(":ts", timestamp);
    }
    match put.send().await {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn run_demo(program: Simple) -> (bool, String) {
    let settings = Settings { count: NonZeroU32::new(1_000).unwrap(), seed: 1, keep: false };
    let mut out = Vec::new();
    let passed = run(&program, &settings, std::future::pending(), &mut out).await.unwrap();
    (passed, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_correct_program_passes() {
    let (passed, text) = run_demo(CORRECT).await;
    assert!(passed, "{text}");
    assert!(!text.contains('✗') && !text.contains('\x1b') && !text.contains('\r'), "{text}");
}

#[tokio::test]
async fn unconditional_writes_are_detected() {
    let (passed, text) = run_demo(Simple { conditional: false, ..CORRECT }).await;
    assert!(!passed, "{text}");
    assert!(text.contains("timestamp is "), "{text}");
}

#[tokio::test]
async fn broken_messages_without_a_dead_letter_are_detected() {
    let (passed, text) = run_demo(Simple { dead_letters: false, ..CORRECT }).await;
    assert!(!passed, "{text}");
    assert!(text.contains("missing dead letter"), "{text}");
}

#[tokio::test]
async fn a_stop_ends_the_demo_without_a_result() {
    let settings = Settings { count: NonZeroU32::MIN, seed: 1, keep: false };
    let result = run(&CORRECT, &settings, std::future::ready(()), &mut Vec::new()).await;
    assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
}

/// Notifies when the instructions are printed.
struct Instructed(Arc<Notify>);

impl Write for Instructed {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(text).contains("aws dynamodb scan --table-name scan-results --endpoint-url http://")
        {
            self.0.notify_one();
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn kept_servers_run_until_the_stop() {
    let settings = Settings { count: NonZeroU32::MIN, seed: 1, keep: true };
    let instructed = Arc::new(Notify::new());
    let passed =
        run(&CORRECT, &settings, instructed.notified(), &mut Instructed(Arc::clone(&instructed))).await.unwrap();
    assert!(passed);
}
