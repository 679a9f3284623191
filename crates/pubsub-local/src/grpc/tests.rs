//! Behaviour of the protocol that is not visible through a client library.

use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::StreamingPullResponse;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::subscriber_client::SubscriberClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Streaming};

use super::super::queue::Counts;
use super::super::wire::{PubsubMessage, StreamingPullRequest, Subscription, Topic};
use super::*;

const TOPIC: &str = "projects/p/topics/scan-topic";
const SUBSCRIPTION: &str = "projects/p/subscriptions/scan-sub";

struct Stream {
    requests: mpsc::Sender<StreamingPullRequest>,
    responses: Streaming<StreamingPullResponse>,
}

fn broker() -> Arc<Broker> {
    let broker = Arc::new(Broker::new());
    broker.create_topic(Topic { name: TOPIC.into(), ..Topic::default() }).unwrap();
    let subscription = Subscription { name: SUBSCRIPTION.into(), topic: TOPIC.into(), ..Subscription::default() };
    broker.create_subscription(subscription).unwrap();
    broker
}

fn publish(broker: &Broker, payload: &'static str) {
    let message = PubsubMessage { data: payload.into(), ..PubsubMessage::default() };
    broker.publish(TOPIC, vec![message]).unwrap();
}

fn counts(broker: &Broker) -> Counts {
    broker.subscription(SUBSCRIPTION).unwrap().counts()
}

fn first() -> StreamingPullRequest {
    StreamingPullRequest {
        subscription: SUBSCRIPTION.into(),
        stream_ack_deadline_seconds: 60,
        protocol_version: 1,
        ..StreamingPullRequest::default()
    }
}

/// Returns the sender of further requests, and the call, whose first request has been sent.
fn call(
    broker: &Arc<Broker>,
    first: StreamingPullRequest,
) -> (
    mpsc::Sender<StreamingPullRequest>,
    impl Future<Output = Result<Response<Streaming<StreamingPullResponse>>, Status>>,
) {
    let (requests, receiver) = mpsc::channel(8);
    requests.try_send(first).unwrap();
    let mut client = SubscriberClient::new(router(Arc::clone(broker)));
    (requests, async move { client.streaming_pull(ReceiverStream::new(receiver)).await })
}

async fn error_code(broker: &Arc<Broker>, first: StreamingPullRequest) -> Code {
    let (_requests, call) = call(broker, first);
    call.await.unwrap_err().code()
}

/// Opens a stream that has received one message, and returns that message's ack id.
async fn stream_with(broker: &Arc<Broker>, payload: &'static str) -> (Stream, String) {
    publish(broker, payload);
    let (requests, call) = call(broker, first());
    let mut stream = Stream { requests, responses: call.await.unwrap().into_inner() };
    let ack_id = stream.next_ack_id().await;
    (stream, ack_id)
}

impl Stream {
    async fn next_ack_id(&mut self) -> String {
        let mut response = self.responses.message().await.unwrap().unwrap();
        response.received_messages.remove(0).ack_id
    }

