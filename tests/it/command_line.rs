//! The conventions of the command line: help, version, completions, exit codes, colour, and what is on stderr.

use clap::CommandFactory;
use mini_scan::cli::Cli;
use serde_json::Value;

use crate::support::pipeline::{Pipeline, scan, valid_scans};
use crate::support::program::{Exit, Launch, Signal, launch, mini_scan};

/// Runs `mini-scan` to its end, which must have this exit code.
async fn ends(launch: Launch, code: i32) -> Exit {
    let exit = launch.run().await;
    assert_eq!(exit.code, Some(code), "{exit:#?}");
    exit
}

/// The lines on stderr, of which each must be a JSON object.
fn json_lines(exit: &Exit) -> Vec<Value> {
    let parse = |line: &String| match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Value::Object(object),
        _ => panic!("not a JSON object: {line}"),
    };
    exit.output.stderr.iter().map(parse).collect()
}

/// Every command with its subcommands, as words to run it.
fn commands(command: &clap::Command, words: &[String]) -> Vec<Vec<String>> {
    let below = command.get_subcommands().flat_map(|command| {
        let words = [words, &[command.get_name().to_owned()]].concat();
        commands(command, &words)
    });
    [words.to_vec()].into_iter().chain(below).collect()
}

#[tokio::test]
async fn every_help_page_fits_80_columns_and_puts_each_flag_under_a_heading() {
    for words in commands(&Cli::command(), &[]) {
        let words = words.iter().map(String::as_str).chain(["--help"]);
        let exit = ends(mini_scan(words).env("COLUMNS", "80"), 0).await;
        let page = &exit.output.stdout;
        assert!(page.iter().all(|line| line.chars().count() <= 80), "{page:#?}");
        // Two headings of the same name would be clap's own and ours.
        assert_eq!(page.iter().filter(|line| *line == "Options:").count(), 1, "{page:#?}");
    }
}

#[tokio::test]
async fn the_help_of_a_command_has_examples_and_leads_to_the_settings() {
    for command in [
        "",
        "setup",
        "check",
        "consumer",
        "api",
        "api token",
        "changes",
        "changes masks",
        "changes backfill",
        "dead-letters",
        "export",
        "get",
        "webhooks",
        "webhooks sink",
        "demo",
        "local",
        "scanner",
    ] {
        let words = command.split_whitespace().chain(["--help"]);
        let page = ends(mini_scan(words), 0).await.output.stdout.join("\n");
        for part in ["Examples:\n  mini-scan ", "docs/settings.md"] {
            assert!(page.contains(part), "{command} without {part}: {page}");
        }
    }
}

#[tokio::test]
async fn the_version_names_revision_and_features() {
    let exit = ends(mini_scan(["--version"]), 0).await;
    let (version, rest) = exit.output.stdout[0].split_once(" (").expect("a bracket");
    assert_eq!(version, concat!("mini-scan ", env!("CARGO_PKG_VERSION")));
    assert!(rest.ends_with(", features: local)"), "{rest}");
}

#[tokio::test]
async fn each_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ends(mini_scan(["completions", shell]), 0).await.output.stdout.join("\n");
        assert!(["dead-letters", "max-outstanding"].iter().all(|word| script.contains(word)), "{shell}: {script}");
    }
    ends(mini_scan(["completions", "sh"]), 2).await;
}

#[tokio::test]
async fn without_a_project_every_command_that_needs_one_explains_how_to_set_it() {
    for command in
        ["setup", "setup pubsub", "check", "consumer", "dead-letters list", "dead-letters redrive", "scanner"]
    {
        let exit = ends(mini_scan(command.split(' ')), 2).await;
        let said = exit.output.stderr.join("\n");
        for part in ["no Google Cloud project is set", "--project", "MINI_SCAN_PROJECT", "GOOGLE_CLOUD_PROJECT"] {
            assert!(said.contains(part), "{command} without {part}: {said}");
        }
    }
}

#[tokio::test]
async fn a_project_comes_from_the_flag_then_our_variable_then_googles_then_the_local_server() {
    let pipeline = Pipeline::new().await;
    let launch = || mini_scan(["check", "--table", &pipeline.table]).against(&pipeline.pubsub, &pipeline.dynamo);
    let project = async |launch: Launch| {
        let line = launch.run().await.output.stdout.remove(0);
        line.split("projects/").nth(1).and_then(|rest| rest.split('/').next()).expect("a full name").to_owned()
    };
    let google = launch().env("GOOGLE_CLOUD_PROJECT", "of-google");
    assert_eq!(project(google).await, "of-google");
    let ours = || launch().env("GOOGLE_CLOUD_PROJECT", "of-google").env("MINI_SCAN_PROJECT", "of-ours");
    assert_eq!(project(ours()).await, "of-ours");
    assert_eq!(project(ours().arguments(["--project", "of-flag"])).await, "of-flag");
    let empty = launch().env("GOOGLE_CLOUD_PROJECT", "").env("MINI_SCAN_PROJECT", "");
    assert_eq!(project(empty).await, "test-project");
}

#[tokio::test]
async fn with_json_logs_every_line_of_a_run_is_json() {
    let pipeline = Pipeline::new().await;
    let consumer = pipeline.consumer_without_dead_letter_topic().arguments(["--log-format", "json"]).start();
    pipeline.publish(valid_scans(0..2)).await;
    pipeline.rows(2).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    let lines = json_lines(&exit);
    assert!(lines.iter().all(|line| line["severity"].is_string() && line["timestamp"].is_string()), "{lines:#?}");
    assert_eq!(lines.last().expect("a line")["message"], "Released at shutdown: 0");
    assert_eq!(exit.output.stdout, ["Consumer stopped. Final stats - Processed: 2, Failed: 0"]);
}

