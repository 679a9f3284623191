//! `mini-scan setup` as a process: it creates missing resources, leaves existing ones unchanged, and refuses those that
//! do not fit.

mod changes;
mod indexes;
mod webhooks;

use serde_json::{Value, json};

use crate::support::dynamo::Dynamo;
use crate::support::http_proxy::{Answer, HttpProxy};
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::pubsub::Pubsub;
use crate::support::servers::PubsubServer;
use crate::support::unique;

const DAY: i64 = 24 * 60 * 60;

/// Names of resources that do not exist yet, and their servers.
struct Plan {
    pubsub: Pubsub,
    dynamo: Dynamo,
    topic: String,
    subscription: String,
    dead_letter_topic: String,
    table: String,
}

impl Plan {
    async fn new() -> Plan {
        Plan {
            pubsub: Pubsub::connect().await,
            dynamo: Dynamo::connect(),
            topic: unique("topic"),
            subscription: unique("sub"),
            dead_letter_topic: unique("dead"),
            table: unique("table"),
        }
    }

    fn pubsub_flags(&self) -> [&str; 6] {
        let Plan { topic, subscription, dead_letter_topic, .. } = self;
        ["--topic", topic, "--subscription", subscription, "--dead-letter-topic", dead_letter_topic]
    }

    fn setup(&self) -> Launch {
        let launch = mini_scan(["setup"]).arguments(self.pubsub_flags()).arguments(["--table", &self.table]);
        launch.against(&self.pubsub, &self.dynamo)
    }

    /// Creates a subscription with this id on a new topic, and returns the topic's full name.
    async fn subscribe_to_another_topic(&self, id: &str) -> String {
        let other = self.pubsub.topic().await;
        let create = self.pubsub.subscriptions.create_subscription().set_topic(&other);
        create.set_name(self.pubsub.subscription_name(id)).send().await.expect("the subscription is created");
        other
    }

    /// Runs `setup` against a Pub/Sub on which both subscriptions exist, with these settings.
    async fn setup_with_existing(&self, scans: &Value, dead_letters: &Value) -> Exit {
        let mut answers = Vec::new();
        for (id, topic, settings) in
            [(&self.subscription, &self.topic, scans), (&self.dead_letter_topic, &self.dead_letter_topic, dead_letters)]
        {
            let name = self.pubsub.subscription_name(id);
            let mut found = json!({"name": name, "topic": self.pubsub.topic_name(topic), "expirationPolicy": {}});
            found.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
            answers.push(exists(&name));
            answers.push(Answer { to: format!("GET /v1/{name}"), status: "200 OK", body: found.to_string() });
        }
        let proxy = HttpProxy::answering(&self.pubsub.address, answers);
        self.setup().env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string()).run().await
    }

    async fn has_table(&self) -> bool {
        self.dynamo.client.describe_table().table_name(&self.table).send().await.is_ok()
    }

    async fn has_topic(&self) -> bool {
        let name = self.pubsub.topic_name(&self.topic);
        self.pubsub.topics.get_topic().set_topic(name).send().await.is_ok()
    }
}

