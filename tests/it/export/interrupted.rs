//! Exports that are killed or stopped, and continue with `--resume`.

use std::time::Duration;

use serde_json::Value;

use super::{Job, ended, many, record};
use crate::support::dynamo_proxy::{Action, DynamoProxy};
use crate::support::program::{Program, Signal};
use crate::support::servers::DynamoServer;
use crate::support::with_progress;

/// Returns how many records the resume file covers.
fn covered(job: &Job) -> u64 {
    let text = std::fs::read(job.path("resume")).unwrap_or_default();
    let checkpoint: Value = serde_json::from_slice(&text).unwrap_or_default();
    checkpoint["counts"]["exported"].as_u64().unwrap_or_default()
}

/// Starts an export that gets some pages and then no answer, and waits until the resume file covers some of them.
async fn stuck(job: &Job) -> (Program, DynamoProxy) {
    let proxy = job.proxy(|nth| match nth {
        0 | 1 => Action::Forward,
        // Longer than the time between two checkpoints.
        2 => Action::Forward.after(Duration::from_millis(1_100)),
        _ => Action::Hang,
    });
    let proxy = proxy.await;
    let launch = job.to_file().arguments(["--segments", "2"]).env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url());
    let program = launch.start();
    with_progress("a checkpoint with records", async || match covered(job) {
        0 => Err(()),
        _ => Ok(()),
    })
    .await;
    (program, proxy)
}

#[tokio::test]
async fn a_killed_export_continues_with_each_record_once() {
    let job = Job::new(many(3_000)).await;
    let (program, _proxy) = stuck(&job).await;
    program.signal(Signal::Kill).await;
    assert_eq!(program.exit().await.code, None);
    let before = covered(&job);
    assert!(before < 3_000, "{before}");
    // As after a kill in the middle of a write, of records that are deleted before the export continues: longer than all
    // that follows.
    let mut output = std::fs::read(job.path("out")).expect("the output");
    output.extend_from_slice("{\"ip\":\"1.1.1.".repeat(1_000_000).as_bytes());
    std::fs::write(job.path("out"), output).expect("the output is writable");

    let exit = job.to_file().run().await;

    let stderr = ended(&exit, 0);
    assert!(stderr.contains("Exported 3,000 records") && stderr.contains("with the runs before"), "{stderr}");
    assert_eq!(job.exported().len(), 3_000);
    let again = job.to_file().run().await;
    assert!(ended(&again, 0).contains("Exported 3,000 records"), "{again:#?}");
    assert_eq!(job.exported().len(), 3_000);
}

#[tokio::test]
async fn a_stopped_export_writes_what_it_has_read_and_continues() {
    let job = Job::new(many(3_000)).await;
    let (program, _proxy) = stuck(&job).await;
    program.signal(Signal::Interrupt).await;

    let exit = program.exit().await;

    let stderr = ended(&exit, 3);
    assert!(stderr.contains("Stopped before the end. To continue, run the same command."), "{stderr}");
    let before = job.exported().len();
    assert_eq!(u64::try_from(before).expect("a small number"), covered(&job));
    assert!((1..3_000).contains(&before), "{before}");
    ended(&job.to_file().run().await, 0);
    assert_eq!(job.exported().len(), 3_000);
}

#[tokio::test]
async fn a_kill_before_the_output_exists_is_resumed() {
    let job = Job::new(many(10)).await;
    ended(&job.to_file().run().await, 0);
    let saved = std::fs::read_to_string(job.path("resume")).expect("the resume file");
    let mut fresh: Value = serde_json::from_str(&saved).expect("JSON");
    fresh["length"] = 0.into();
    fresh["tail"] = Value::Array(Vec::new());
    fresh["segments"] = vec!["start"; 8].into();
    std::fs::write(job.path("resume"), fresh.to_string()).expect("the file is writable");
    std::fs::remove_file(job.path("out")).expect("the output exists");

    ended(&job.to_file().run().await, 0);

    assert_eq!(job.exported().len(), 10);
}

#[tokio::test]
async fn a_kill_after_the_first_page_is_resumed() {
    let job = Job::new(many(3_000)).await;
    let proxy = job.proxy(|nth| if nth == 0 { Action::Forward } else { Action::Hang }).await;
    let program = job.to_file().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    // No other page follows, so only the first one can have led to the checkpoint.
    with_progress("a checkpoint with records", async || match covered(&job) {
        0 => Err(()),
        _ => Ok(()),
    })
    .await;
    program.signal(Signal::Kill).await;
    program.exit().await;

    ended(&job.to_file().run().await, 0);

    assert_eq!(job.exported().len(), 3_000);
}

