//! The indexes that `mini-scan setup` creates with a table, or adds to one.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::types::{
    AttributeValue, GlobalSecondaryIndex, KeyType, Projection, ProjectionType, ScalarAttributeType,
};
use serde_json::{Value, json};

use super::{Plan, assert_refused, first_words, warnings};
use crate::support::dynamo::{Dynamo, attribute, item, key, number, text};
use crate::support::dynamo_proxy::{Action, DynamoProxy};
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::servers::DynamoServer;

impl Plan {
    fn setup_table(&self) -> Launch {
        mini_scan(["setup", "table", "--table", &self.table]).against(&self.pubsub, &self.dynamo)
    }

    /// Returns each index of the table with its key, e.g. `by-ip HASH ip RANGE port`, sorted.
    async fn indexes(&self) -> Vec<String> {
        let described = self.dynamo.client.describe_table().table_name(&self.table).send().await;
        let table = described.expect("the table exists").table.expect("a description");
        let keys = |index: &aws_sdk_dynamodb::types::GlobalSecondaryIndexDescription| {
            let projection = index.projection().and_then(|projection| projection.projection_type());
            assert_eq!(projection, Some(&ProjectionType::KeysOnly), "{index:?}");
            let keys = index.key_schema().iter().map(|key| format!(" {} {}", key.key_type(), key.attribute_name()));
            index.index_name().expect("a name").to_owned() + &keys.collect::<String>()
        };
        let mut indexes: Vec<_> = table.global_secondary_indexes().iter().map(keys).collect();
        indexes.sort();
        indexes
    }

    /// Runs `setup table` on an existing table. A proxy gives these answers, each once, the last again and again.
    async fn setup_with(&self, descriptions: Vec<Value>, updates: Vec<Action>) -> Exit {
        self.dynamo.create(&self.table).send().await.expect("the table is created");
        let (described, updated) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let next = |count: &AtomicUsize, length: usize| count.fetch_add(1, Ordering::Relaxed).min(length - 1);
        let proxy = DynamoProxy::before(self.dynamo.endpoint.trim_start_matches("http://"), move |request| {
            if request.is_describe() {
                let table = &descriptions[next(&described, descriptions.len())];
                Action::Respond(200, json!({ "Table": table }).to_string())
            } else if request.is_update_table() {
                updates[next(&updated, updates.len())].clone()
            } else {
                Action::Forward
            }
        })
        .await;
        self.setup_table().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).run().await
    }
}

const BY_IP: &str = "by-ip HASH ip RANGE port";
const BY_SERVICE: &str = "by-service HASH port HASH service RANGE ip";

/// A description of a table with an index `by-ip` or `other` in this status.
fn table_with(index: &str, status: &str) -> Value {
    let keys = [("ip", "HASH"), ("port", "RANGE")];
    let keys = keys.map(|(name, kind)| json!({ "AttributeName": name, "KeyType": kind }));
    let types = [("pk", "S"), ("ip", "S"), ("port", "N")];
    json!({
        "TableStatus": "ACTIVE",
        "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
        "AttributeDefinitions": types.map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind })),
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" },
        "GlobalSecondaryIndexes": [{
            "IndexName": index, "IndexStatus": status, "KeySchema": keys, "Projection": { "ProjectionType": "KEYS_ONLY" },
        }],
    })
}

fn fails(code: &str, message: &str) -> Action {
    Action::Respond(
        400,
        json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message }).to_string(),
    )
}

fn lines<'a>(exit: &'a Exit, word: &str) -> Vec<&'a str> {
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    exit.output.stdout.iter().map(String::as_str).filter(|line| line.starts_with(word)).collect()
}

#[tokio::test]
async fn a_new_table_has_the_index_of_hosts_unless_it_is_left_out() {
    let (with, without) = (Plan::new().await, Plan::new().await);

    assert_eq!(first_words(with.setup_table()).await, ["created"; 2]);
    assert_eq!(first_words(without.setup_table().arguments(["--no-host-index"])).await, ["created"]);

    assert_eq!(with.indexes().await, [BY_IP]);
    assert_eq!(without.indexes().await, [""; 0]);
}

