//! `mini-scan dead-letters` as a process: what it shows, what it brings back, and what it leaves where it is.

mod circle;
mod interrupted;
mod list;
mod passing_over;
mod publisher_attributes;
mod redrive;
mod refused;

use std::collections::HashMap;

use google_cloud_pubsub::model::Message;

use crate::support::pipeline::Pipeline;
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::{LOOKING, within_patience};

/// `mini-scan dead-letters` with this task, on the dead-letter subscription of a pipeline.
///
/// Its `--wait` is shorter than the default, and long enough for letters that are there.
fn dead_letters(pipeline: &Pipeline, task: &str) -> Launch {
    patient(pipeline, task).arguments(["--wait", "2s"])
}

/// The same without `--wait`.
fn patient(pipeline: &Pipeline, task: &str) -> Launch {
    let subscription = ["--subscription", pipeline.dead_letter_subscription.as_str()];
    mini_scan(["dead-letters", task]).arguments(subscription).against(&pipeline.pubsub, &pipeline.dynamo)
}

/// A letter as the consumer of a pipeline writes it.
fn letter(pipeline: &Pipeline, reason: &str, payload: &str) -> Message {
    Message::new().set_data(payload.to_owned()).set_attributes([
        ("rejection_reason", reason),
        ("rejection_detail", "as a test has it"),
        ("source_subscription", &pipeline.subscription),
        ("source_message_id", "1"),
        ("source_publish_time", "2026-11-21T08:00:00Z"),
    ])
}

/// Puts letters on the dead-letter topic.
async fn write(pipeline: &Pipeline, letters: impl IntoIterator<Item = Message>) {
    for accepted in pipeline.pubsub.try_publish(&pipeline.dead_letter_topic, letters).await {
        accepted.expect("the letter is accepted");
    }
}

/// The next `count` messages on the pipeline's own subscription, acked.
async fn brought_back(pipeline: &Pipeline, count: usize) -> Vec<Message> {
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

/// Waits until the embedded server has `count` letters leased.
async fn leased(pipeline: &Pipeline, count: usize) {
    let leased = async {
        while pipeline.pubsub.counts(&pipeline.dead_letter_subscription).outstanding != count {
            tokio::time::sleep(LOOKING).await;
        }
    };
    within_patience("leased letters", leased).await;
}

/// How many letters are on the embedded server.
fn waiting(pipeline: &Pipeline) -> usize {
    pipeline.pubsub.counts(&pipeline.dead_letter_subscription).backlog()
}

fn attributes(message: &Message) -> HashMap<&str, &str> {
    message.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// What the program printed, which must have left dead letters.
fn partly_done(exit: &Exit) -> String {
    assert_eq!(exit.code, Some(3), "{exit:#?}");
    exit.said.stdout.join("\n")
}

/// What the program printed, which must have succeeded.
fn succeeded(exit: &Exit) -> String {
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    exit.said.stdout.join("\n")
}
