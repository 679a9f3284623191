//! What the indexes of `mini-scan setup` cost, in the units that the server reports.

use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::types::{BatchStatementRequest, ConsumedCapacity, ReturnConsumedCapacity};

use crate::support::dynamo::{Dynamo, item, number, text};
use crate::support::program::mini_scan;
use crate::support::servers::DynamoServer;
use crate::support::unique;

/// Creates a table by `mini-scan setup table` with these flags.
async fn table(dynamo: &Dynamo, flags: &[&str]) -> String {
    let table = unique("table");
    let setup = mini_scan(["setup", "table", "--table", &table]).arguments(flags.iter().copied());
    let exit = setup.env("AWS_ENDPOINT_URL_DYNAMODB", &dynamo.endpoint).run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    table
}

/// Writes a scan under the consumer's condition, and returns the write units of the table and of its indexes.
async fn units_of_put(dynamo: &Dynamo, table: &str, port: u16, timestamp: u64) -> (f64, f64) {
    let record = [
        ("pk", text(format!("1.1.1.7#{port}#HTTP"))),
        ("ip", text("1.1.1.7")),
        ("port", number(port)),
        ("service", text("HTTP")),
        ("timestamp", number(timestamp)),
        ("response", text("x".repeat(usize::try_from(timestamp).expect("a small number")))),
        ("data_version", number(2)),
    ];
    let put = dynamo.client.put_item().table_name(table).set_item(Some(item(record)));
    let put = put.condition_expression("attribute_not_exists(pk) OR #ts < :ts");
    let put = put.expression_attribute_names("#ts", "timestamp").expression_attribute_values(":ts", number(timestamp));
    let put: PutItemOutput =
        put.return_consumed_capacity(ReturnConsumedCapacity::Indexes).send().await.expect("the scan is newer");
    units(put.consumed_capacity())
}

fn units(consumed: Option<&ConsumedCapacity>) -> (f64, f64) {
    let consumed = consumed.expect("the server reports capacity");
    let table = consumed.table().and_then(|table| table.capacity_units()).expect("the units of the table");
    let indexes = consumed.global_secondary_indexes().into_iter().flatten();
    (table, indexes.map(|(_, index)| index.capacity_units().unwrap_or_default()).sum())
}

#[tokio::test]
async fn an_index_costs_one_write_unit_per_new_key_and_none_per_rescan() {
    let dynamo = Dynamo::connect();
    let mut cases = vec![(vec!["--no-host-index"], 0.0), (vec![], 1.0)];
    if !dynamo.skips(DynamoServer::DynamoDbLocal, "an index with two partition keys (since version 3.3.0)") {
        cases.push((vec!["--service-index"], 2.0));
    }
    for (flags, per_new_key) in cases {
        let table = table(&dynamo, &flags).await;

        let new = units_of_put(&dynamo, &table, 443, 1).await;
        let rescan = units_of_put(&dynamo, &table, 443, 2).await;
        let other_port = units_of_put(&dynamo, &table, 80, 3).await;

        assert_eq!((new, rescan, other_port), ((1.0, per_new_key), (1.0, 0.0), (1.0, per_new_key)), "{flags:?}");
    }
}

#[tokio::test]
async fn an_update_of_a_batch_costs_no_write_unit_in_an_index() {
    let dynamo = Dynamo::connect();
    if dynamo.skips(DynamoServer::DynamoDbLocal, "the consumed capacity of a batch") {
        return;
    }
    let table = table(&dynamo, &[]).await;
    units_of_put(&dynamo, &table, 443, 1).await;
    // The consumer sets every attribute, also those that stay the same.
    let statement = format!(
        r#"UPDATE "{table}" SET "ip"=? SET "port"=? SET "service"=? SET "timestamp"=? SET "response"=? WHERE "pk"=? AND "timestamp"<?"#
    );
    let values =
        [text("1.1.1.7"), number(443), text("HTTP"), number(2), text("new"), text("1.1.1.7#443#HTTP"), number(2)];
    let statement = BatchStatementRequest::builder().statement(statement).set_parameters(Some(values.into()));
    let batch = dynamo.client.batch_execute_statement().statements(statement.build().expect("a statement"));

    let output = batch.return_consumed_capacity(ReturnConsumedCapacity::Indexes).send().await.expect("a response");

    let consumed = output.consumed_capacity().first();
    let indexes = consumed.and_then(ConsumedCapacity::global_secondary_indexes).into_iter().flatten();
    let of_indexes: f64 = indexes.map(|(_, index)| index.capacity_units().unwrap_or_default()).sum();
    assert_eq!((output.responses().len(), of_indexes), (1, 0.0), "{output:?}");
    assert!(output.responses()[0].error().is_none(), "{output:?}");
}
