//! `event-pipeline send`.

use aws_sdk_sqs::types::MessageSystemAttributeName;
use sqs_local::{Fault, Operation};

use crate::support::program::event_pipeline;
use crate::support::servers::Servers;

/// Returns a file of the examples.
fn example(name: &str) -> String {
    format!("{}/examples/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn sends_each_example_byte_for_byte() {
    let servers = Servers::set_up().await;
    for name in ["good", "bad-client", "bad-data"] {
        let sent = event_pipeline(["send", &example(name)]).against(&servers).succeed().await;
        assert_eq!(sent.stdout, ["Sent to events: 1."]);
        let received = servers.sqs.receive_all("events").await;
        let file = std::fs::read_to_string(example(name)).unwrap();
        assert_eq!(received[0].body.as_deref(), Some(file.trim()));
    }
}

#[tokio::test]
async fn sends_lines_grouped_by_client_and_names_those_that_it_refuses() {
    let servers = Servers::set_up().await;
    let lines = format!(
        "{}\n{{\"client_id\":\"acme\"}}\n\nnot JSON\n\u{1}\n",
        format_args!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20))
    );
    let exit = event_pipeline(["send", "-", "--group-by-client"]).against(&servers).input(&lines).run().await;
    assert_eq!((exit.code, exit.output.stdout), (Some(3), vec!["Sent to events: 2. Refused: 2.".to_owned()]));
    let notes = exit.output.stderr.join("\n");
    assert!(
        notes.contains("line 1 was not sent: it has 1048584 bytes, and the queue accepts at most 1040384"),
        "{notes}"
    );
    assert!(notes.contains("line 5 was not sent: SQS does not accept the character U+0001"), "{notes}");
    let received = servers.sqs.receive_all("events").await;
    let groups: Vec<_> = received
        .iter()
        .map(|message| {
            let group = message.attributes.as_ref().unwrap().get(&MessageSystemAttributeName::MessageGroupId);
            (message.body.as_deref().unwrap(), group.map(String::as_str))
        })
        .collect();
    assert_eq!(groups.len(), 2);
    assert!(groups.contains(&("{\"client_id\":\"acme\"}", Some("acme"))), "{groups:?}");
    assert!(groups.contains(&("not JSON", None)), "{groups:?}");
}

#[tokio::test]
async fn generates_the_same_events_for_the_same_seed() {
    let servers = Servers::set_up().await;
    let flags = ["send", "--generate", "25", "--clients", "3", "--bad-share", "0.2", "--seed", "7", "--json"];
    let mut runs = Vec::new();
    for _ in 0..2 {
        let sent = event_pipeline(flags).against(&servers).succeed().await;
        assert_eq!(sent.stdout, [r#"{"refused":0,"sent":25,"stopped":false}"#]);
        let received = servers.sqs.receive_all("events").await;
        let mut bodies: Vec<_> = received.into_iter().map(|message| message.body.unwrap()).collect();
        bodies.sort();
        runs.push(bodies);
    }
    assert_eq!((runs[0].len(), &runs[0]), (25, &runs[1]));
}

#[tokio::test]
async fn entries_that_sqs_may_take_later_are_sent_again() {
    let servers = Servers::set_up().await;
    servers.sqs.faults.plan(Operation::SendMessageBatch, 1, Fault::FailFirstEntry);
    let sent = event_pipeline(["send", "--generate", "10"]).against(&servers).succeed().await;
    assert_eq!(sent.stdout, ["Sent to events: 10."]);
    assert_eq!(servers.sqs.receive_all("events").await.len(), 10);
}

#[tokio::test]
async fn a_missing_queue_and_a_missing_file_say_what_to_do() {
    let servers = Servers::start().await;
    let exit = event_pipeline(["send", &example("good")]).against(&servers).run().await;
    assert_eq!(exit.code, Some(1));
    let error = exit.output.stderr.join("\n");
    assert!(error.contains("queue events (--queue) does not exist"), "{error}");
    assert!(error.contains("event-pipeline setup --queue events"), "{error}");
    for flags in [&["send"][..], &["send", "missing.json"], &["send", "x", "--generate", "1"], &["send", "--seed", "1"]]
    {
        assert_eq!(event_pipeline(flags.iter().copied()).run().await.code, Some(2), "{flags:?}");
    }
}
