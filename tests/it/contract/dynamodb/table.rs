//! Tables, as `setup` and the start checks use them.

use aws_sdk_dynamodb::types::{
    BillingMode, GlobalSecondaryIndex, KeyType, Projection, ProjectionType, ScalarAttributeType, StreamViewType,
    TableStatus, TimeToLiveStatus,
};

use mini_scan::consumer::ports::{Fit, Store, StoreErrorKind};
use mini_scan::dynamo::Scans;

use super::{code, put};
use crate::support::dynamo::{Dynamo, attribute, item, key, number, text, time_to_live};
use crate::support::servers::DynamoServer;
use crate::support::unique;

#[tokio::test]
async fn describe_returns_the_settings_of_create() {
    let dynamo = Dynamo::connect();
    let name = dynamo.table().await;

    let describe = dynamo.client.describe_table().table_name(&name);
    let table = describe.send().await.expect("the table exists").table.expect("a description");

    assert_eq!(table.table_status, Some(TableStatus::Active));
    assert_eq!(table.key_schema, Some(vec![key("pk", KeyType::Hash)]));
    assert_eq!(table.attribute_definitions, Some(vec![attribute("pk", ScalarAttributeType::S)]));
    let billing = table.billing_mode_summary.expect("a billing mode");
    assert_eq!(billing.billing_mode, Some(BillingMode::PayPerRequest));
    let stream = table.stream_specification.expect("a stream");
    assert!(stream.stream_enabled);
    assert_eq!(stream.stream_view_type, Some(StreamViewType::NewAndOldImages));
    assert!(table.latest_stream_arn.is_some());
    assert!(table.global_secondary_indexes.unwrap_or_default().is_empty());
}

#[tokio::test]
async fn creating_a_table_twice_fails_with_resource_in_use() {
    let dynamo = Dynamo::connect();
    let name = dynamo.table().await;

    let again = dynamo.create(&name).send().await;

    assert_eq!(code(&again), Some("ResourceInUseException"), "{again:?}");
}

#[tokio::test]
async fn one_of_two_concurrent_creates_succeeds_and_the_other_finds_the_table() {
    let dynamo = Dynamo::connect();
    let name = unique("table");

    let results: [_; 2] = tokio::join!(dynamo.create(&name).send(), dynamo.create(&name).send()).into();

    let failed: Vec<_> = results.iter().filter(|result| result.is_err()).map(code).collect();
    assert_eq!(failed, [Some("ResourceInUseException")]);
}

#[tokio::test]
async fn time_to_live_is_off_by_default_and_can_be_enabled_once() {
    let dynamo = Dynamo::connect();
    let name = dynamo.table().await;
    let describe = async || {
        let output = dynamo.client.describe_time_to_live().table_name(&name).send().await.expect("the table exists");
        output.time_to_live_description.expect("a description")
    };
    let enable =
        || dynamo.client.update_time_to_live().table_name(&name).time_to_live_specification(time_to_live("expires_at"));

    assert_eq!(describe().await.time_to_live_status, Some(TimeToLiveStatus::Disabled));
    enable().send().await.expect("time to live is enabled");

    let enabled = describe().await;
    assert_eq!(enabled.attribute_name.as_deref(), Some("expires_at"));
    let status = enabled.time_to_live_status.expect("a status");
    assert!([TimeToLiveStatus::Enabling, TimeToLiveStatus::Enabled].contains(&status), "{status:?}");
    if !dynamo.skips(DynamoServer::Dynoxide, "enabling time to live again is rejected") {
        let again = enable().send().await;
        assert_eq!(code(&again), Some("ValidationException"), "{again:?}");
    }
}

#[tokio::test]
async fn calls_to_a_missing_table_fail_with_resource_not_found() {
    let dynamo = Dynamo::connect();
    let name = unique("missing");

    let described = dynamo.client.describe_table().table_name(&name).send().await;
    let written = put(&dynamo, &name, item([("pk", text("1.1.1.1#80#HTTP"))])).await;

    assert_eq!(code(&described), Some("ResourceNotFoundException"), "{described:?}");
    assert_eq!(code(&written), Some("ResourceNotFoundException"), "{written:?}");
}