    fn send(&self, request: StreamingPullRequest) {
        self.requests.try_send(request).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_sends_nothing_before_a_keep_alive() {
    let broker = broker();
    let (requests, call) = call(&broker, first());
    let mut call = std::pin::pin!(call);
    assert!(timeout(Duration::from_secs(60), &mut call).await.is_err());
    requests.try_send(StreamingPullRequest::default()).unwrap();
    let mut responses = call.await.unwrap().into_inner();
    assert_eq!(responses.message().await.unwrap().unwrap().received_messages, []);
}

#[tokio::test(start_paused = true)]
async fn a_client_of_protocol_version_0_gets_no_response_to_a_keep_alive() {
    let broker = broker();
    let (requests, call) = call(&broker, StreamingPullRequest { protocol_version: 0, ..first() });
    requests.try_send(StreamingPullRequest::default()).unwrap();
    assert!(timeout(Duration::from_secs(60), call).await.is_err());
}

#[tokio::test]
async fn an_invalid_first_request_is_rejected_at_once() {
    let broker = broker();
    let missing = StreamingPullRequest { subscription: "projects/p/subscriptions/none".into(), ..first() };
    assert_eq!(error_code(&broker, missing).await, Code::NotFound);
    for seconds in [-1, 0, 9, 601] {
        let request = StreamingPullRequest { stream_ack_deadline_seconds: seconds, ..first() };
        assert_eq!(error_code(&broker, request).await, Code::InvalidArgument, "{seconds}");
    }
}

#[tokio::test]
async fn acks_and_deadlines_can_be_sent_on_the_stream() {
    let broker = broker();
    let (mut stream, ack_id) = stream_with(&broker, "scan").await;
    stream.send(StreamingPullRequest {
        modify_deadline_ack_ids: vec![ack_id],
        modify_deadline_seconds: vec![0],
        ..StreamingPullRequest::default()
    });
    let ack_id = stream.next_ack_id().await;
    assert_eq!(counts(&broker).nacked, 1);
    stream.send(StreamingPullRequest { ack_ids: vec![ack_id], ..StreamingPullRequest::default() });
    publish(&broker, "another");
    stream.next_ack_id().await;
    assert_eq!((counts(&broker).acknowledged, counts(&broker).outstanding), (1, 1));
}

#[tokio::test]
async fn an_invalid_later_request_ends_the_stream() {
    for later in [
        StreamingPullRequest { subscription: SUBSCRIPTION.into(), ..StreamingPullRequest::default() },
        StreamingPullRequest { max_outstanding_messages: 1, ..StreamingPullRequest::default() },
        StreamingPullRequest { protocol_version: 1, ..StreamingPullRequest::default() },
        StreamingPullRequest { ack_ids: vec!["malformed".into()], ..StreamingPullRequest::default() },
        StreamingPullRequest { modify_deadline_seconds: vec![1], ..StreamingPullRequest::default() },
    ] {
        let (mut stream, _) = stream_with(&broker(), "scan").await;
        stream.send(later);
        assert_eq!(stream.responses.message().await.unwrap_err().code(), Code::InvalidArgument);
        assert!(stream.responses.message().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn closing_the_requests_ends_the_stream_and_keeps_the_leases() {
    let broker = broker();
    let (Stream { requests, mut responses }, _) = stream_with(&broker, "scan").await;
    drop(requests);
    assert!(responses.message().await.unwrap().is_none());
    assert_eq!((counts(&broker).streams, counts(&broker).outstanding), (0, 1));
}

#[tokio::test]
async fn a_stream_reports_that_exactly_once_delivery_and_ordering_are_off() {
    let broker = broker();
    publish(&broker, "scan");
    let (_requests, call) = call(&broker, first());
    let response = call.await.unwrap().into_inner().message().await.unwrap().unwrap();
    let properties = response.subscription_properties.unwrap();
    assert!(!properties.exactly_once_delivery_enabled && !properties.message_ordering_enabled);
}

#[tokio::test]
async fn a_fault_closes_the_open_streams_and_keeps_the_leases() {
    let broker = broker();
    let (mut stream, _) = stream_with(&broker, "scan").await;
    broker.faults().close_streams();
    assert_eq!(stream.responses.message().await.unwrap_err().code(), Code::Unavailable);
    let counts = counts(&broker);
    assert_eq!((counts.closed_streams, counts.streams, counts.outstanding), (1, 0, 1));
    stream_with(&broker, "another").await;
}

#[tokio::test]
async fn shutdown_ends_streams_with_unavailable() {
    let broker = broker();
    let (mut stream, _) = stream_with(&broker, "scan").await;
    broker.shut_down();
    assert_eq!(stream.responses.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(error_code(&broker, first()).await, Code::Unavailable);
}
