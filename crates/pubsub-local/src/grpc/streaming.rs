//! StreamingPull: the requests and responses of one stream.
//!
//! Like the service, it sends nothing, not even the response headers, before the first message, error or response to a
//! keep-alive.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

use super::super::broker::Broker;
use super::super::error::ApiError;
use super::super::pull::Puller;
use super::super::window::Window;
use super::super::wire::{
    ReceivedMessage, StreamingPullRequest, StreamingPullResponse, Subscriber, SubscriptionProperties,
};
use super::Service;

const LEASE_SECONDS: std::ops::RangeInclusive<i32> = 10..=600;

pub(super) async fn open(
    broker: Arc<Broker>,
    mut requests: Streaming<StreamingPullRequest>,
) -> Result<Response<<Service as Subscriber>::StreamingPullStream>, Status> {
    let first = requests.message().await?.ok_or_else(|| ApiError::invalid_argument("No subscription specified"))?;
    let mut responder = Responder::open(broker, &first, requests)?;
    let opening = responder.next().await.transpose()?;
    Ok(Response::new(Box::pin(stream::iter(opening.map(Ok)).chain(responses(responder)))))
}

fn responses(responder: Responder) -> impl Stream<Item = Result<StreamingPullResponse, Status>> {
    stream::unfold(Some(responder), |responder| async {
        let mut responder = responder?;
        let response = responder.next().await?;
        let open = response.is_ok().then_some(responder);
        Some((response, open))
    })
}

struct Responder {
    broker: Arc<Broker>,
    puller: Puller,
    requests: Streaming<StreamingPullRequest>,
    responds_to_keep_alive: bool,
    /// Whether the client sent a keep-alive and got no response since.
    keep_alive_pending: bool,
}

/// The end of a stream: `None` if the client closed it, or the error in a request.
struct End(Option<ApiError>);

impl From<ApiError> for End {
    fn from(error: ApiError) -> End {
        End(Some(error))
    }
}

impl End {
    fn response(self) -> Option<Result<StreamingPullResponse, Status>> {
        self.0.map(|error| Err(error.into()))
    }
}

impl Responder {
    fn open(
        broker: Arc<Broker>,
        first: &StreamingPullRequest,
        requests: Streaming<StreamingPullRequest>,
    ) -> Result<Responder, ApiError> {
        let subscription = broker.subscription(&first.subscription)?;
        let lease = lease(first.stream_ack_deadline_seconds)?;
        let window = Window::new(first.max_outstanding_messages, first.max_outstanding_bytes);
        let puller = Puller::open(Arc::clone(&broker), subscription, window, Some(lease));
        let responds_to_keep_alive = first.protocol_version >= 1;
        let responder = Responder { broker, puller, requests, responds_to_keep_alive, keep_alive_pending: false };
        responder.settle(first)?;
        Ok(responder)
    }

    async fn next(&mut self) -> Option<Result<StreamingPullResponse, Status>> {
        loop {
            // Requests go first: acks make room on the stream, and a deep backlog must not delay them.
            while let Some(request) = self.requests.message().now_or_never() {
                if let Err(end) = self.handle(request) {
                    return end.response();
                }
            }
            match self.puller.take() {
                Ok(messages) if messages.is_empty() && !std::mem::take(&mut self.keep_alive_pending) => {}
                Ok(messages) => {
                    self.keep_alive_pending = false;
                    return Some(Ok(response(messages)));
                }
                Err(error) => return Some(Err(error.into())),
            }
            tokio::select! {
                request = self.requests.message() => if let Err(end) = self.handle(request) {
                    return end.response();
                },
                () = self.puller.wake() => {}
            }
        }
    }

    /// Handles a later request. The stream ends when the client closes its side or disconnects.
    fn handle(&mut self, request: Result<Option<StreamingPullRequest>, Status>) -> Result<(), End> {
        let Ok(Some(request)) = request else { return Err(End(None)) };
        if !request.subscription.is_empty()
            || request.max_outstanding_messages != 0
            || request.max_outstanding_bytes != 0
            || request.protocol_version != 0
        {
            let error = ApiError::invalid_argument(
                "Only the first request on a stream can set the subscription, the limits and the protocol version",
            );
            return Err(error.into());
        }
        if request.stream_ack_deadline_seconds != 0 {
            self.puller.set_lease(lease(request.stream_ack_deadline_seconds)?);
        }
        self.settle(&request)?;
        let empty = request.ack_ids.is_empty() && request.modify_deadline_ack_ids.is_empty();
        self.keep_alive_pending |= empty && self.responds_to_keep_alive;
        Ok(())
    }

    fn settle(&self, request: &StreamingPullRequest) -> Result<(), ApiError> {
        let StreamingPullRequest { ack_ids, modify_deadline_ack_ids, modify_deadline_seconds, .. } = request;
        if modify_deadline_ack_ids.len() != modify_deadline_seconds.len() {
            return Err(ApiError::invalid_argument(
                "modify_deadline_ack_ids and modify_deadline_seconds must have the same length",
            ));
        }
        if !ack_ids.is_empty() {
            self.broker.acknowledge(&self.puller.subscription, ack_ids)?;
        }
        for (ack_id, seconds) in modify_deadline_ack_ids.iter().zip(modify_deadline_seconds) {
            self.broker.modify_deadline(&self.puller.subscription, std::slice::from_ref(ack_id), *seconds)?;
        }
        Ok(())
    }
}

fn response(received_messages: Vec<ReceivedMessage>) -> StreamingPullResponse {
    // No subscription has exactly-once delivery or message ordering.
    StreamingPullResponse { received_messages, subscription_properties: Some(SubscriptionProperties::default()) }
}

fn lease(seconds: i32) -> Result<Duration, ApiError> {
    match u64::try_from(seconds) {
        Ok(length) if LEASE_SECONDS.contains(&seconds) => Ok(Duration::from_secs(length)),
        _ => Err(ApiError::invalid_argument("stream_ack_deadline_seconds must be between 10 and 600")),
    }
}
