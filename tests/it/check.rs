//! `mini-scan check`, and what the consumer refuses at its start: names, permissions, dead letters without a subscription.

mod changes;
mod webhooks;

use serde_json::{Value, json};

use crate::support::http_proxy::{Answer, HttpProxy, Reject};
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::with_timeout;

/// `mini-scan check` on all of a pipeline.
fn check(pipeline: &Pipeline) -> Launch {
    let names = ["--subscription", &pipeline.subscription, "--table", &pipeline.table];
    let names = mini_scan(["check"]).arguments(names).arguments(["--dead-letter-topic", &pipeline.dead_letter_topic]);
    names.against(&pipeline.pubsub, &pipeline.dynamo)
}

/// The result and the subject of each line, which are the first two columns.
fn results(exit: &Exit) -> Vec<(&str, &str)> {
    let mut results = Vec::new();
    for line in &exit.output.stdout {
        let (result, rest) = line.split_once(' ').expect("a column");
        results.push((result, rest.trim_start().split("  ").next().expect("a column")));
    }
    results
}

fn line<'a>(exit: &'a Exit, start: &str) -> &'a str {
    let found = exit.output.stdout.iter().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line starts with {start}: {exit:#?}"))
}

#[tokio::test]
async fn what_a_consumer_needs_is_checked_line_by_line_and_left_unchanged() {
    let pipeline = Pipeline::new().await;

    let exit = check(&pipeline).run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let expected = [
        ("ok", "subscription"),
        // The embedded server knows no permissions.
        ("unknown", "permission"),
        ("ok", "dead-letter topic"),
        ("unknown", "permission"),
        ("ok", "dead-letter subscription"),
        ("ok", "table"),
        // The table of the tests has no index, and the consumer needs none.
        ("note", "index"),
        ("ok", "permission"),
    ];
    assert_eq!(results(&exit), expected, "{exit:#?}");
    assert!(line(&exit, "ok       subscription").ends_with(&pipeline.subscription), "{exit:#?}");
    assert!(pipeline.dynamo.scan(&pipeline.table).await.is_empty());
}

#[tokio::test]
async fn the_index_that_reads_need_is_a_note_until_it_exists() {
    let pipeline = Pipeline::new().await;
    let index = async || {
        let exit = check(&pipeline).arguments(["--json"]).run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        let mut lines = exit.output.stdout.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.find(|line| line["check"] == "index").expect("a line about the index")
    };

    let missing = index().await;
    let setup = mini_scan(["setup", "table", "--table", &pipeline.table]).against(&pipeline.pubsub, &pipeline.dynamo);
    assert_eq!(setup.run().await.code, Some(0));
    let found = index().await;

    assert_eq!((&missing["result"], &missing["name"]), (&json!("note"), &json!("by-ip")));
    let detail = missing["detail"].as_str().expect("a text");
    assert!(detail.contains(&format!("mini-scan setup table --table {}", pipeline.table)), "{detail}");
    assert_eq!((&found["result"], &found["detail"]), (&json!("ok"), &Value::Null));
}

#[tokio::test]
async fn the_flags_of_a_consumer_fit_check_and_setup() {
    let pipeline = Pipeline::new().await;
    let flags = ["-c", "20", "-m", "50", "--ttl", "90days", "--http-listen", "off", "--shutdown-grace", "1s"];
    let setup = mini_scan(["setup", "--table", &pipeline.table]).against(&pipeline.pubsub, &pipeline.dynamo);
    for launch in [check(&pipeline), setup] {
        let exit = launch.arguments(flags).run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
    }
}

#[tokio::test]
async fn everything_that_is_missing_is_reported_at_once() {
    let mut pipeline = Pipeline::new().await;
    for name in [&mut pipeline.subscription, &mut pipeline.dead_letter_topic, &mut pipeline.table] {
        name.push_str("-missing");
    }

    let exit = check(&pipeline).run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let expected = ["subscription", "dead-letter topic", "table"].map(|what| ("failed", what));
    assert_eq!(results(&exit), expected, "{exit:#?}");
    assert!(exit.output.stdout.iter().all(|line| line.contains("mini-scan setup")), "{exit:#?}");
}

#[tokio::test]
async fn json_has_one_object_per_check() {
    let mut pipeline = Pipeline::new().await;
    pipeline.table.push_str("-missing");

    let exit = check(&pipeline).arguments(["--json"]).run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let parse = |line: &String| serde_json::from_str::<Value>(line).expect("JSON");
    let lines: Vec<_> = exit.output.stdout.iter().map(parse).collect();
    assert_eq!((&lines[0]["check"], &lines[0]["result"]), (&"subscription".into(), &"ok".into()));
    assert_eq!(lines[0]["name"], pipeline.subscription.as_str());
    let last = lines.last().expect("a line");
    assert_eq!((&last["check"], &last["result"]), (&"table".into(), &"failed".into()));
    assert!(last["detail"].as_str().is_some_and(|detail| detail.contains("mini-scan setup table")), "{last}");
}

#[tokio::test]
async fn a_dead_letter_topic_without_a_subscription_fails_the_check_and_the_start_of_a_consumer() {
    let mut pipeline = Pipeline::new().await;
    pipeline.dead_letter_topic = pipeline.pubsub.topic().await;

    let exit = check(&pipeline).run().await;
    let refused = pipeline.consumer().run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let failed = line(&exit, "failed   dead-letter subscription");
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    let said = refused.output.stderr.join("\n");
    for part in [&pipeline.dead_letter_topic, "--dead-letter-topic", "has no subscription", "mini-scan setup pubsub"] {
        assert!(failed.contains(part) && said.contains(part), "without {part}: {failed} {said}");
    }
}

