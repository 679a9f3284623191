//! StreamingPull: one stream's requests and responses.
//!
//! Like the service it answers nothing, not even the opening, until there is something to say: a message, an error, or
//! the answer to a keep-alive.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

use super::super::broker::Broker;
use super::super::pull::Puller;
use super::super::refusal::Refusal;
use super::super::window::Window;
use super::super::wire::{ReceivedMessage, StreamingPullRequest, StreamingPullResponse, Subscriber};
use super::Service;

const LEASE_SECONDS: std::ops::RangeInclusive<i32> = 10..=600;

pub(super) async fn open(
    broker: Arc<Broker>,
    mut requests: Streaming<StreamingPullRequest>,
) -> Result<Response<<Service as Subscriber>::StreamingPullStream>, Status> {
    let first = requests.message().await?.ok_or_else(|| Refusal::invalid("No subscription specified"))?;
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
    answers_keep_alive: bool,
    /// A keep-alive came that nothing has answered yet.
    owes_answer: bool,
}

/// The end of a stream: for nothing, or with what was wrong with a request.
struct End(Option<Refusal>);

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> End {
        End(Some(refusal))
    }
}

impl End {
    fn response(self) -> Option<Result<StreamingPullResponse, Status>> {
        self.0.map(|refusal| Err(refusal.into()))
    }
}

impl Responder {
    fn open(
        broker: Arc<Broker>,
        first: &StreamingPullRequest,
        requests: Streaming<StreamingPullRequest>,
    ) -> Result<Responder, Refusal> {
        let subscription = broker.subscription(&first.subscription)?;
        let lease = lease(first.stream_ack_deadline_seconds)?;
        let window = Window::new(first.max_outstanding_messages, first.max_outstanding_bytes);
        let puller = Puller::open(Arc::clone(&broker), subscription, window, Some(lease));
        let answers_keep_alive = first.protocol_version >= 1;
        let responder = Responder { broker, puller, requests, answers_keep_alive, owes_answer: false };
        responder.settle(first)?;
        Ok(responder)
    }

    async fn next(&mut self) -> Option<Result<StreamingPullResponse, Status>> {
        loop {
            // Requests go first: acks on the stream make room on it, and a full backlog must not keep them waiting.
            while let Some(request) = self.requests.message().now_or_never() {
                if let Err(end) = self.hear(request) {
                    return end.response();
                }
            }
            match self.puller.take() {
                Ok(messages) if messages.is_empty() && !std::mem::take(&mut self.owes_answer) => {}
                Ok(messages) => {
                    self.owes_answer = false;
                    return Some(Ok(self.response(messages)));
                }
                Err(refusal) => return Some(Err(refusal.into())),
            }
            tokio::select! {
                request = self.requests.message() => if let Err(end) = self.hear(request) {
                    return end.response();
                },
                () = self.puller.wake() => {}
            }
        }
    }

    /// A client that closes its half, or is gone, ends the stream.
    fn hear(&mut self, request: Result<Option<StreamingPullRequest>, Status>) -> Result<(), End> {
        let Ok(Some(request)) = request else { return Err(End(None)) };
        if !request.subscription.is_empty()
            || request.max_outstanding_messages != 0
            || request.max_outstanding_bytes != 0
            || request.protocol_version != 0
        {
            let refusal = Refusal::invalid("Only the first request on a stream names a subscription and its limits");
            return Err(refusal.into());
        }
        if request.stream_ack_deadline_seconds != 0 {
            self.puller.set_lease(lease(request.stream_ack_deadline_seconds)?);
        }
        self.settle(&request)?;
        let empty = request.ack_ids.is_empty() && request.modify_deadline_ack_ids.is_empty();
        self.owes_answer |= empty && self.answers_keep_alive;
        Ok(())
    }

    fn settle(&self, request: &StreamingPullRequest) -> Result<(), Refusal> {
        let StreamingPullRequest { ack_ids, modify_deadline_ack_ids, modify_deadline_seconds, .. } = request;
        if modify_deadline_ack_ids.len() != modify_deadline_seconds.len() {
            return Err(Refusal::invalid("modify_deadline_ack_ids and modify_deadline_seconds differ in length"));
        }
        if !ack_ids.is_empty() {
            self.broker.acknowledge(&self.puller.subscription, ack_ids)?;
        }
        for (ack_id, seconds) in modify_deadline_ack_ids.iter().zip(modify_deadline_seconds) {
            self.broker.modify_deadline(&self.puller.subscription, std::slice::from_ref(ack_id), *seconds)?;
        }
        Ok(())
    }

    fn response(&self, received_messages: Vec<ReceivedMessage>) -> StreamingPullResponse {
        let subscription_properties = Some(self.puller.subscription.properties());
        StreamingPullResponse { received_messages, subscription_properties }
    }
}

fn lease(seconds: i32) -> Result<Duration, Refusal> {
    match u64::try_from(seconds) {
        Ok(length) if LEASE_SECONDS.contains(&seconds) => Ok(Duration::from_secs(length)),
        _ => Err(Refusal::invalid("stream_ack_deadline_seconds must be between 10 and 600")),
    }
}
