//! The demo must pass with a program that does right, and fail with one that does not.

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

use super::program::Place;
use super::*;
use crate::scan::{self, Reason, Scan};

/// The least that a consumer can be: one stream, and one message at a time.
#[derive(Clone, Copy)]
struct Simple {
    conditional: bool,
    lettered: bool,
}

const RIGHT: Simple = Simple { conditional: true, lettered: true };

struct Running {
    outcomes: Arc<Mutex<Outcomes>>,
    _task: JoinSet<Result<(), Failure>>,
}

impl Consumer for Running {
    fn outcomes(&self) -> Outcomes {
        self.outcomes.lock().unwrap().clone()
    }

    async fn stop(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Program for Simple {
    type Consumer = Running;

    async fn setup(&self, place: &Place) -> Result<(), Failure> {
        let endpoint = format!("http://{}", place.pubsub_host);
        let nobody = || anonymous::Builder::new().build();
        let topics = TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(nobody()).build().await?;
        let subscriptions =
            SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(nobody()).build().await?;
        for (topic, subscription) in
            [(place.topic, place.subscription), (place.dead_letter_topic, place.dead_letter_subscription)]
        {
            let topic = format!("projects/{}/topics/{topic}", place.project);
            let subscription = format!("projects/{}/subscriptions/{subscription}", place.project);
            topics.create_topic().set_name(&topic).send().await?;
            subscriptions.create_subscription().set_name(subscription).set_topic(topic).send().await?;
        }
        let key = AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
        let table = dynamo(place)
            .create_table()
            .table_name(place.table)
            .attribute_definitions(key.build()?)
            .key_schema(KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash).build()?)
            .billing_mode(BillingMode::PayPerRequest);
        table.send().await?;
        Ok(())
    }

    async fn consume(&self, place: &Place) -> Result<Running, Failure> {
        let outcomes = Arc::<Mutex<Outcomes>>::default();
        let mut task = JoinSet::new();
        task.spawn(consume(*self, place.clone(), Arc::clone(&outcomes)));
        Ok(Running { outcomes, _task: task })
    }
}

async fn consume(program: Simple, place: Place, outcomes: Arc<Mutex<Outcomes>>) -> Result<(), Failure> {
    let endpoint = format!("http://{}", place.pubsub_host);
    let nobody = || anonymous::Builder::new().build();
    let letters = format!("projects/{}/topics/{}", place.project, place.dead_letter_topic);
    let letters = Publisher::builder(letters).with_endpoint(&endpoint).with_credentials(nobody()).build().await?;
    let scans = Subscriber::builder().with_endpoint(&endpoint).with_credentials(nobody()).build().await?;
    let mut scans = scans.subscribe(place.subscription_name()).build();
    let table = dynamo(&place);
    while let Some(delivery) = scans.next().await {
        let (message, receipt) = delivery?;
        let published = message.publish_time.unwrap_or_default();
        let published = SystemTime::try_from(published)?;
        let reason = match scan::decode(&message.data, published, Duration::from_secs(24 * 60 * 60)) {
            Ok(scan) if scan.response.len() < 400_000 => {
                let stored = put(program, &table, place.table, scan).await?;
                let mut outcomes = outcomes.lock().unwrap();
                *if stored { &mut outcomes.stored } else { &mut outcomes.stale } += 1;
                None
            }
            Ok(_) => Some(Reason::ItemTooLarge),
            Err(rejection) => Some(rejection.reason),
        };
        if let Some(reason) = reason {
            if program.lettered {
                let letter = model::Message::new().set_data(message.data);
                letters.publish(letter.set_attributes([("rejection_reason", reason.as_str())])).await?;
            }
            outcomes.lock().unwrap().rejections.push((reason, 1));
        }
        receipt.ack();
    }
    Ok(())
}

fn dynamo(place: &Place) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(&place.dynamo_url)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"));
    Client::from_conf(config.build())
}

async fn put(program: Simple, table: &Client, name: &str, scan: Scan) -> Result<bool, Failure> {
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

async fn demonstrate(program: Simple) -> (bool, String) {
    let settings = Settings { count: NonZeroU32::new(1_000).unwrap(), seed: 1, keep: false };
    let mut out = Vec::new();
    let passed = run(&program, &settings, std::future::pending(), &mut out).await.unwrap();
    (passed, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_program_that_does_right_passes() {
    let (passed, text) = demonstrate(RIGHT).await;
    assert!(passed, "{text}");
    assert!(!text.contains('✗') && !text.contains('\x1b') && !text.contains('\r'), "{text}");
}

#[tokio::test]
async fn a_write_without_its_condition_is_found() {
    let (passed, text) = demonstrate(Simple { conditional: false, ..RIGHT }).await;
    assert!(!passed, "{text}");
    assert!(text.contains("timestamp is "), "{text}");
}

#[tokio::test]
async fn broken_messages_that_are_only_acknowledged_are_found() {
    let (passed, text) = demonstrate(Simple { lettered: false, ..RIGHT }).await;
    assert!(!passed, "{text}");
    assert!(text.contains("but it is not there"), "{text}");
}

#[tokio::test]
async fn a_stop_ends_it_without_a_verdict() {
    let settings = Settings { count: NonZeroU32::MIN, seed: 1, keep: false };
    let result = run(&RIGHT, &settings, std::future::ready(()), &mut Vec::new()).await;
    assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
}

/// Notices when the servers are said to be up.
struct Invited(Arc<Notify>);

impl Write for Invited {
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
async fn kept_servers_stay_until_the_stop() {
    let settings = Settings { count: NonZeroU32::MIN, seed: 1, keep: true };
    let invited = Arc::new(Notify::new());
    let passed = run(&RIGHT, &settings, invited.notified(), &mut Invited(Arc::clone(&invited))).await.unwrap();
    assert!(passed);
}