async fn put_scan(dynamo: &Dynamo, table: &str, ip: &str, port: u16) {
    let pk = text(format!("{ip}#{port}#HTTP"));
    let row =
        [("pk", pk), ("ip", text(ip)), ("port", number(port)), ("service", text("HTTP")), ("timestamp", number(1))];
    dynamo.put(table, item(row)).await;
}

/// Returns the keys of the records that an index has for these values of its partition key.
async fn query(dynamo: &Dynamo, table: &str, index: &str, partition: &[(&str, AttributeValue)]) -> Vec<String> {
    let condition: Vec<_> = partition.iter().map(|(name, _)| format!("{name} = :{name}")).collect();
    let mut query = dynamo.client.query().table_name(table).index_name(index);
    query = query.key_condition_expression(condition.join(" AND "));
    for (name, value) in partition {
        query = query.expression_attribute_values(format!(":{name}"), value.clone());
    }
    let found = query.send().await.expect("the index is read");
    found.items().iter().map(|item| item["pk"].as_s().expect("a string").clone()).collect()
}

#[tokio::test]
async fn an_index_is_added_to_a_table_with_records_and_has_them() {
    let plan = Plan::new().await;
    if plan.dynamo.skips(DynamoServer::DynamoDbLocal, "an index is built within the time of a test") {
        return;
    }
    plan.dynamo.create(&plan.table).send().await.expect("the table is created");
    for port in [443, 80] {
        put_scan(&plan.dynamo, &plan.table, "1.1.1.7", port).await;
    }

    let first = plan.setup_table().run().await;
    let second = first_words(plan.setup_table()).await;

    assert_eq!(lines(&first, "found"), [format!("found    table              {}", plan.table)]);
    assert_eq!(lines(&first, "created"), [format!("created  index              by-ip of {}", plan.table)]);
    assert_eq!(second, ["found"; 2]);
    let found = query(&plan.dynamo, &plan.table, "by-ip", &[("ip", text("1.1.1.7"))]).await;
    assert_eq!(found, ["1.1.1.7#80#HTTP", "1.1.1.7#443#HTTP"]);
}

#[tokio::test]
async fn two_concurrent_runs_add_an_index_once() {
    let plan = Plan::new().await;
    if plan.dynamo.skips(DynamoServer::DynamoDbLocal, "an index is built within the time of a test") {
        return;
    }
    plan.dynamo.create(&plan.table).send().await.expect("the table is created");

    let (one, other) = tokio::join!(plan.setup_table().run(), plan.setup_table().run());

    let created = lines(&one, "created").len() + lines(&other, "created").len();
    assert_eq!(created, 1, "{one:#?} {other:#?}");
    assert_eq!(plan.indexes().await, [BY_IP]);
}

#[tokio::test]
async fn the_index_of_services_is_opt_in() {
    let plan = Plan::new().await;
    if plan.dynamo.skips(DynamoServer::DynamoDbLocal, "an index with two partition keys (since version 3.3.0)") {
        return;
    }
    plan.dynamo.create(&plan.table).send().await.expect("the table is created");
    put_scan(&plan.dynamo, &plan.table, "1.1.1.7", 443).await;
    put_scan(&plan.dynamo, &plan.table, "1.1.1.8", 443).await;

    assert_eq!(first_words(plan.setup_table().arguments(["--service-index"])).await, ["found", "created", "created"]);
    let new = Plan::new().await;
    assert_eq!(first_words(new.setup_table().arguments(["--service-index"])).await, ["created"; 3]);

    assert_eq!(plan.indexes().await, [BY_IP, BY_SERVICE]);
    assert_eq!(new.indexes().await, [BY_IP, BY_SERVICE]);
    let partition = [("port", number(443)), ("service", text("HTTP"))];
    let found = query(&plan.dynamo, &plan.table, "by-service", &partition).await;
    assert_eq!(found, ["1.1.1.7#443#HTTP", "1.1.1.8#443#HTTP"]);
}