#[tokio::test]
async fn an_unrelated_file_survives_an_export_without_records() {
    let job = Job::new([]).await;
    let [output, resume, precious] =
        ["out", "resume", "precious"].map(|name| job.path(name).to_str().expect("UTF-8").to_owned());
    let export = |output: &str| job.export().arguments(["--output", output, "--resume", &resume]).run();
    ended(&export(&output).await, 0);
    std::fs::write(&precious, "precious").expect("the file is writable");

    let other = export(&precious).await;
    std::fs::rename(&precious, &output).expect("the output exists");
    let replaced = export(&output).await;

    assert!(ended(&other, 1).contains("its export writes to"), "{other:#?}");
    assert!(ended(&replaced, 1).contains("it was empty at the last checkpoint"), "{replaced:#?}");
    assert_eq!(std::fs::read_to_string(&output).expect("the file"), "precious");
}

#[tokio::test]
async fn a_resume_file_with_impossible_lengths_is_refused() {
    let job = Job::new([record("1.1.1.7", 443, 7, "")]).await;
    ended(&job.to_file().run().await, 0);
    let saved = std::fs::read_to_string(job.path("resume")).expect("the resume file");
    let mut damaged: Value = serde_json::from_str(&saved).expect("JSON");
    damaged["length"] = 1.into();
    std::fs::write(job.path("resume"), damaged.to_string()).expect("the file is writable");
    let before = std::fs::read(job.path("out")).expect("the output");

    let exit = job.to_file().run().await;

    assert!(ended(&exit, 1).contains("no resume file"), "{exit:#?}");
    assert_eq!(std::fs::read(job.path("out")).expect("the output"), before);
}

#[tokio::test]
async fn the_progress_never_replaces_the_output() {
    let job = Job::new([record("1.1.1.7", 443, 7, "")]).await;
    let output = job.path("out").to_str().expect("UTF-8").to_owned();
    let other_name = job.path("./out").to_str().expect("UTF-8").to_owned();

    let same = job.export().arguments(["--output", &output, "--resume", &other_name]).run().await;
    let stdout = job.export().arguments(["--output", "-", "--resume", &other_name]).run().await;

    assert!(ended(&same, 2).contains("--output and --resume need different files"), "{same:#?}");
    assert!(ended(&stdout, 2).contains("--resume needs a file as --output"), "{stdout:#?}");
    assert!(!job.path("out").exists());
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused() {
    let job = Job::new([record("1.1.1.7", 443, 7, "")]).await;
    ended(&job.to_file().run().await, 0);
    let refused = async |flags: &[&str]| {
        let exit = job.to_file().arguments(flags.iter().copied()).run().await;
        ended(&exit, 1)
    };

    assert!(refused(&["--port", "443"]).await.contains("another value of --port"));
    let fresh = job.export().arguments(["--output", job.path("out").to_str().expect("UTF-8")]).run().await;
    assert!(ended(&fresh, 1).contains("exists already"), "{fresh:#?}");
    std::fs::write(job.path("out"), "x".repeat(1_000)).expect("the output is writable");
    assert!(refused(&[]).await.contains("does not belong to this --resume file"));
    std::fs::write(job.path("resume"), "{").expect("the resume file is writable");
    assert!(refused(&[]).await.contains("no resume file"));
    let alone = job.export().arguments(["--resume", "resume"]).run().await;
    assert!(ended(&alone, 2).contains("--output"), "{alone:#?}");
}

#[tokio::test]
async fn a_table_that_was_created_again_is_refused() {
    let job = Job::new([record("1.1.1.7", 443, 7, "")]).await;
    ended(&job.to_file().run().await, 0);
    job.dynamo.client.delete_table().table_name(&job.table).send().await.expect("the table is deleted");
    job.dynamo.create(&job.table).send().await.expect("the table is created");

    let exit = job.to_file().run().await;

    assert!(ended(&exit, 1).contains("was deleted and created again"), "{exit:#?}");
}

/// Kills the program whenever the output has grown.
#[tokio::test]
#[ignore = "it takes minutes"]
async fn a_million_records_survive_ten_kills() {
    const RECORDS: u32 = 1_000_000;
    let ip = |nth| std::net::Ipv4Addr::from_bits(nth).to_string();
    let job = Job::new((0..RECORDS).map(|nth| record(&ip(nth), 80, 7, "HTTP/1.1 200 OK"))).await;
    assert_eq!(job.dynamo.server, DynamoServer::Dynoxide, "it takes hours on another server");
    for _ in 0..10 {
        let before = covered(&job);
        let program = job.to_file().arguments(["--max-read-units", "300"]).start();
        with_progress("the next records", async || match covered(&job) {
            now if now > before => Ok(()),
            now => Err(now),
        })
        .await;
        program.signal(Signal::Kill).await;
        program.exit().await;
    }
    let before = covered(&job);
    assert!((1..u64::from(RECORDS)).contains(&before), "the kills came too late: {before}");

    let mut last = job.to_file().start();
    last.end_of_output().await;

    ended(&last.exit().await, 0);
    assert_eq!(job.exported().len(), RECORDS as usize);
}