#[tokio::test]
async fn with_json_logs_every_line_of_a_failed_start_is_json() {
    let mut pipeline = Pipeline::new().await;
    pipeline.table.push_str("-missing");
    let json = |launch: Launch| launch.arguments(["--log-format", "json"]);

    let missing = ends(json(pipeline.consumer()), 1).await;
    let usage = ends(json(mini_scan(["consumer"])), 2).await;
    let traces = json(pipeline.consumer()).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let traces = ends(traces.env("OTEL_TRACES_SAMPLER", "xray"), 1).await;

    for (exit, text) in [(missing, "-missing"), (usage, "no Google Cloud project"), (traces, "OTEL_TRACES_SAMPLER")] {
        let lines = json_lines(&exit);
        let last = lines.last().expect("a line");
        assert_eq!(last["severity"], "ERROR");
        assert!(last["message"].as_str().is_some_and(|message| message.contains(text)), "{last}");
    }
}

#[tokio::test]
async fn with_text_logs_an_error_starts_with_the_name_of_the_program() {
    let mut pipeline = Pipeline::new().await;
    pipeline.table.push_str("-missing");

    let exit = ends(pipeline.consumer().arguments(["--log-format", "text"]), 1).await;

    let error = exit.output.stderr.iter().find(|line| line.starts_with("mini-scan: table "));
    assert!(error.is_some_and(|line| line.contains(&pipeline.table)), "{exit:#?}");
}

#[tokio::test]
async fn debug_logs_have_one_line_per_settled_message_without_its_payload() {
    let pipeline = Pipeline::new().await;
    let consumer = pipeline.consumer().arguments(["--log-levels", "debug", "--cache-entries", "0"]).start();
    let first = pipeline.pubsub.publish(&pipeline.topic, [scan("1.1.1.1", 7, "PAYLOAD")]).await.remove(0);
    pipeline.rows(1).await;
    let stale = pipeline.pubsub.publish(&pipeline.topic, [scan("1.1.1.1", 6, "PAYLOAD")]).await.remove(0);
    let poison = pipeline.pubsub.publish(&pipeline.topic, ["PAYLOAD"]).await.remove(0);
    pipeline.dead_letters(1).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert!(!exit.output.stderr.iter().any(|line| line.contains("PAYLOAD")), "{exit:#?}");
    let lines = json_lines(&exit);
    let mut settled: Vec<_> = lines.iter().filter(|line| line["message"] == "settled").collect();
    settled.sort_by_key(|line| ["stored", "stale", "rejected"].iter().position(|outcome| line["outcome"] == *outcome));
    let named: Vec<_> =
        settled.iter().map(|line| ["message_id", "outcome", "scan_key"].map(|field| line[field].as_str())).collect();
    let key = Some("1.1.1.1#80#HTTP");
    let expected = [
        [Some(first.as_str()), Some("stored"), key],
        [Some(&stale), Some("stale"), key],
        [Some(&poison), Some("rejected"), None],
    ];
    assert_eq!(named, expected);
    assert!(settled.iter().all(|line| line["latency_ms"].is_u64()), "{settled:#?}");
}

#[tokio::test]
async fn without_debug_logs_no_line_is_written_per_message() {
    let pipeline = Pipeline::new().await;
    let consumer = pipeline.consumer().start();
    pipeline.publish(valid_scans(0..3)).await;
    pipeline.rows(3).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert!(!exit.output.stderr.iter().any(|line| line.contains(r#""message":"settled""#)), "{exit:#?}");
}

/// The escape that starts a colour.
const COLOUR: &str = "\u{1b}[3";

/// The same program on a terminal, as the direct child of `script`, so that a signal to `script` reaches it.
fn on_terminal(command: &str) -> Launch {
    let line = format!("exec {} {command}", env!("CARGO_BIN_EXE_mini-scan"));
    launch("script", ["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
}

#[tokio::test]
async fn logs_have_colour_only_on_a_terminal_that_wants_it() {
    let pipeline = Pipeline::new().await;
    let launch = || {
        let names = ["--subscription", &pipeline.subscription, "--table", &pipeline.table];
        on_terminal(&format!("consumer {}", names.join(" "))).against(&pipeline.pubsub, &pipeline.dynamo)
    };
    for (launch, has_colour) in [
        (launch(), true),
        (launch().env("NO_COLOR", "1"), false),
        (launch().env("NO_COLOR", ""), true),
        (launch().env("TERM", "dumb"), false),
    ] {
        let mut consumer = launch.start();
        let line = consumer.wait_for_line("without a dead-letter topic").await;
        assert_eq!(line.contains(COLOUR), has_colour, "{line:?}");
        consumer.signal(Signal::Terminate).await;
        consumer.exit().await;
    }
}

#[tokio::test]
async fn help_has_style_only_on_a_terminal_that_wants_it() {
    const STYLE: &str = "\u{1b}[1m";
    for (launch, has_style) in [
        (on_terminal("--help"), true),
        (on_terminal("--help").env("NO_COLOR", "1"), false),
        (mini_scan(["--help"]), false),
    ] {
        let page = ends(launch, 0).await.output.stdout.join("\n");
        assert_eq!(page.contains(STYLE), has_style, "{page:?}");
    }
}
