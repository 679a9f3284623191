//! `mini-scan dead-letters` as a process.

mod circle;
mod failures;
mod interrupted;
mod list;
mod passing_over;
mod publisher_attributes;
mod purge;
mod redrive;

use std::collections::HashMap;

use google_cloud_pubsub::model::Message;
use pubsub_local::Counts;

use crate::support::pipeline::Pipeline;
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::{POLL_INTERVAL, with_timeout};

/// The `--wait` of a run that reads everything. A slow machine must deliver all dead letters without a longer pause.
const WAIT: &str = "10s";

/// Returns `mini-scan dead-letters` with this task for the dead-letter subscription of a pipeline.
fn command(pipeline: &Pipeline, task: &str) -> Launch {
    let subscription = ["--subscription", pipeline.dead_letter_subscription.as_str()];
    mini_scan(["dead-letters", task]).arguments(subscription).against(&pipeline.pubsub, &pipeline.dynamo)
}

/// Returns the same command with a limit, at which it ends without waiting for more dead letters.
fn command_for(pipeline: &Pipeline, task: &str, limit: usize) -> Launch {
    command(pipeline, task).arguments(["--limit", &limit.to_string()])
}

/// Returns the same command. It ends when no dead letter has arrived for [`WAIT`].
fn command_for_all(pipeline: &Pipeline, task: &str) -> Launch {
    command(pipeline, task).arguments(["--wait", WAIT])
}

/// Returns a dead letter as the consumer of a pipeline publishes it.
fn dead_letter(pipeline: &Pipeline, reason: &str, payload: &str) -> Message {
    Message::new().set_data(payload.to_owned()).set_attributes([
        ("rejection_reason", reason),
        ("rejection_detail", "written by a test"),
        ("source_subscription", &pipeline.subscription),
        ("source_message_id", "1"),
        ("source_publish_time", "2026-11-21T08:00:00Z"),
    ])
}

/// Publishes to the dead-letter topic.
async fn publish(pipeline: &Pipeline, dead_letters: impl IntoIterator<Item = Message>) {
    for result in pipeline.pubsub.try_publish(&pipeline.dead_letter_topic, dead_letters).await {
        result.expect("the dead letter is accepted");
    }
}

/// Takes `count` messages from the pipeline's subscription and acknowledges them.
async fn redriven(pipeline: &Pipeline, count: usize) -> Vec<Message> {
    let mut inbox = pipeline.pubsub.open(&pipeline.subscription);
    let mut messages = Vec::with_capacity(count);
    while messages.len() < count {
        let (message, handler) = inbox.next().await;
        handler.ack();
        messages.push(message);
    }
    inbox.close().await;
    messages
}

/// Waits until the embedded server's counts of the dead-letter subscription fulfil a condition.
async fn wait_for_counts(pipeline: &Pipeline, what: &str, condition: impl Fn(Counts) -> bool) {
    let polling = async {
        while !condition(pipeline.pubsub.counts(&pipeline.dead_letter_subscription)) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout(what, polling).await;
}

/// Waits until `count` dead letters are leased on the embedded server.
async fn wait_for_leased(pipeline: &Pipeline, count: usize) {
    wait_for_counts(pipeline, "leased dead letters", |counts| counts.outstanding == count).await;
}

/// Returns the number of dead letters on the embedded server.
fn backlog(pipeline: &Pipeline) -> usize {
    pipeline.pubsub.counts(&pipeline.dead_letter_subscription).backlog()
}

fn attributes(message: &Message) -> HashMap<&str, &str> {
    message.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Returns what the program printed. Panics if it did not leave dead letters.
fn stdout_of_partial_success(exit: &Exit) -> String {
    assert_eq!(exit.code, Some(3), "{exit:#?}");
    exit.output.stdout.join("\n")
}

/// Returns what the program printed. Panics if it failed.
fn stdout_of_success(exit: &Exit) -> String {
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    exit.output.stdout.join("\n")
}
