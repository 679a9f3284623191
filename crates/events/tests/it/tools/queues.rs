//! `event-pipeline queue`.

use crate::support::program::event_pipeline;
use crate::support::servers::Servers;

#[tokio::test]
async fn status_counts_the_messages_of_each_queue() {
    let servers = Servers::set_up().await;
    event_pipeline(["send", "--generate", "3"]).against(&servers).succeed().await;
    servers.sqs.send("events-dlq", "{", &[]).await;
    assert_eq!(servers.sqs.receive_all("events-dlq").await.len(), 1);
    let status = event_pipeline(["queue", "status"]).against(&servers).succeed().await;
    let expected = [
        "QUEUE        VISIBLE  IN FLIGHT  DELAYED",
        "events             3          0        0",
        "events-dlq         0          1        0",
        "deliver-dlq        0          0        0",
    ];
    assert_eq!(status.stdout, expected);
    let json = event_pipeline(["queue", "status", "--json"]).against(&servers).succeed().await;
    assert_eq!(json.stdout[0], r#"{"delayed":0,"in_flight":0,"queue":"events","visible":3}"#);
}

#[tokio::test]
async fn a_peek_leaves_the_messages_and_hides_control_characters() {
    let servers = Servers::set_up().await;
    servers.sqs.send("events", "a\tb\u{9b}31m", &[]).await;
    let peek = event_pipeline(["queue", "peek"]).against(&servers).succeed().await;
    assert_eq!(peek.stdout.len(), 2);
    assert!(peek.stdout[1].ends_with(r"a\tb\u{9b}31m"), "{peek:#?}");
    assert!(peek.stderr.join("\n").contains("counts as a receive"), "{peek:#?}");
    let json = event_pipeline(["queue", "peek", "events", "--json"]).against(&servers).succeed().await;
    let message: serde_json::Value = serde_json::from_str(&json.stdout[0]).unwrap();
    assert_eq!((message["body"].as_str(), message["receives"].as_u64()), (Some("a\tb\u{9b}31m"), Some(2)));
    assert!(json.stdout[0].is_ascii());
    assert_eq!(servers.sqs.receive_all("events").await.len(), 1);
}