#[tokio::test]
async fn setup_creates_the_subscription_that_a_dead_letter_topic_lacks() {
    let mut pipeline = Pipeline::new().await;
    pipeline.dead_letter_topic = pipeline.pubsub.topic().await;
    let setup = mini_scan(["setup", "pubsub", "--topic", &pipeline.topic, "--subscription", &pipeline.subscription]);
    let setup = setup.arguments(["--dead-letter-topic", &pipeline.dead_letter_topic]);

    let made = setup.against(&pipeline.pubsub, &pipeline.dynamo).run().await;

    assert_eq!(made.code, Some(0), "{made:#?}");
    let exit = check(&pipeline).run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
}

#[tokio::test]
async fn without_permission_to_view_there_is_a_warning_and_the_consumer_runs() {
    let pipeline = Pipeline::new().await;
    let proxy = HttpProxy::before(&pipeline.pubsub.address, Reject::Gets).await;
    let behind = |launch: Launch| launch.env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string());

    let exit = behind(check(&pipeline)).run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    line(&exit, "unknown  subscription");
    line(&exit, "unknown  dead-letter topic");
    let warning = line(&exit, "warning  dead-letter subscription");
    assert!(warning.contains("list-subscriptions"), "{warning}");
    let mut consumer = behind(pipeline.consumer()).start();
    let warning = consumer.wait_for_line("dead letters are lost").await;
    assert!(warning.contains(&pipeline.dead_letter_topic), "{warning}");
    pipeline.publish(valid_scans(0..1)).await;
    pipeline.rows(1).await;
}

#[tokio::test]
async fn missing_permissions_are_named_with_what_grants_them() {
    let pipeline = Pipeline::new().await;
    let granted = Answer {
        to: ":testIamPermissions".into(),
        status: "200 OK",
        body: r#"{"permissions":["pubsub.subscriptions.consume"]}"#.into(),
    };
    let google = HttpProxy::answering(&pipeline.pubsub.address, vec![granted]);
    let denied = Answer {
        to: "DynamoDB_20120810.PutItem".into(),
        status: "400 Bad Request",
        body: r#"{"__type":"AccessDeniedException","Message":"not authorized"}"#.into(),
    };
    let amazon = HttpProxy::answering(pipeline.dynamo.endpoint.trim_start_matches("http://"), vec![denied]);
    let launch = check(&pipeline).env("PUBSUB_EMULATOR_HOST", &google.address.to_string());

    let exit = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &amazon.url()).run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    line(&exit, "ok       permission                pubsub.subscriptions.consume");
    let failed: Vec<_> = exit.output.stdout.iter().filter(|line| line.starts_with("failed   permission")).collect();
    let parts = [["pubsub.topics.publish", "roles/pubsub.publisher"], ["dynamodb:PutItem", pipeline.table.as_str()]];
    assert_eq!(failed.len(), parts.len(), "{exit:#?}");
    for (line, parts) in failed.iter().zip(parts) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
}

#[tokio::test]
async fn the_permissions_of_batch_mode_cannot_be_checked() {
    let pipeline = Pipeline::new().await;

    let exit = check(&pipeline).arguments(["--write-mode", "batch"]).run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let unknown = exit.output.stdout.last().expect("a line");
    assert!(unknown.starts_with("unknown  permission") && unknown.contains("PartiQL"), "{unknown}");
}

#[tokio::test]
async fn a_push_subscription_fails_the_check_and_the_start_of_a_consumer() {
    let pipeline = Pipeline::new().await;
    let push = json!({"pushEndpoint": "https://example.com/push"});
    let found = json!({"name": pipeline.subscription, "topic": pipeline.topic, "pushConfig": push});
    let to = format!("GET /v1/{}", pipeline.subscription);
    let answer = Answer { to, status: "200 OK", body: found.to_string() };
    let proxy = HttpProxy::answering(&pipeline.pubsub.address, vec![answer]);
    let behind = |launch: Launch| launch.env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string());

    let exit = behind(check(&pipeline)).run().await;
    let refused = with_timeout("the refusal of the consumer", behind(pipeline.consumer()).run()).await;

    assert_eq!((exit.code, refused.code), (Some(1), Some(1)), "{exit:#?} {refused:#?}");
    let failed = line(&exit, "failed   subscription");
    let stderr = refused.output.stderr.join("\n");
    for part in [&pipeline.subscription, "--subscription", "expected a pull subscription", "https://example.com/push"] {
        assert!(failed.contains(part) && stderr.contains(part), "without {part}: {failed} {stderr}");
    }
}

#[tokio::test]
async fn empty_pages_of_subscriptions_do_not_count_as_a_subscription() {
    let pipeline = Pipeline::new().await;
    for (last_page, code) in [("{}", 1), (r#"{"subscriptions":["projects/p/subscriptions/last"]}"#, 0)] {
        let topic = &pipeline.dead_letter_topic;
        // The first text that a request contains decides. Every answer closes its connection, so that the proxy sees
        // the next request.
        let answers = [
            ("pageToken=second", last_page),
            ("/subscriptions?", r#"{"nextPageToken":"second"}"#),
            (&format!("GET /v1/{topic}"), "{}"),
        ];
        let answers =
            answers.map(|(to, body): (&str, &str)| Answer { to: to.into(), status: "200 OK", body: body.into() });
        let proxy = HttpProxy::answering(&pipeline.pubsub.address, answers.into());

        let exit = check(&pipeline).env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string()).run().await;

        assert_eq!(exit.code, Some(code), "{exit:#?}");
        let result = if code == 0 { "ok" } else { "failed" };
        line(&exit, &format!("{result:<7}  dead-letter subscription"));
    }
}
