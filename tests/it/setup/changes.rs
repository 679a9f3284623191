//! What `mini-scan setup changes` creates: the history table, the lease table and the stream of the table of scans.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{
    BillingMode, KeyType, ScalarAttributeType, StreamSpecification, StreamViewType, TableDescription,
    TimeToLiveSpecification,
};
use dynamodb_streams::DynamoDbLeaseTable;

use super::{Plan, assert_refused, first_words};
use crate::support::dynamo::{Dynamo, attribute, key};
use crate::support::program::{Launch, mini_scan};
use crate::support::unique;

/// The names of the two tables of a plan.
struct Names {
    history: String,
    leases: String,
}

impl Names {
    fn new() -> Names {
        Names { history: unique("history"), leases: unique("leases") }
    }

    fn setup(&self, plan: &Plan) -> Launch {
        let names = ["--table", &plan.table, "--history-table", &self.history, "--lease-table", &self.leases];
        mini_scan(["setup", "changes"]).arguments(names).against(&plan.pubsub, &plan.dynamo)
    }
}

async fn described(dynamo: &Dynamo, table: &str) -> TableDescription {
    let described = dynamo.client.describe_table().table_name(table).send().await;
    described.expect("the table exists").table.expect("a description")
}

/// Returns each attribute of the key, with its role and type.
fn keys(table: &TableDescription) -> BTreeMap<String, [String; 2]> {
    let types: BTreeMap<_, _> = table
        .attribute_definitions()
        .iter()
        .map(|definition| (definition.attribute_name(), definition.attribute_type().to_string()))
        .collect();
    let key = |key: &aws_sdk_dynamodb::types::KeySchemaElement| {
        (key.attribute_name().to_owned(), [key.key_type().to_string(), types[key.attribute_name()].clone()])
    };
    table.key_schema().iter().map(key).collect()
}

fn stream(table: &TableDescription) -> Option<StreamViewType> {
    let stream = table.stream_specification().filter(|stream| stream.stream_enabled());
    stream.and_then(|stream| stream.stream_view_type().cloned())
}

async fn create_without_stream(plan: &Plan) {
    let none = StreamSpecification::builder().stream_enabled(false).build().expect("a complete specification");
    let create = plan.dynamo.create(&plan.table).set_stream_specification(Some(none));
    create.send().await.expect("the table is created");
}

#[tokio::test]
async fn creates_both_tables_and_the_stream_and_finds_them_in_a_second_run() {
    let (plan, names) = (Plan::new().await, Names::new());
    create_without_stream(&plan).await;

    assert_eq!(first_words(names.setup(&plan)).await, ["created"; 3]);
    assert_eq!(first_words(names.setup(&plan)).await, ["found"; 3]);

    let dynamo = &plan.dynamo;
    assert_eq!(stream(&described(dynamo, &plan.table).await), Some(StreamViewType::NewAndOldImages));
    let history = described(dynamo, &names.history).await;
    let expected = [("entry", ["RANGE", "S"]), ("ip", ["HASH", "S"])];
    assert_eq!(keys(&history), expected.map(|(name, key)| (name.to_owned(), key.map(str::to_owned))).into());
    assert_eq!((stream(&history), history.global_secondary_indexes().len()), (None, 0));
    let expiry = dynamo.client.describe_time_to_live().table_name(&names.history).send().await;
    let expiry = expiry.expect("the table exists").time_to_live_description.and_then(|expiry| expiry.attribute_name);
    assert_eq!(expiry.as_deref(), Some("expires_at"));
    for name in [&names.history, &names.leases] {
        let table = described(dynamo, name).await;
        let billing = table.billing_mode_summary().and_then(|billing| billing.billing_mode().cloned());
        assert_eq!(billing, Some(BillingMode::PayPerRequest), "{name}");
    }
}

#[tokio::test]
async fn the_lease_table_has_the_key_that_the_reader_creates() {
    let (plan, names) = (Plan::new().await, Names::new());
    plan.dynamo.create(&plan.table).send().await.expect("the table is created");
    let other = unique("leases");

    assert_eq!(first_words(names.setup(&plan)).await, ["found", "created", "created"]);
    let created = DynamoDbLeaseTable::new(&plan.dynamo.client, other.as_str()).create_if_missing().await;

    created.expect("the table is created");
    let (ours, theirs) = (described(&plan.dynamo, &names.leases).await, described(&plan.dynamo, &other).await);
    assert_eq!(keys(&ours), keys(&theirs));
}

