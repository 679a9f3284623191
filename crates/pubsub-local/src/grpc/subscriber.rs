//! `google.pubsub.v1.Subscriber`.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::super::broker::Page;
use super::super::error::ApiError;
use super::super::pull;
use super::super::wire::{
    AcknowledgeRequest, DeleteSubscriptionRequest, Empty, GetSubscriptionRequest, ListSubscriptionsRequest,
    ListSubscriptionsResponse, ModifyAckDeadlineRequest, PullRequest, PullResponse, SeekRequest, SeekResponse,
    StreamingPullRequest, StreamingPullResponse, Subscriber, Subscription, UpdateSubscriptionRequest,
};
use super::{Service, reply, streaming};

#[tonic::async_trait]
impl Subscriber for Service {
    type StreamingPullStream = Pin<Box<dyn Stream<Item = Result<StreamingPullResponse, Status>> + Send>>;

    async fn create_subscription(&self, request: Request<Subscription>) -> Result<Response<Subscription>, Status> {
        reply(self.broker.create_subscription(request.into_inner()))
    }

    async fn get_subscription(
        &self,
        request: Request<GetSubscriptionRequest>,
    ) -> Result<Response<Subscription>, Status> {
        reply(self.broker.subscription(&request.into_inner().subscription).map(|subscription| subscription.resource()))
    }

    async fn update_subscription(
        &self,
        request: Request<UpdateSubscriptionRequest>,
    ) -> Result<Response<Subscription>, Status> {
        let UpdateSubscriptionRequest { subscription, update_mask } = request.into_inner();
        let subscription = subscription.ok_or_else(|| ApiError::invalid_argument("No subscription specified"))?;
        reply(self.broker.update_subscription(subscription, update_mask.as_ref()))
    }

    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsResponse>, Status> {
        let ListSubscriptionsRequest { project, page_size, page_token } = request.into_inner();
        let page = Page { size: page_size, token: page_token };
        let listed = self.broker.subscriptions(&project, &page);
        reply(
            listed.map(|(subscriptions, next_page_token)| ListSubscriptionsResponse { subscriptions, next_page_token }),
        )
    }

    async fn delete_subscription(
        &self,
        request: Request<DeleteSubscriptionRequest>,
    ) -> Result<Response<Empty>, Status> {
        reply(self.broker.delete_subscription(&request.into_inner().subscription))
    }

    async fn modify_ack_deadline(&self, request: Request<ModifyAckDeadlineRequest>) -> Result<Response<Empty>, Status> {
        let ModifyAckDeadlineRequest { subscription, ack_ids, ack_deadline_seconds } = request.into_inner();
        let subscription = self.broker.subscription(&subscription)?;
        reply(self.broker.modify_deadline(&subscription, &ack_ids, ack_deadline_seconds))
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Result<Response<Empty>, Status> {
        let AcknowledgeRequest { subscription, ack_ids } = request.into_inner();
        let subscription = self.broker.subscription(&subscription)?;
        reply(self.broker.acknowledge(&subscription, &ack_ids))
    }

    async fn pull(&self, request: Request<PullRequest>) -> Result<Response<PullResponse>, Status> {
        #[expect(deprecated, reason = "clients still set it")]
        let PullRequest { subscription, return_immediately, max_messages } = request.into_inner();
        let pulled = pull::once(&self.broker, &subscription, max_messages, return_immediately).await;
        reply(pulled.map(|received_messages| PullResponse { received_messages }))
    }

    async fn seek(&self, request: Request<SeekRequest>) -> Result<Response<SeekResponse>, Status> {
        let SeekRequest { subscription, target } = request.into_inner();
        reply(self.broker.seek(&subscription, target).map(|()| SeekResponse {}))
    }

    async fn streaming_pull(
        &self,
        request: Request<Streaming<StreamingPullRequest>>,
    ) -> Result<Response<Self::StreamingPullStream>, Status> {
        streaming::open(Arc::clone(&self.broker), request.into_inner()).await
    }
}
