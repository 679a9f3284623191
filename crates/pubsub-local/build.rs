//! Generates the server traits of Google's Pub/Sub API. The message types come from a crate that has clients only, so
//! no protoc is needed.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    tonic_build::manual::Builder::new().build_client(false).compile(&[publisher(), subscriber()]);
}

fn publisher() -> tonic_build::manual::Service {
    let service = tonic_build::manual::Service::builder().name("Publisher").package("google.pubsub.v1");
    service
        .method(unary("create_topic", "CreateTopic", "Topic", "Topic"))
        .method(unary("update_topic", "UpdateTopic", "UpdateTopicRequest", "Topic"))
        .method(unary("publish", "Publish", "PublishRequest", "PublishResponse"))
        .method(unary("get_topic", "GetTopic", "GetTopicRequest", "Topic"))
        .method(unary("list_topics", "ListTopics", "ListTopicsRequest", "ListTopicsResponse"))
        .method(unary(
            "list_topic_subscriptions",
            "ListTopicSubscriptions",
            "ListTopicSubscriptionsRequest",
            "ListTopicSubscriptionsResponse",
        ))
        .method(unary("delete_topic", "DeleteTopic", "DeleteTopicRequest", "Empty"))
        .build()
}

fn subscriber() -> tonic_build::manual::Service {
    let service = tonic_build::manual::Service::builder().name("Subscriber").package("google.pubsub.v1");
    service
        .method(unary("create_subscription", "CreateSubscription", "Subscription", "Subscription"))
        .method(unary("get_subscription", "GetSubscription", "GetSubscriptionRequest", "Subscription"))
        .method(unary("update_subscription", "UpdateSubscription", "UpdateSubscriptionRequest", "Subscription"))
        .method(unary(
            "list_subscriptions",
            "ListSubscriptions",
            "ListSubscriptionsRequest",
            "ListSubscriptionsResponse",
        ))
        .method(unary("delete_subscription", "DeleteSubscription", "DeleteSubscriptionRequest", "Empty"))
        .method(unary("modify_ack_deadline", "ModifyAckDeadline", "ModifyAckDeadlineRequest", "Empty"))
        .method(unary("acknowledge", "Acknowledge", "AcknowledgeRequest", "Empty"))
        .method(unary("pull", "Pull", "PullRequest", "PullResponse"))
        .method(unary("seek", "Seek", "SeekRequest", "SeekResponse"))
        .method(
            method("streaming_pull", "StreamingPull", "StreamingPullRequest", "StreamingPullResponse")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .build()
}

fn unary(name: &str, route: &str, input: &str, output: &str) -> tonic_build::manual::Method {
    method(name, route, input, output).build()
}

fn method(name: &str, route: &str, input: &str, output: &str) -> tonic_build::manual::MethodBuilder {
    tonic_build::manual::Method::builder()
        .name(name)
        .route_name(route)
        .input_type(format!("super::{input}"))
        .output_type(format!("super::{output}"))
        .codec_path("tonic_prost::ProstCodec")
}