#[tokio::test]
async fn two_concurrent_runs_create_each_table_once() {
    let (plan, names) = (Plan::new().await, Names::new());
    create_without_stream(&plan).await;

    let (one, other) = tokio::join!(first_words(names.setup(&plan)), first_words(names.setup(&plan)));

    // The embedded server enables a stream that another request has enabled.
    let tables = one[1..].iter().chain(&other[1..]);
    assert_eq!(tables.filter(|word| *word == "created").count(), 2, "{one:?} {other:?}");
    assert!([&one[0], &other[0]].contains(&&"created".to_owned()), "{one:?} {other:?}");
}

#[tokio::test]
async fn a_missing_table_of_scans_is_not_created() {
    let (plan, names) = (Plan::new().await, Names::new());

    let exit = names.setup(&plan).run().await;

    assert_refused(&exit, &["--table", "does not exist", "mini-scan setup table --table"]);
    assert!(!plan.has_table().await);
}

#[tokio::test]
async fn refuses_a_stream_without_both_images_and_leaves_it_unchanged() {
    let (plan, names) = (Plan::new().await, Names::new());
    let stream_of_new = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage);
    let create = plan.dynamo.create(&plan.table).stream_specification(stream_of_new.build().expect("complete"));
    create.send().await.expect("the table is created");

    let exit = names.setup(&plan).run().await;

    assert_refused(
        &exit,
        &[&plan.table, "its stream has NEW_IMAGE; expected NEW_AND_OLD_IMAGES", "StreamEnabled=false"],
    );
    assert_eq!(stream(&described(&plan.dynamo, &plan.table).await), Some(StreamViewType::NewImage));
}

#[tokio::test]
async fn refuses_tables_with_another_key_and_names_the_flag() {
    for is_history in [true, false] {
        let (plan, names) = (Plan::new().await, Names::new());
        plan.dynamo.create(&plan.table).send().await.expect("the table is created");
        let (table, flag) =
            if is_history { (&names.history, "--history-table") } else { (&names.leases, "--lease-table") };
        plan.dynamo.create_with_another_key(table).await;

        let exit = names.setup(&plan).run().await;

        assert_refused(&exit, &[table, flag, "its key is HASH id (S); expected HASH"]);
    }
}

#[tokio::test]
async fn an_existing_history_table_gets_an_expiry_unless_it_has_another_one() {
    for (given, fits) in [(None, true), (Some("expires_at"), true), (Some("deleted_at"), false)] {
        let (plan, names) = (Plan::new().await, Names::new());
        plan.dynamo.create(&plan.table).send().await.expect("the table is created");
        let client = &plan.dynamo.client;
        let create = client.create_table().table_name(&names.history).billing_mode(BillingMode::PayPerRequest);
        let create = ["ip", "entry"].into_iter().fold(create, |create, name| {
            let role = if name == "ip" { KeyType::Hash } else { KeyType::Range };
            create.attribute_definitions(attribute(name, ScalarAttributeType::S)).key_schema(key(name, role))
        });
        create.send().await.expect("the table is created");
        if let Some(attribute) = given {
            let expiry = TimeToLiveSpecification::builder().enabled(true).attribute_name(attribute).build();
            let update = client.update_time_to_live().table_name(&names.history);
            let update = update.time_to_live_specification(expiry.expect("complete"));
            update.send().await.expect("the items expire");
        }

        let exit = names.setup(&plan).run().await;

        if fits {
            assert_eq!(exit.code, Some(0), "{given:?} {exit:#?}");
            let expiry = client.describe_time_to_live().table_name(&names.history).send().await;
            let expiry = expiry.expect("the table exists").time_to_live_description;
            assert_eq!(expiry.and_then(|expiry| expiry.attribute_name).as_deref(), Some("expires_at"));
        } else {
            assert_refused(&exit, &[&names.history, "--history-table", "deleted_at; expected expires_at"]);
        }
    }
}