/// Runs the program and returns the first word of each line on stdout. Panics if it failed.
async fn first_words(launch: Launch) -> Vec<String> {
    let exit = launch.run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    exit.output.stdout.iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn creates_missing_resources_and_finds_them_in_a_second_run() {
    let plan = Plan::new().await;
    assert_eq!(first_words(plan.setup()).await, ["created"; 6]);
    assert_eq!(first_words(plan.setup()).await, ["found"; 6]);
}

#[tokio::test]
async fn two_concurrent_runs_create_each_resource_once() {
    let plan = Plan::new().await;

    let (one, other) = tokio::join!(first_words(plan.setup()), first_words(plan.setup()));

    let created = one.iter().chain(&other).filter(|word| *word == "created").count();
    if !plan.pubsub.skips(PubsubServer::GoogleEmulator, "one of two concurrent creates finds the resource") {
        assert_eq!(created, 6, "{one:?} {other:?}");
    }
}

#[tokio::test]
async fn subscriptions_never_expire_and_only_that_for_scans_has_a_retry_policy() {
    let plan = Plan::new().await;
    first_words(plan.setup()).await;
    let backoff = Some((Some(10), Some(600)));
    for (subscription, topic, days, retry) in
        [(&plan.subscription, &plan.topic, 7, backoff), (&plan.dead_letter_topic, &plan.dead_letter_topic, 31, None)]
    {
        let name = plan.pubsub.subscription_name(subscription);
        let found = plan.pubsub.subscriptions.get_subscription().set_subscription(name).send().await;
        let found = found.expect("the subscription exists");
        let seconds = |duration: Option<google_cloud_wkt::Duration>| duration.map(|duration| duration.seconds());
        assert_eq!(found.topic, plan.pubsub.topic_name(topic));
        let policy = found.retry_policy;
        assert_eq!(policy.map(|policy| (seconds(policy.minimum_backoff), seconds(policy.maximum_backoff))), retry);
        assert_eq!(seconds(found.expiration_policy.expect("an expiration policy").ttl), None);
        if days > 7 && plan.pubsub.skips(PubsubServer::GoogleEmulator, "a retention of 31 days (its maximum is 7)") {
            continue;
        }
        assert_eq!(seconds(found.message_retention_duration), Some(days * DAY));
    }
}

#[tokio::test]
async fn the_table_has_the_documented_key_stream_and_time_to_live() {
    let plan = Plan::new().await;
    first_words(plan.setup()).await;

    let client = &plan.dynamo.client;
    let table = client.describe_table().table_name(&plan.table).send().await.expect("the table exists");
    let table = table.table.expect("a description");
    let expiry = client.describe_time_to_live().table_name(&plan.table).send().await.expect("the table exists");

    let keys: Vec<_> = table.key_schema().iter().map(|key| (key.attribute_name(), key.key_type().as_str())).collect();
    assert_eq!(keys, [("pk", "HASH")]);
    let stream = table.stream_specification().and_then(|stream| stream.stream_view_type());
    assert_eq!(stream.map(|view| view.as_str()), Some("NEW_AND_OLD_IMAGES"));
    let billing = table.billing_mode_summary().and_then(|billing| billing.billing_mode());
    assert_eq!(billing.map(|mode| mode.as_str()), Some("PAY_PER_REQUEST"));
    let expiry = expiry.time_to_live_description.and_then(|expiry| expiry.attribute_name);
    assert_eq!(expiry.as_deref(), Some("expires_at"));
}

#[tokio::test]
async fn setup_of_one_part_does_not_create_the_other() {
    let (pubsub, table) = (Plan::new().await, Plan::new().await);

    let only = mini_scan(["setup", "pubsub"]).arguments(pubsub.pubsub_flags()).against(&pubsub.pubsub, &pubsub.dynamo);
    assert_eq!(first_words(only).await, ["created"; 4]);
    let only = mini_scan(["setup", "table", "--table", &table.table]).against(&table.pubsub, &table.dynamo);
    assert_eq!(first_words(only).await, ["created"; 2]);

    assert!(pubsub.has_topic().await && !pubsub.has_table().await);
    assert!(!table.has_topic().await && table.has_table().await);
}

/// Answers that the subscription with this full name exists already.
fn exists(name: &str) -> Answer {
    let body = json!({"error": {"code": 409, "message": "it exists", "status": "ALREADY_EXISTS"}});
    Answer { to: format!("PUT /v1/{name}"), status: "409 Conflict", body: body.to_string() }
}

/// The retry policy that `setup` gives the subscription for scans.
fn with_retry_policy() -> Value {
    json!({"retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"}})
}

/// Checks that the program refused with a text that contains all of these parts.
fn assert_refused(exit: &Exit, parts: &[&str]) {
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let stderr = exit.output.stderr.join("\n");
    for part in parts {
        assert!(stderr.contains(part), "without {part}: {stderr}");
    }
}

fn warnings(exit: &Exit) -> Vec<&str> {
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    exit.output.stdout.iter().map(String::as_str).filter(|line| line.starts_with("warning")).collect()
}

#[tokio::test]
async fn refuses_an_existing_subscription_on_another_topic() {
    let plan = Plan::new().await;
    let other = plan.subscribe_to_another_topic(&plan.subscription).await;

    let exit = plan.setup().run().await;

    let expected = format!("expected topic {}, found topic {other}", plan.pubsub.topic_name(&plan.topic));
    assert_refused(&exit, &[&plan.subscription, "--subscription", &expected, "gcloud pubsub subscriptions delete"]);
    assert!(!exit.output.stdout.iter().any(|line| line.contains(&plan.pubsub.subscription_name(&plan.subscription))));
}

#[tokio::test]
async fn refuses_a_dead_letter_subscription_on_another_topic() {
    let plan = Plan::new().await;
    let other = plan.subscribe_to_another_topic(&plan.dead_letter_topic).await;

    let exit = plan.setup().run().await;

    let topic = plan.pubsub.topic_name(&plan.dead_letter_topic);
    let expected = format!("expected topic {topic}, found topic {other}");
    assert_refused(&exit, &["--dead-letter-topic, whose subscription has the same id", &expected]);
}

