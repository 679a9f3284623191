//! Backfills that are killed or stopped, and continue with `--resume`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Tables, ended, record};
use crate::support::dynamo_proxy::{Action, DynamoProxy};
use crate::support::program::{Program, Signal};
use crate::support::with_progress;

const RECORDS: u32 = 1_500;

/// Creates records of which a page has about 250.
async fn many() -> Tables {
    let response = "x".repeat(4_000);
    let ip = |nth| std::net::Ipv4Addr::from_bits(nth).to_string();
    Tables::new((0..RECORDS).map(|nth| record(&ip(nth), 7, &response))).await
}

fn resume(tables: &Tables) -> String {
    tables.folder.path().join("resume").to_str().expect("UTF-8").to_owned()
}

/// Starts a backfill that gets some pages and then no answer, and waits until the resume file covers some of them.
async fn stuck(tables: &Tables) -> (Program, DynamoProxy) {
    let count = AtomicUsize::new(0);
    let server = tables.dynamo.endpoint.trim_start_matches("http://");
    let proxy = DynamoProxy::before(server, move |request| match request.is_scan() {
        false => Action::Forward,
        true => match count.fetch_add(1, Ordering::Relaxed) {
            // The first one is that of the leases.
            0..3 => Action::Forward,
            // Longer than the time between two checkpoints.
            3 => Action::Forward.after(Duration::from_millis(1_100)),
            _ => Action::Hang,
        },
    })
    .await;
    let launch = tables.backfill(&["--segments", "2", "--resume", &resume(tables)]);
    let program = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    with_progress("a checkpoint with summaries", async || {
        let text = std::fs::read(resume(tables)).unwrap_or_default();
        let checkpoint: Value = serde_json::from_slice(&text).unwrap_or_default();
        checkpoint["counts"]["created"].as_u64().filter(|created| *created > 0).map(drop).ok_or(())
    })
    .await;
    (program, proxy)
}

/// Continues a backfill to its end. Every record must have its summary, and the file must be gone.
async fn continues(tables: &Tables) {
    let path = resume(tables);
    let mut checkpoint: Value = serde_json::from_slice(&std::fs::read(&path).expect("the resume file")).expect("JSON");
    // The counts of the runs before are part of the result.
    checkpoint["counts"]["moved"] = 777.into();
    std::fs::write(&path, checkpoint.to_string()).expect("the file is writable");
    let notes = tables.filled(&["--segments", "2", "--resume", &path]).await;
    assert!(notes.contains("Changed by others meanwhile: 777."), "{notes}");
    assert_eq!(tables.items().await.len(), RECORDS as usize);
    assert!(!std::path::Path::new(&path).exists());
}

#[tokio::test]
async fn a_killed_backfill_continues_where_it_was() {
    let tables = many().await;
    let (program, _proxy) = stuck(&tables).await;
    program.signal(Signal::Kill).await;
    assert_eq!(program.exit().await.code, None);

    continues(&tables).await;
}

#[tokio::test]
async fn a_stopped_backfill_continues_as_it_began() {
    let tables = many().await;
    let (program, _proxy) = stuck(&tables).await;
    program.signal(Signal::Interrupt).await;

    let notes = ended(&program.exit().await, 3);

    assert!(notes.contains("Stopped before the end. To continue, run the same command."), "{notes}");
    let other = tables.backfill(&["--resume", &resume(&tables), "--rebase"]).run().await;
    assert!(ended(&other, 1).contains("the backfill began with another value of --rebase"), "{other:#?}");
    continues(&tables).await;
}
