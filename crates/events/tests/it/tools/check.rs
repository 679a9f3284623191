//! `event-pipeline check`.

use serde_json::Value;

use crate::support::program::event_pipeline;
use crate::support::servers::Servers;

fn findings(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn after_setup_nothing_fails() {
    let servers = Servers::set_up().await;
    let checked = event_pipeline(["check", "--json"]).against(&servers).succeed().await;
    let findings = findings(&checked.stdout);
    for (what, name) in [
        ("table", "Events"),
        ("table", "event-leases"),
        ("stream", "Events"),
        ("permission", "dynamodb:PutItem on Events"),
        ("permission", "dynamodb:Query on deliveries"),
    ] {
        let found = findings.iter().find(|finding| finding["check"] == what && finding["name"] == name);
        assert_eq!(found.map(|finding| &finding["result"]), Some(&Value::from("ok")), "{what} {name}: {findings:#?}");
    }
}

#[tokio::test]
async fn what_is_missing_fails_with_the_command_that_creates_it() {
    let servers = Servers::start().await;
    let exit = event_pipeline(["check"]).against(&servers).run().await;
    let text = exit.output.stdout.join("\n");
    assert_eq!(exit.code, Some(1), "{text}");
    for part in ["event-pipeline setup --queue events", "event-pipeline setup --routes-table routes", "failed   queue"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn a_queue_without_a_redrive_policy_is_a_warning() {
    let servers = Servers::set_up().await;
    servers.sqs.client.create_queue().queue_name("plain").send().await.unwrap();
    let checked = event_pipeline(["check", "--queue", "plain"]).against(&servers).succeed().await;
    let text = checked.stdout.join("\n");
    assert!(text.contains("warning  queue       plain: it has no redrive policy"), "{text}");
}
