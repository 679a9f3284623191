//! A redrive finds the selected dead letters behind any number of others.

use std::time::Duration;

use super::{WAIT, backlog, command, command_for_all, dead_letter, publish, stdout_of_success, wait_for_leased};
use crate::support::pipeline::Pipeline;

/// More dead letters than a run keeps leased, with those that it may redrive at the same time.
const OTHERS: usize = 12_000;

/// Puts the selected dead letters behind the others, because the embedded server delivers in the order of publishing.
async fn write_behind_others(pipeline: &Pipeline, selected: usize) {
    publish(pipeline, (0..OTHERS).map(|n| dead_letter(pipeline, "invalid_ip", &format!("other {n}")))).await;
    publish(pipeline, (0..selected).map(|n| dead_letter(pipeline, "invalid_port", &format!("selected {n}")))).await;
}

#[tokio::test]
async fn redrives_the_selected_dead_letters_behind_more_than_ten_thousand_others() {
    let pipeline = Pipeline::new().await;
    write_behind_others(&pipeline, 5).await;

    let exit = command_for_all(&pipeline, "redrive").arguments(["--reason", "invalid_port"]).run().await;

    let report = stdout_of_success(&exit);
    assert!(report.starts_with("Redrive finished. Redriven: 5, left: 12,000\n"), "{report}");
    assert!(report.contains(&format!("\nNo more arrived for {WAIT}.")), "{report}");
    assert_eq!((pipeline.counts().published, backlog(&pipeline)), (5, OTHERS));
}

#[tokio::test]
async fn reports_the_dead_letters_whose_leases_end_only_after_the_run() {
    let pipeline = Pipeline::new().await;
    write_behind_others(&pipeline, 0).await;

    // By the end of the run, the client has forgotten the dead letters that the run passed over.
    let run = command(&pipeline, "redrive").arguments(["--reason", "invalid_port", "--wait", "30s"]).start();
    wait_for_leased(&pipeline, OTHERS).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let exit = run.exit().await;

    let report = stdout_of_success(&exit);
    assert!(report.starts_with("Redrive finished. Redriven: 0, left: 12,000\n"), "{report}");
    let counts = pipeline.pubsub.counts(&pipeline.dead_letter_subscription);
    assert_eq!((counts.delivered, counts.backlog()), (OTHERS as u64, OTHERS), "{counts:?}");
    let passed_over = counts.outstanding;
    assert!((1..=2_000).contains(&passed_over), "{counts:?}");
    let line = format!("Pub/Sub redelivers up to {passed_over} of the dead letters left only after 10m");
    assert!(report.replace(',', "").contains(&line), "{report} {counts:?}");
}

#[tokio::test]
async fn counts_a_dead_letter_that_is_delivered_twice_once() {
    let (pipeline, faults) = Pipeline::with_faults().await;
    faults.deliver_twice(1.0);
    publish(&pipeline, (0..20).map(|n| dead_letter(&pipeline, "invalid_ip", &format!("{n}")))).await;

    let exit = command_for_all(&pipeline, "redrive").arguments(["--reason", "invalid_port"]).run().await;

    let report = stdout_of_success(&exit);
    assert!(report.starts_with("Redrive finished. Redriven: 0, left: 20\n"), "{report}");
    assert_eq!(pipeline.pubsub.counts(&pipeline.dead_letter_subscription).delivered, 40);
}
