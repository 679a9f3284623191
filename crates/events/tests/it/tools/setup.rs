//! `event-pipeline setup`.

use aws_sdk_dynamodb::types::StreamViewType;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;

use crate::support::program::event_pipeline;
use crate::support::servers::Servers;

#[tokio::test]
async fn creates_the_queues_and_the_tables_and_finds_them_when_repeated() {
    let servers = Servers::start().await;
    let first = event_pipeline(["setup", "--wait"]).against(&servers).succeed().await;
    let expected = [
        "created  queue  events-dlq",
        "created  queue  deliver-dlq",
        "created  queue  events",
        "created  table  Events",
        "created  table  routes",
        "created  table  deliveries",
        "created  table  event-leases",
    ];
    assert_eq!(first.stdout, expected);
    let second = event_pipeline(["setup"]).against(&servers).succeed().await;
    assert_eq!(second.stdout, expected.map(|line| line.replace("created", "found  ")));

    let queue = servers.sqs.attributes("events").await;
    let redrive: Value = serde_json::from_str(&queue[&QueueAttributeName::RedrivePolicy]).unwrap();
    assert!(redrive["deadLetterTargetArn"].as_str().unwrap().ends_with(":events-dlq"), "{redrive}");
    assert_eq!(redrive["maxReceiveCount"], 5);
    let retention =
        async |name| servers.sqs.attributes(name).await[&QueueAttributeName::MessageRetentionPeriod].clone();
    assert_eq!(retention("events").await, (7 * 24 * 3600).to_string());
    for dead in ["events-dlq", "deliver-dlq"] {
        assert_eq!(retention(dead).await, (14 * 24 * 3600).to_string());
    }
    let table = servers.dynamo.client.describe_table().table_name("Events").send().await.unwrap().table.unwrap();
    assert_eq!(table.stream_specification.unwrap().stream_view_type, Some(StreamViewType::NewImage));
}

#[tokio::test]
async fn changes_only_what_a_flag_asks_for() {
    let servers = Servers::set_up().await;
    let changed = event_pipeline(["setup", "--max-receives", "9"]).against(&servers).succeed().await;
    assert!(changed.stdout.contains(&"changed  queue  events: redrive after 9 receives".to_owned()), "{changed:#?}");
    let found = event_pipeline(["setup"]).against(&servers).succeed().await;
    let warning = "warning  queue  events: it moves messages after 9 receives; --max-receives 5 changes that";
    assert!(found.stdout.contains(&warning.to_owned()), "{found:#?}");
}

#[tokio::test]
async fn prints_what_it_enables_on_queues_and_tables_that_exist() {
    use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
    let servers = Servers::start().await;
    servers.sqs.client.create_queue().queue_name("events").send().await.unwrap();
    let mut create = servers.dynamo.client.create_table().table_name("Events").billing_mode(BillingMode::PayPerRequest);
    for (name, role) in [("client_id", KeyType::Hash), ("event_key", KeyType::Range)] {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        create = create.attribute_definitions(attribute.build().unwrap());
        create = create.key_schema(KeySchemaElement::builder().attribute_name(name).key_type(role).build().unwrap());
    }
    create.send().await.unwrap();
    let setup = event_pipeline(["setup"]).against(&servers).succeed().await;
    for line in [
        "changed  queue  events: redrive after 5 receives",
        "changed  table  Events: enabled its expiry and its stream",
    ] {
        assert!(setup.stdout.iter().any(|found| found == line), "{setup:#?}");
    }
    assert!(!setup.stdout.iter().any(|line| line.starts_with("found")), "{setup:#?}");
    let again = event_pipeline(["setup"]).against(&servers).succeed().await;
    let changed = again.stdout.iter().filter(|line| line.starts_with("changed"));
    assert_eq!(changed.count(), 0, "{again:#?}");
}

#[tokio::test]
async fn stores_the_number_of_buckets_of_a_client() {
    let servers = Servers::set_up().await;
    let changed = event_pipeline(["setup", "--client-buckets", "4"]).against(&servers).succeed().await;
    assert_eq!(changed.stdout.last().unwrap(), "changed  table  routes: events of a client go to 4 buckets");
    let lowered = event_pipeline(["setup", "--client-buckets", "2"]).against(&servers).succeed().await;
    assert_eq!(lowered.stdout.last().unwrap(), "changed  table  routes: events of a client go to 2 buckets");
    let get = servers.dynamo.client.get_item().table_name("routes");
    let key = aws_sdk_dynamodb::types::AttributeValue::S("\u{1f}settings".to_owned());
    let item = get.key("client_id", key).send().await.unwrap().item.unwrap();
    assert_eq!(item["client_buckets"].as_n().unwrap(), "2");
    assert_eq!(item["highest_client_buckets"].as_n().unwrap(), "4");
}

#[tokio::test]
async fn a_table_with_another_key_is_refused_with_what_to_do() {
    let servers = Servers::set_up().await;
    let exit = event_pipeline(["setup", "--events-table", "routes"]).against(&servers).run().await;
    let error = exit.output.stderr.join("\n");
    assert_eq!(exit.code, Some(1));
    for part in ["table routes (--events-table)", "its key is HASH client_id (S); expected", "Choose another one"] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn values_that_no_queue_can_have_are_wrong_usage() {
    for flags in [
        &["setup", "--queue", "events.fifo"][..],
        &["setup", "--max-receives", "0"],
        &["setup", "--client-buckets", "257"],
        &["setup", "--sqs-endpoint", "localhost:9324"],
    ] {
        assert_eq!(event_pipeline(flags.iter().copied()).run().await.code, Some(2), "{flags:?}");
    }
}