#[tokio::test]
async fn a_server_without_keys_of_several_attributes_gets_an_explanation() {
    let plan = Plan::new().await;
    let proxy = DynamoProxy::before(plan.dynamo.endpoint.trim_start_matches("http://"), |request| {
        match request.is_create_table() {
            true => fails("ValidationException", "Key Schema too big"),
            false => Action::Forward,
        }
    })
    .await;
    let setup = plan.setup_table().arguments(["--service-index"]);

    let exit = setup.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).run().await;

    assert_refused(&exit, &["Key Schema too big", "by-service", "DynamoDB Local since 3.3.0"]);
}

#[tokio::test]
async fn waits_for_an_index_that_is_being_built() {
    let plan = Plan::new().await;
    let statuses = ["CREATING", "CREATING", "CREATING", "ACTIVE"];

    let exit = plan.setup_with(statuses.map(|status| table_with("by-ip", status)).into(), vec![]).await;

    let waiting = lines(&exit, "waiting");
    assert_eq!(waiting.len(), 1, "{exit:#?}");
    assert!(waiting[0].contains("by-ip") && waiting[0].contains("is building it"), "{exit:#?}");
    assert_eq!(lines(&exit, "found").len(), 2, "{exit:#?}");
}

#[tokio::test]
async fn adds_its_index_after_another_change_of_indexes() {
    let plan = Plan::new().await;
    let changing = table_with("by-ip", "DELETING");
    let other = table_with("other", "CREATING");
    let missing = table_with("other", "ACTIVE");
    let built = table_with("by-ip", "ACTIVE");
    // The first two descriptions are those of the checks before.
    let descriptions =
        vec![other.clone(), other.clone(), changing, other, missing.clone(), missing.clone(), missing, built];
    let updates = vec![
        fails("LimitExceededException", "Subscriber limit exceeded: Only 1 online index can be created"),
        fails("ResourceInUseException", "Attempt to change a resource which is still in use"),
        Action::Respond(200, "{}".to_owned()),
    ];

    let exit = plan.setup_with(descriptions, updates).await;

    let waiting = lines(&exit, "waiting");
    assert_eq!(waiting.len(), 2, "{exit:#?}");
    assert!(waiting[0].contains("deleting") && waiting[1].contains("another index"), "{exit:#?}");
    assert!(lines(&exit, "created")[0].contains("by-ip"), "{exit:#?}");
}

#[tokio::test]
async fn without_permission_to_add_an_index_the_error_names_it_and_the_flag() {
    let plan = Plan::new().await;

    let exit = plan.setup_with(vec![table_with("other", "ACTIVE")], vec![Action::access_denied()]).await;

    assert_refused(&exit, &["by-ip", &plan.table, "dynamodb:UpdateTable", "--no-host-index"]);
}

#[tokio::test]
async fn warns_of_an_index_with_another_shape_and_leaves_it_unchanged() {
    for (hash, projection, part) in [
        ("port", ProjectionType::KeysOnly, "reads need HASH ip (S), RANGE port (N)"),
        ("ip", ProjectionType::All, "it projects ALL instead of KEYS_ONLY"),
    ] {
        let plan = Plan::new().await;
        let (range, kinds) = match hash {
            "ip" => ("port", [ScalarAttributeType::S, ScalarAttributeType::N]),
            _ => ("ip", [ScalarAttributeType::N, ScalarAttributeType::S]),
        };
        let [hash_kind, range_kind] = kinds;
        let index = GlobalSecondaryIndex::builder()
            .index_name("by-ip")
            .key_schema(key(hash, KeyType::Hash))
            .key_schema(key(range, KeyType::Range))
            .projection(Projection::builder().projection_type(projection).build());
        let create = plan.dynamo.create(&plan.table).attribute_definitions(attribute(hash, hash_kind));
        let create = create.attribute_definitions(attribute(range, range_kind));
        let create = create.global_secondary_indexes(index.build().expect("a complete index"));
        create.send().await.expect("the table is created");

        let exit = plan.setup_table().run().await;

        let warnings = warnings(&exit);
        assert_eq!(warnings.len(), 1, "{exit:#?}");
        assert!(warnings[0].contains(part) && warnings[0].contains("docs/indexes.md"), "{exit:#?}");
    }
}
