//! Tables: what `setup` and the checks at start rely on.

use aws_sdk_dynamodb::types::{
    BillingMode, GlobalSecondaryIndex, KeyType, Projection, ProjectionType, ScalarAttributeType, StreamViewType,
    TableStatus, TimeToLiveStatus,
};

use super::{code, put};
use crate::support::dynamo::{Dynamo, attribute, item, key, number, text, time_to_live};
use crate::support::servers::DynamoServer;
use crate::support::unique;

#[tokio::test]
async fn describe_says_what_create_was_given() {
    let dynamo = Dynamo::connect();
    let name = dynamo.table().await;

    let describe = dynamo.client.describe_table().table_name(&name);
    let table = describe.send().await.expect("the table is there").table.expect("a description");

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
async fn creating_a_table_twice_answers_that_it_is_in_use() {
    let dynamo = Dynamo::connect();
    let name = dynamo.table().await;

    let again = dynamo.create(&name).send().await;

    assert_eq!(code(&again), Some("ResourceInUseException"), "{again:?}");
}

#[tokio::test]
async fn of_two_that_create_at_once_one_creates_and_one_finds() {
    let dynamo = Dynamo::connect();
    let name = unique("table");

    let answers: [_; 2] = tokio::join!(dynamo.create(&name).send(), dynamo.create(&name).send()).into();

    let refused: Vec<_> = answers.iter().filter(|answer| answer.is_err()).map(code).collect();
    assert_eq!(refused, [Some("ResourceInUseException")]);
}

#[tokio::test]
async fn time_to_live_is_off_until_it_is_turned_on_and_is_turned_on_once() {
    let dynamo = Dynamo::connect();
    let name = dynamo.table().await;
    let describe = async || {
        let answer = dynamo.client.describe_time_to_live().table_name(&name).send().await.expect("the table answers");
        answer.time_to_live_description.expect("a description")
    };
    let turn_on =
        || dynamo.client.update_time_to_live().table_name(&name).time_to_live_specification(time_to_live("expires_at"));

    assert_eq!(describe().await.time_to_live_status, Some(TimeToLiveStatus::Disabled));
    turn_on().send().await.expect("time to live is turned on");

    let on = describe().await;
    assert_eq!(on.attribute_name.as_deref(), Some("expires_at"));
    let status = on.time_to_live_status.expect("a status");
    assert!([TimeToLiveStatus::Enabling, TimeToLiveStatus::Enabled].contains(&status), "{status:?}");
    if !dynamo.excuses(DynamoServer::Dynoxide, "turning on what is on is refused") {
        let again = turn_on().send().await;
        assert_eq!(code(&again), Some("ValidationException"), "{again:?}");
    }
}

#[tokio::test]
async fn a_missing_table_is_not_found() {
    let dynamo = Dynamo::connect();
    let name = unique("missing");

    let described = dynamo.client.describe_table().table_name(&name).send().await;
    let written = put(&dynamo, &name, item([("pk", text("1.1.1.1#80#HTTP"))])).await;

    assert_eq!(code(&described), Some("ResourceNotFoundException"), "{described:?}");
    assert_eq!(code(&written), Some("ResourceNotFoundException"), "{written:?}");
}

#[tokio::test]
async fn a_table_whose_key_does_not_fit_refuses_the_item() {
    let dynamo = Dynamo::connect();
    let create = |name: &str, kind: ScalarAttributeType| {
        let create = dynamo.client.create_table().table_name(unique("table")).billing_mode(BillingMode::PayPerRequest);
        create.attribute_definitions(attribute(name, kind)).key_schema(key(name, KeyType::Hash))
    };
    let ranged = create("pk", ScalarAttributeType::S)
        .attribute_definitions(attribute("timestamp_text", ScalarAttributeType::S))
        .key_schema(key("timestamp_text", KeyType::Range));
    let wrong = [
        ("a key of another name", create("id", ScalarAttributeType::S)),
        ("a numeric key", create("pk", ScalarAttributeType::N)),
        ("a sort key that the item lacks", ranged),
    ];

    for (what, create) in wrong {
        let created = create.send().await.expect("the table is created");
        let name = created.table_description.and_then(|table| table.table_name).expect("a name");
        let row = item([("pk", text("1.1.1.1#80#HTTP")), ("timestamp", number(1))]);
        let answer = put(&dynamo, &name, row).await;
        assert_eq!(code(&answer), Some("ValidationException"), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_table_whose_index_does_not_fit_refuses_the_item() {
    let dynamo = Dynamo::connect();
    let name = unique("table");
    let projection = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
    let index = GlobalSecondaryIndex::builder().index_name("by_port").projection(projection);
    let index = index.key_schema(key("port", KeyType::Hash)).build().expect("a whole index");
    let create = dynamo.create(&name).attribute_definitions(attribute("port", ScalarAttributeType::S));
    create.global_secondary_indexes(index).send().await.expect("the table is created");

    let row = item([("pk", text("1.1.1.1#80#HTTP")), ("port", number(80)), ("timestamp", number(1))]);
    let answer = put(&dynamo, &name, row).await;
    let without = put(&dynamo, &name, item([("pk", text("1.1.1.1#80#HTTP")), ("timestamp", number(1))])).await;

    assert_eq!(code(&answer), Some("ValidationException"), "{answer:?}");
    assert!(without.is_ok(), "an item without the index's key is not in the index: {without:?}");
}
