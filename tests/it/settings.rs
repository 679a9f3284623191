//! Wrong settings and flags: each error names the setting, what chose it and what to do.

use std::net::TcpListener;

use aws_sdk_dynamodb::types::{KeyType, ScalarAttributeType};
use serde_json::Value;

use crate::support::dynamo::{attribute, key};
use crate::support::pipeline::Pipeline;
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::{REFUSING, unique};

/// The program must exit with 1 and with an error of one to three short lines that contain all `parts`.
async fn is_refused(launch: Launch, parts: &[&str]) {
    let exit = launch.run().await;
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let message = error(&exit);
    assert!((1..=3).contains(&message.lines().count()) && message.lines().all(|line| line.len() < 320), "{message}");
    let missing: Vec<_> = parts.iter().filter(|part| !message.contains(**part)).collect();
    assert!(missing.is_empty(), "without {missing:?}: {message}");
}

/// The error that the program ended with: the last JSON line, or the lines from its name on.
fn error(exit: &Exit) -> String {
    let last = exit.output.stderr.last().expect("an error");
    if let Ok(line) = serde_json::from_str::<Value>(last) {
        assert_eq!(line["severity"], "ERROR", "{line}");
        return line["message"].as_str().expect("a text").to_owned();
    }
    let before = exit.output.stderr.iter().take_while(|line| !line.starts_with("mini-scan: ")).count();
    exit.output.stderr[before..].join("\n")
}

/// `--project` and the rest of `mini-scan consumer` on servers that `env` of the launch chooses.
fn consumer() -> Launch {
    mini_scan(["consumer"])
}

/// A server that accepts and never answers, and its address.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound listener").to_string();
    (listener, address)
}

#[tokio::test]
async fn a_missing_thing_is_named_with_its_flag_and_the_command_that_creates_it() {
    for flag in ["--subscription", "--table", "--dead-letter-topic"] {
        let mut pipeline = Pipeline::new().await;
        let missing = match flag {
            "--subscription" => &mut pipeline.subscription,
            "--table" => &mut pipeline.table,
            _ => &mut pipeline.dead_letter_topic,
        };
        missing.push_str("-missing");
        let missing = missing.clone();

        is_refused(pipeline.consumer(), &[&missing, flag, "does not exist", "mini-scan setup"]).await;
    }
}

#[tokio::test]
async fn a_missing_project_is_named_with_its_flag() {
    let pipeline = Pipeline::new().await;
    let launch = consumer().arguments(["--project", "no-such-project", "--table", &pipeline.table]);

    let launch = launch.against(&pipeline.pubsub, &pipeline.dynamo);

    is_refused(launch, &["projects/no-such-project/subscriptions/scan-sub", "--project", "mini-scan setup"]).await;
}

#[tokio::test]
async fn a_table_whose_key_does_not_fit_is_refused() {
    let mut pipeline = Pipeline::new().await;
    for (pk, kind, range) in [
        ("id", ScalarAttributeType::S, None),
        ("pk", ScalarAttributeType::S, Some("sk")),
        ("pk", ScalarAttributeType::N, None),
    ] {
        pipeline.table = unique("misfit");
        let mut create = pipeline.dynamo.client.create_table().table_name(&pipeline.table);
        create = create.billing_mode(aws_sdk_dynamodb::types::BillingMode::PayPerRequest);
        create = create.attribute_definitions(attribute(pk, kind.clone())).key_schema(key(pk, KeyType::Hash));
        if let Some(range) = range {
            let definition = attribute(range, ScalarAttributeType::S);
            create = create.attribute_definitions(definition).key_schema(key(range, KeyType::Range));
        }
        create.send().await.expect("the table is created");

        let described = format!("HASH {pk} ({kind})", kind = kind.as_str());
        is_refused(pipeline.consumer(), &[&pipeline.table, "--table", &described, "mini-scan setup table"]).await;
        let setup = mini_scan(["setup", "table", "--table", &pipeline.table]);
        let setup = setup.against(&pipeline.pubsub, &pipeline.dynamo);
        is_refused(setup, &[&pipeline.table, "--table", &described, "mini-scan setup table"]).await;
    }
}

#[tokio::test]
async fn without_aws_credentials_the_error_names_the_commands_that_get_some() {
    let pipeline = Pipeline::new().await;
    let (_metadata, address) = silent();
    let metadata = format!("http://{address}");
    for (variable, value) in [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata)] {
        let real_aws = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", "").env(variable, value);
        is_refused(real_aws, &[&pipeline.table, "no AWS credentials", "aws configure", "AWS_PROFILE"]).await;
    }
}

