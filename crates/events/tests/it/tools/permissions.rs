//! `event-pipeline check` with an identity that lacks a permission.

use serde_json::Value;

use crate::support::program::{Exit, event_pipeline};
use crate::support::refusals::{Call, Refusal, Refusals};
use crate::support::servers::Servers;

async fn check(servers: &Servers, dynamo: &Refusals, sqs: &Refusals, role: &str) -> (Exit, Vec<Value>) {
    let check = event_pipeline(["check", "--json", "--role", role]).against(servers);
    let check = check.env("AWS_ENDPOINT_URL_DYNAMODB", &dynamo.endpoint).env("AWS_ENDPOINT_URL_SQS", &sqs.endpoint);
    let exit = check.run().await;
    let findings = exit.output.stdout.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (exit, findings)
}

fn failed(findings: &[Value]) -> Vec<&str> {
    findings
        .iter()
        .filter(|finding| finding["result"] == "failed")
        .filter_map(|finding| finding["name"].as_str())
        .collect()
}

#[tokio::test]
async fn each_role_names_the_permission_that_it_lacks_and_needs_no_other() {
    let servers = Servers::set_up().await;
    let dynamo = Refusals::start(&servers.dynamo.endpoint).await;
    let sqs = Refusals::start(&servers.sqs.endpoint).await;
    let expected: [(&str, &str, &[&str]); 8] = [
        ("PutItem", "Events", &["processor", "direct-processor"]),
        ("Query", "Events", &["operator"]),
        ("GetItem", "routes", &["processor", "direct-processor", "deliverer", "operator"]),
        ("UpdateItem", "routes", &["direct-processor", "deliverer", "operator"]),
        ("Scan", "routes", &["operator"]),
        ("PutItem", "deliveries", &["processor", "direct-processor", "deliverer", "operator"]),
        ("DeleteItem", "deliveries", &["direct-processor", "deliverer", "operator"]),
        ("Scan", "event-leases", &["deliverer"]),
    ];
    for (operation, table, needed_by) in expected {
        dynamo.refuse(move |call: &Call| {
            (call.operation == operation && call.resource == table).then_some(Refusal::Denied)
        });
        for role in ["processor", "direct-processor", "deliverer", "operator"] {
            let (exit, findings) = check(&servers, &dynamo, &sqs, role).await;
            let name = format!("dynamodb:{operation} on {table}");
            let is_needed = needed_by.contains(&role);
            let found = failed(&findings);
            // `routes` also has the number of buckets, which is read by GetItem.
            let found: Vec<_> = found.into_iter().filter(|found| *found != "routes").collect();
            assert_eq!(found, if is_needed { vec![name.as_str()] } else { vec![] }, "{role}: {findings:#?}");
            assert_eq!(exit.code, Some(i32::from(is_needed)), "{role} without {name}: {findings:#?}");
        }
    }
}

#[tokio::test]
async fn a_role_needs_its_stream_and_its_queues_and_no_settings_of_queues() {
    let servers = Servers::set_up().await;
    let dynamo = Refusals::start(&servers.dynamo.endpoint).await;
    let sqs = Refusals::start(&servers.sqs.endpoint).await;
    dynamo.refuse(|call| (call.operation == "DescribeStream").then_some(Refusal::Denied));
    let (exit, findings) = check(&servers, &dynamo, &sqs, "deliverer").await;
    assert_eq!((exit.code, failed(&findings)), (Some(1), vec!["Events"]), "{findings:#?}");
    let (exit, findings) = check(&servers, &dynamo, &sqs, "processor,direct-processor").await;
    assert_eq!((exit.code, failed(&findings)), (Some(0), vec![]), "{findings:#?}");
    dynamo.refuse_nothing();

    sqs.refuse(|call| (call.operation == "GetQueueUrl" && call.resource == "events").then_some(Refusal::Denied));
    let (exit, findings) = check(&servers, &dynamo, &sqs, "processor").await;
    assert_eq!((exit.code, failed(&findings)), (Some(1), vec!["events"]), "{findings:#?}");
    let (exit, findings) = check(&servers, &dynamo, &sqs, "deliverer").await;
    assert_eq!((exit.code, failed(&findings)), (Some(0), vec![]), "{findings:#?}");

    sqs.refuse(|call| (call.operation == "GetQueueAttributes").then_some(Refusal::Denied));
    let (exit, findings) = check(&servers, &dynamo, &sqs, "processor").await;
    assert_eq!((exit.code, failed(&findings)), (Some(0), vec![]), "{findings:#?}");
    let unknown = findings.iter().filter(|finding| finding["check"] == "queue" && finding["result"] == "unknown");
    assert_eq!(unknown.count(), 3, "{findings:#?}");
}
