//! The messages and server traits of `google.pubsub.v1`. This module knows nothing about the state of the server.
//!
//! The messages come from a crate, the traits from build.rs. The responses that carry messages are declared again here,
//! with each message as bytes. An embedded message and a bytes field have the same encoding. So a message is encoded
//! once, when it is published, and every delivery to every subscription sends those bytes.

use bytes::Bytes;

#[cfg(test)]
pub(super) use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::BigQueryConfig;
pub(super) use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    AcknowledgeRequest, DeadLetterPolicy, DeleteSubscriptionRequest, DeleteTopicRequest, ExpirationPolicy,
    GetSubscriptionRequest, GetTopicRequest, ListSubscriptionsRequest, ListSubscriptionsResponse,
    ListTopicSubscriptionsRequest, ListTopicSubscriptionsResponse, ListTopicsRequest, ListTopicsResponse,
    ModifyAckDeadlineRequest, PublishRequest, PublishResponse, PubsubMessage, PullRequest, PushConfig, RetryPolicy,
    SeekRequest, SeekResponse, StreamingPullRequest, Subscription, Topic, UpdateSubscriptionRequest,
    UpdateTopicRequest, seek_request, streaming_pull_response::SubscriptionProperties, subscription, topic,
};

/// `google.protobuf.Empty`.
pub(super) type Empty = ();

/// `google.pubsub.v1.ReceivedMessage` with its message encoded.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReceivedMessage {
    #[prost(string, tag = "1")]
    pub(super) ack_id: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) message: Bytes,
    #[prost(int32, tag = "3")]
    pub(super) delivery_attempt: i32,
}

/// `google.pubsub.v1.PubsubMessage` without all fields but the id.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MessageId {
    #[prost(string, tag = "3")]
    pub(super) message_id: String,
}

/// `google.pubsub.v1.PullResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PullResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) received_messages: Vec<ReceivedMessage>,
}

/// `google.pubsub.v1.StreamingPullResponse` without the confirmations of exactly-once delivery.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamingPullResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) received_messages: Vec<ReceivedMessage>,
    #[prost(message, optional, tag = "4")]
    pub(super) subscription_properties: Option<SubscriptionProperties>,
}

mod services {
    #![allow(unreachable_pub, reason = "the code generator makes its items pub")]
    use super::*;
    include!(concat!(env!("OUT_DIR"), "/google.pubsub.v1.Publisher.rs"));
    include!(concat!(env!("OUT_DIR"), "/google.pubsub.v1.Subscriber.rs"));
}

pub(super) use services::publisher_server::{Publisher, PublisherServer};
pub(super) use services::subscriber_server::{Subscriber, SubscriberServer};
