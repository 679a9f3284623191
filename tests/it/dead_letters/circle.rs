//! A redrive to the dead-letter topic itself is refused, also if the program may not view the subscription.

use super::{backlog, command_for, dead_letter, publish, stdout_of_success};
use crate::support::http_proxy::{HttpProxy, Reject};
use crate::support::pipeline::Pipeline;
use crate::support::program::{Exit, Launch};

fn redrive(pipeline: &Pipeline, proxy: &HttpProxy, topic: &str) -> Launch {
    let launch = command_for(pipeline, "redrive", 20).arguments(["--topic", topic]);
    launch.env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string())
}

fn failed(exit: &Exit) -> String {
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    exit.output.stderr.join("\n")
}

#[tokio::test]
async fn a_topic_with_the_id_of_the_hidden_subscription_is_refused_before_anything_is_published() {
    let mut pipeline = Pipeline::new().await;
    let id = pipeline.dead_letter_topic.rsplit('/').next().expect("an id");
    let named_by_setup = pipeline.pubsub.subscription_name(id);
    let create = pipeline.pubsub.subscriptions.create_subscription().set_name(&named_by_setup);
    create.set_topic(&pipeline.dead_letter_topic).send().await.expect("the subscription is created");
    pipeline.dead_letter_subscription = named_by_setup;
    publish(&pipeline, [dead_letter(&pipeline, "invalid_ip", "x")]).await;
    let proxy = HttpProxy::before(&pipeline.pubsub.address, Reject::Gets).await;

    let exit = redrive(&pipeline, &proxy, &pipeline.dead_letter_topic).run().await;

    let error = failed(&exit);
    assert!(error.contains("has the id of the dead-letter subscription"), "{error}");
    assert!(error.contains("roles/pubsub.viewer"), "{error}");
    assert_eq!(pipeline.pubsub.counts(&pipeline.dead_letter_subscription).published, 1);
}

#[tokio::test]
async fn the_topic_of_the_hidden_subscription_is_found_before_a_dead_letter_is_lost() {
    let pipeline = Pipeline::new().await;
    let proxy = HttpProxy::before(&pipeline.pubsub.address, Reject::Gets).await;
    publish(&pipeline, (0..20).map(|n| dead_letter(&pipeline, "invalid_ip", &format!("{n}")))).await;

    let exit = redrive(&pipeline, &proxy, &pipeline.dead_letter_topic).run().await;

    let error = failed(&exit);
    assert!(error.contains("is the dead-letter topic itself: a redriven message came back"), "{error}");
    assert!(exit.output.stdout[0].contains("Redriven: 0, left: 1"), "{exit:#?}");
    let counts = pipeline.pubsub.counts(&pipeline.dead_letter_subscription);
    assert_eq!((counts.published, counts.acknowledged), (21, 1), "only the message that came back is acked");
    let listed = stdout_of_success(&command_for(&pipeline, "list", 20).run().await);
    assert_eq!(listed.matches("invalid_ip").count(), 20, "{listed}");
}

#[tokio::test]
async fn another_topic_gets_all_messages_once_the_first_did_not_come_back() {
    let pipeline = Pipeline::new().await;
    let proxy = HttpProxy::before(&pipeline.pubsub.address, Reject::Gets).await;
    publish(&pipeline, (0..20).map(|n| dead_letter(&pipeline, "invalid_ip", &format!("{n}")))).await;

    let exit = redrive(&pipeline, &proxy, &pipeline.topic).run().await;

    assert!(stdout_of_success(&exit).starts_with("Redrive finished. Redriven: 20, left: 0\n"), "{exit:#?}");
    assert_eq!((pipeline.counts().published, backlog(&pipeline)), (20, 0));
}