#[tokio::test]
async fn refuses_a_subscription_whose_topic_was_deleted_and_created_again() {
    let plan = Plan::new().await;
    first_words(plan.setup()).await;
    let topic = plan.pubsub.topic_name(&plan.topic);
    plan.pubsub.topics.delete_topic().set_topic(&topic).send().await.expect("the topic is deleted");

    let exit = plan.setup().run().await;

    assert_refused(&exit, &[&format!("expected topic {topic}, found that its topic was deleted")]);
}

#[tokio::test]
async fn refuses_a_subscription_from_which_no_client_can_pull() {
    for (settings, destination) in [
        (json!({"pushConfig": {"pushEndpoint": "https://example.com/push"}}), "push endpoint https://example.com/push"),
        (json!({"bigqueryConfig": {"table": "p.d.scans"}}), "BigQuery table p.d.scans"),
        (json!({"cloudStorageConfig": {"bucket": "scans"}}), "Cloud Storage bucket scans"),
        (json!({"bigtableConfig": {"table": "projects/p/instances/i/tables/t"}}), "Bigtable table projects/p"),
        (json!({"detached": true}), "detached from its topic"),
    ] {
        let plan = Plan::new().await;
        for (scans, dead_letters, refused) in
            [(&settings, &json!({}), &plan.subscription), (&with_retry_policy(), &settings, &plan.dead_letter_topic)]
        {
            let exit = plan.setup_with_existing(scans, dead_letters).await;
            assert_refused(&exit, &[&plan.pubsub.subscription_name(refused), "does not fit", "expected", destination]);
        }
    }
}

#[tokio::test]
async fn warns_of_settings_that_are_probably_not_intended() {
    let plan = Plan::new().await;
    let settings = json!({
        "filter": "attributes:x", "enableMessageOrdering": true, "enableExactlyOnceDelivery": true,
        "expirationPolicy": {"ttl": "2678400s"}, "messageTransforms": [{"javascriptUdf": {"functionName": "f"}}],
    });

    let exit = plan.setup_with_existing(&settings, &json!({})).await;

    let warnings = warnings(&exit);
    let parts = ["attributes:x", "transforms", "after 31 days", "exactly-once", "ordering", "without a retry policy"];
    assert_eq!(warnings.len(), parts.len(), "{exit:#?}");
    for (warning, part) in warnings.iter().zip(parts) {
        assert!(warning.contains(part) && warning.contains(&plan.subscription), "without {part}: {warning}");
    }
}

#[tokio::test]
async fn warns_of_a_retry_policy_on_the_dead_letter_subscription() {
    let plan = Plan::new().await;

    let exit = plan.setup_with_existing(&with_retry_policy(), &with_retry_policy()).await;

    let warnings = warnings(&exit);
    assert_eq!(warnings.len(), 1, "{exit:#?}");
    assert!(warnings[0].contains("at least 10 s") && warnings[0].contains("--clear-retry-policy"), "{exit:#?}");
}

#[tokio::test]
async fn warns_of_an_existing_subscription_that_it_may_not_view() {
    let plan = Plan::new().await;
    first_words(plan.setup()).await;
    let denied = json!({"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}});
    let denied = Answer { to: "GET /v1/".into(), status: "403 Forbidden", body: denied.to_string() };
    let exists = exists(&plan.pubsub.subscription_name(&plan.subscription));
    let proxy = HttpProxy::answering(&plan.pubsub.address, vec![exists, denied]);

    let exit = plan.setup().env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string()).run().await;

    let warnings = warnings(&exit);
    assert_eq!(warnings.len(), 1, "{exit:#?}");
    assert!(warnings[0].contains("cannot check") && warnings[0].contains("permission denied"), "{exit:#?}");
}

#[tokio::test]
async fn warns_of_an_existing_table_without_a_stream() {
    let plan = Plan::new().await;
    let create = plan.dynamo.create(&plan.table).set_stream_specification(None);
    create.send().await.expect("the table is created");

    let exit = plan.setup().run().await;

    let warnings = warnings(&exit);
    assert_eq!(warnings.len(), 1, "{exit:#?}");
    assert!(warnings[0].contains(&plan.table) && warnings[0].contains("NEW_AND_OLD_IMAGES"), "{exit:#?}");
}

#[tokio::test]
async fn refuses_a_table_that_dynamodb_is_deleting() {
    let plan = Plan::new().await;
    let table = json!({"Table": {
        "TableName": plan.table, "TableStatus": "DELETING",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    }});
    let answer = Answer { to: "DynamoDB_20120810.DescribeTable".into(), status: "200 OK", body: table.to_string() };
    let proxy = HttpProxy::answering(plan.dynamo.endpoint.trim_start_matches("http://"), vec![answer]);

    let exit = plan.setup().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).run().await;

    assert_refused(&exit, &[&plan.table, "DynamoDB is deleting it"]);
}