#[tokio::test]
async fn a_table_with_another_key_schema_rejects_the_item() {
    let dynamo = Dynamo::connect();
    let create = |name: &str, kind: ScalarAttributeType| {
        let create = dynamo.client.create_table().table_name(unique("table")).billing_mode(BillingMode::PayPerRequest);
        create.attribute_definitions(attribute(name, kind)).key_schema(key(name, KeyType::Hash))
    };
    let ranged = create("pk", ScalarAttributeType::S)
        .attribute_definitions(attribute("timestamp_text", ScalarAttributeType::S))
        .key_schema(key("timestamp_text", KeyType::Range));
    let mismatches = [
        ("a key with another name", create("id", ScalarAttributeType::S)),
        ("a numeric key", create("pk", ScalarAttributeType::N)),
        ("a sort key that the item lacks", ranged),
    ];

    for (what, create) in mismatches {
        let created = create.send().await.expect("the table is created");
        let name = created.table_description.and_then(|table| table.table_name).expect("a name");
        let row = item([("pk", text("1.1.1.1#80#HTTP")), ("timestamp", number(1))]);
        let result = put(&dynamo, &name, row).await;
        assert_eq!(code(&result), Some("ValidationException"), "{what}: {result:?}");
    }
}

/// Creates a table with an index on this attribute, and returns its name.
async fn table_with_index(dynamo: &Dynamo, name: &str, kind: ScalarAttributeType) -> String {
    let table = unique("table");
    let projection = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
    let index = GlobalSecondaryIndex::builder().index_name(format!("by_{name}")).projection(projection);
    let index = index.key_schema(key(name, KeyType::Hash)).build().expect("a complete index");
    let create = dynamo.create(&table).attribute_definitions(attribute(name, kind));
    create.global_secondary_indexes(index).send().await.expect("the table is created");
    table
}

#[tokio::test]
async fn a_description_shows_whether_the_table_fits_scans() {
    let dynamo = Dynamo::connect();
    let fit = async |table: &str| Scans::new(dynamo.client.clone(), table.to_owned(), None).describe().await;
    let misfit = |text: &str| Ok(Fit::DoesNotFit(text.to_owned()));

    assert_eq!(fit(&dynamo.table().await).await, Ok(Fit::Fits));
    for (name, kind) in [("port", ScalarAttributeType::N), ("owner", ScalarAttributeType::B)] {
        assert_eq!(fit(&table_with_index(&dynamo, name, kind).await).await, Ok(Fit::Fits), "{name}");
    }
    let wrong_type = table_with_index(&dynamo, "port", ScalarAttributeType::S).await;
    assert_eq!(fit(&wrong_type).await, misfit("its index by_port needs port (S); scans have port (N)"));
    let table = unique("table");
    dynamo.create_with_another_key(&table).await;
    assert_eq!(fit(&table).await, misfit("its key is HASH id (S); scans need only HASH pk (S)"));
    let missing = fit(&unique("missing")).await.expect_err("the table does not exist");
    assert_eq!(missing.kind, StoreErrorKind::MissingTable);
}

#[tokio::test]
async fn a_table_with_an_index_on_an_attribute_of_another_type_rejects_the_item() {
    let dynamo = Dynamo::connect();
    let name = table_with_index(&dynamo, "port", ScalarAttributeType::S).await;

    let row = item([("pk", text("1.1.1.1#80#HTTP")), ("port", number(80)), ("timestamp", number(1))]);
    let result = put(&dynamo, &name, row).await;
    let without = put(&dynamo, &name, item([("pk", text("1.1.1.1#80#HTTP")), ("timestamp", number(1))])).await;

    assert_eq!(code(&result), Some("ValidationException"), "{result:?}");
    assert!(without.is_ok(), "an item without the index's key is stored: {without:?}");
}