#[tokio::test]
async fn without_a_region_the_error_names_the_variable_to_set() {
    let pipeline = Pipeline::new().await;
    let (_metadata, address) = silent();
    let metadata = format!("http://{address}");
    for (variable, value) in [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata)] {
        let launch =
            pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", "").env("AWS_REGION", "").env(variable, value);
        is_refused(launch, &["no AWS region", &pipeline.table, "export AWS_REGION="]).await;
    }
}

#[tokio::test]
async fn without_google_credentials_the_error_names_the_command_that_gets_some() {
    let pipeline = Pipeline::new().await;
    let login = "gcloud auth application-default login";
    for (variable, value) in [("GCE_METADATA_HOST", REFUSING), ("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")]
    {
        let real_google = pipeline.consumer().env("PUBSUB_EMULATOR_HOST", "").env(variable, value);
        is_refused(real_google, &[&pipeline.subscription, "no Google Cloud credentials", login]).await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_named_with_what_chose_it() {
    let pipeline = Pipeline::new().await;
    no_pubsub_answers(&pipeline, REFUSING).await;
    no_dynamodb_answers(&pipeline, REFUSING).await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_named_with_what_chose_it() {
    let pipeline = Pipeline::new().await;
    let (_server, silent) = silent();
    let metadata = pipeline.consumer().env("PUBSUB_EMULATOR_HOST", "").env("GCE_METADATA_HOST", &silent);
    let advice = [&pipeline.subscription, "gcloud auth application-default", "PUBSUB_EMULATOR_HOST"];

    // All at once, for each waits ten seconds.
    tokio::join!(
        no_pubsub_answers(&pipeline, &silent),
        no_dynamodb_answers(&pipeline, &silent),
        is_refused(metadata, &advice),
    );
}

/// Neither the consumer nor setup waits for a Pub/Sub at `address`.
async fn no_pubsub_answers(pipeline: &Pipeline, address: &str) {
    let chosen = format!("PUBSUB_EMULATOR_HOST={address}");
    let setup = mini_scan(["setup", "pubsub"]).env("PUBSUB_EMULATOR_HOST", address);
    let consumer = pipeline.consumer().env("PUBSUB_EMULATOR_HOST", address);
    let of_consumer = [&pipeline.subscription, "--subscription", &chosen, "mini-scan local pubsub"];
    let of_setup = ["scan-topic", "--topic", &chosen, "mini-scan local pubsub"];
    tokio::join!(is_refused(consumer, &of_consumer), is_refused(setup, &of_setup));
}

/// Neither the consumer nor setup waits for a DynamoDB at `address`.
async fn no_dynamodb_answers(pipeline: &Pipeline, address: &str) {
    let (url, chosen) = (format!("http://{address}"), "AWS_ENDPOINT_URL_DYNAMODB");
    let setup = mini_scan(["setup", "table"]).env(chosen, &url);
    let consumer = pipeline.consumer().env(chosen, &url);
    let of_consumer = [&pipeline.table, "--table", &url, chosen, "mini-scan local dynamo"];
    let of_setup = ["scan-results", "--table", &url, chosen, "mini-scan local dynamo"];
    tokio::join!(is_refused(consumer, &of_consumer), is_refused(setup, &of_setup));
}

#[tokio::test]
async fn values_that_are_out_of_range_are_named_with_their_flag_and_exit_with_2() {
    for arguments in [
        &["--max-outstanding", "0"][..],
        &["--consumers", "none"],
        &["--max-retry-time", "soon"],
        &["--endpoint-url", "localhost:8000"],
        &["--subscription", "projects/p/topics/scan-topic"],
        &["--threads", "3", "--consumers", "2"],
        &["--max-outstanding-bytes", "1KiB", "--consumers", "10"],
    ] {
        let exit = mini_scan(["consumer"]).arguments(arguments.iter().copied()).run().await;
        assert_eq!(exit.code, Some(2), "{arguments:?}: {exit:#?}");
        let said = exit.output.stderr.join("\n");
        let flags = arguments.iter().filter(|argument| argument.starts_with("--"));
        assert!(flags.clone().all(|flag| said.contains(flag)), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn setup_refuses_one_topic_for_scans_and_dead_letters() {
    let same = ["--project", "p", "--topic", "one-topic", "--dead-letter-topic", "one-topic"];

    let exit = mini_scan(["setup"]).arguments(same).run().await;

    assert_eq!(exit.code, Some(2), "{exit:#?}");
    let said = exit.output.stderr.join("\n");
    assert!(said.contains("--topic") && said.contains("--dead-letter-topic"), "{said}");
}
