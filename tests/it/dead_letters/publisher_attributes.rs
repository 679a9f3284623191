//! A publisher's attributes with our names survive a rejection and a redrive, and do not block the redrive.

use google_cloud_pubsub::model::{DeadLetterPolicy, Message};

use super::{attributes, command_for, redriven, stdout_of_success};
use crate::support::pipeline::Pipeline;

const THEIRS: [(&str, &str); 5] = [
    ("delivery_attempt", "first"),
    ("original_redrive_count", "7"),
    ("redrive_count", "99"),
    ("rejection_reason", "theirs"),
    ("source_message_id", "theirs too"),
];

fn with_mark(count: &'static str) -> Vec<(&'static str, &'static str)> {
    [&THEIRS[..], &[("mini_scan_redrive_count", count)]].concat()
}

async fn publish(pipeline: &Pipeline) {
    let poison = Message::new().set_data("poison").set_attributes(THEIRS);
    pipeline.pubsub.try_publish(&pipeline.topic, [poison]).await.remove(0).expect("it is accepted");
}

#[tokio::test]
async fn a_rejected_message_comes_back_with_all_attributes_of_its_publisher() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline).await;
    let consumer = pipeline.consumer().start();
    pipeline.drained().await;
    drop(consumer);

    let listed = stdout_of_success(&command_for(&pipeline, "list", 1).arguments(["--json"]).run().await);
    stdout_of_success(&command_for(&pipeline, "redrive", 1).run().await);

    assert!(listed.contains(r#""reason":"malformed_json""#) && listed.contains(r#""redrive_count":0"#), "{listed}");
    let back = redriven(&pipeline, 1).await.remove(0);
    assert_eq!(attributes(&back), with_mark("1").into_iter().collect());
}

#[tokio::test]
async fn each_rejection_and_redrive_keeps_the_attributes_and_counts() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline).await;

    for _ in 0..2 {
        let consumer = pipeline.consumer().start();
        pipeline.drained().await;
        drop(consumer);
        stdout_of_success(&command_for(&pipeline, "redrive", 1).run().await);
    }

    let back = redriven(&pipeline, 1).await.remove(0);
    assert_eq!(attributes(&back), with_mark("2").into_iter().collect());
}

#[tokio::test]
async fn a_message_that_pubsub_forwarded_comes_back_with_all_attributes_of_its_publisher() {
    let pipeline = Pipeline::new().await;
    let policy =
        DeadLetterPolicy::new().set_dead_letter_topic(&pipeline.dead_letter_topic).set_max_delivery_attempts(5);
    let policed =
        pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_dead_letter_policy(policy)).await;
    publish(&pipeline).await;
    redriven(&pipeline, 1).await;
    let mut inbox = pipeline.pubsub.open(&policed);
    for _ in 0..5 {
        inbox.next().await.1.nack();
    }

    let chosen = ["--reason", "delivery_attempts_exhausted"];
    let exit = command_for(&pipeline, "redrive", 1).arguments(chosen).run().await;

    assert!(stdout_of_success(&exit).contains("Redriven: 1, left: 0"), "{exit:#?}");
    let back = redriven(&pipeline, 1).await.remove(0);
    assert_eq!(attributes(&back), with_mark("1").into_iter().collect());
}
