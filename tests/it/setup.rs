//! `mini-scan setup` as a process: it creates missing resources and leaves existing ones unchanged.

use crate::support::dynamo::Dynamo;
use crate::support::program::{Launch, mini_scan};
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
    assert_eq!(first_words(plan.setup()).await, ["created"; 5]);
    assert_eq!(first_words(plan.setup()).await, ["found"; 5]);
}

#[tokio::test]
async fn two_concurrent_runs_create_each_resource_once() {
    let plan = Plan::new().await;

    let (one, other) = tokio::join!(first_words(plan.setup()), first_words(plan.setup()));

    let created = one.iter().chain(&other).filter(|word| *word == "created").count();
    if !plan.pubsub.skips(PubsubServer::GoogleEmulator, "one of two concurrent creates finds the resource") {
        assert_eq!(created, 5, "{one:?} {other:?}");
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
    assert_eq!(first_words(only).await, ["created"]);

    assert!(pubsub.has_topic().await && !pubsub.has_table().await);
    assert!(!table.has_topic().await && table.has_table().await);
}
