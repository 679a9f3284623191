//! What `mini-scan setup webhooks` creates: the tables of subscriptions and of deliveries.

use aws_sdk_dynamodb::types::{BillingMode, KeyType, ProjectionType, ScalarAttributeType};

use super::{Plan, assert_refused, first_words};
use crate::support::dynamo::{attribute, key};
use crate::support::program::{Launch, mini_scan};
use crate::support::unique;

/// The names of the two tables of a plan.
struct Names {
    webhooks: String,
    deliveries: String,
}

impl Names {
    fn new() -> Names {
        Names { webhooks: unique("webhooks"), deliveries: unique("deliveries") }
    }

    fn setup(&self, plan: &Plan) -> Launch {
        let names = ["--webhooks-table", &self.webhooks, "--deliveries-table", &self.deliveries];
        mini_scan(["setup", "webhooks"]).arguments(names).against(&plan.pubsub, &plan.dynamo)
    }
}

#[tokio::test]
async fn creates_both_tables_with_their_indexes_and_finds_them_in_a_second_run() {
    let (plan, names) = (Plan::new().await, Names::new());

    assert_eq!(first_words(names.setup(&plan)).await, ["created"; 2]);
    assert_eq!(first_words(names.setup(&plan)).await, ["found"; 2]);

    let client = &plan.dynamo.client;
    for (name, expected, index, expected_index, projection, expiry) in [
        (
            &names.webhooks,
            ["bucket HASH", "id RANGE"],
            "by-owner",
            ["owner HASH", "id RANGE"],
            (ProjectionType::All, vec![]),
            None,
        ),
        (
            &names.deliveries,
            ["queue HASH", "id RANGE"],
            "by-due",
            ["queue HASH", "due RANGE"],
            (ProjectionType::Include, vec!["token".to_owned()]),
            Some("expires_at"),
        ),
    ] {
        let table = client.describe_table().table_name(name).send().await.expect("the table exists").table;
        let table = table.expect("a description");
        let keys = |keys: &[aws_sdk_dynamodb::types::KeySchemaElement]| {
            let texts = keys.iter().map(|key| format!("{} {}", key.attribute_name(), key.key_type()));
            texts.collect::<Vec<_>>()
        };
        assert_eq!(keys(table.key_schema()), expected);
        let [found] = table.global_secondary_indexes() else { panic!("one index is expected: {table:?}") };
        assert_eq!(
            (found.index_name(), keys(found.key_schema())),
            (Some(index), expected_index.map(str::to_owned).into())
        );
        let projected = found.projection().expect("a projection");
        let names = projected.non_key_attributes().to_vec();
        assert_eq!((projected.projection_type().cloned(), names), (Some(projection.0), projection.1));
        let billing = table.billing_mode_summary().and_then(|billing| billing.billing_mode().cloned());
        assert_eq!(billing, Some(BillingMode::PayPerRequest));
        let found = client.describe_time_to_live().table_name(name).send().await.expect("the table exists");
        let found = found.time_to_live_description.and_then(|found| found.attribute_name);
        assert_eq!(found.as_deref(), expiry);
    }
}

#[tokio::test]
async fn setup_alone_creates_no_table_of_webhooks() {
    let (plan, names) = (Plan::new().await, Names::new());
    let variables = plan.setup().env("MINI_SCAN_WEBHOOKS_TABLE", &names.webhooks);

    first_words(variables.env("MINI_SCAN_DELIVERIES_TABLE", &names.deliveries)).await;

    for name in [&names.webhooks, &names.deliveries] {
        assert!(plan.dynamo.client.describe_table().table_name(name).send().await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn refuses_tables_of_another_kind_and_names_the_flag() {
    for is_deliveries in [false, true] {
        let (plan, names) = (Plan::new().await, Names::new());
        let (table, flag) = match is_deliveries {
            false => (&names.webhooks, "--webhooks-table"),
            true => (&names.deliveries, "--deliveries-table"),
        };
        plan.dynamo.create_with_another_key(table).await;

        let exit = names.setup(&plan).run().await;

        assert_refused(&exit, &[table, flag, "its key is HASH id (S); expected HASH", "mini-scan setup webhooks"]);
    }
}

#[tokio::test]
async fn refuses_a_table_of_deliveries_without_its_index() {
    let (plan, names) = (Plan::new().await, Names::new());
    let create = plan.dynamo.client.create_table().table_name(&names.deliveries);
    let create = [("queue", KeyType::Hash), ("id", KeyType::Range)].into_iter().fold(create, |create, (name, role)| {
        create.attribute_definitions(attribute(name, ScalarAttributeType::S)).key_schema(key(name, role))
    });
    create.billing_mode(BillingMode::PayPerRequest).send().await.expect("the table is created");

    let exit = names.setup(&plan).run().await;

    assert_refused(&exit, &[&names.deliveries, "--deliveries-table", "it has no index by-due"]);
}
