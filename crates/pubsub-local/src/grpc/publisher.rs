//! `google.pubsub.v1.Publisher`.

use tonic::{Request, Response, Status};

use super::super::broker::Page;
use super::super::refusal::Refusal;
use super::super::wire::{
    DeleteTopicRequest, Empty, GetTopicRequest, ListTopicSubscriptionsRequest, ListTopicSubscriptionsResponse,
    ListTopicsRequest, ListTopicsResponse, PublishRequest, PublishResponse, Publisher, Topic, UpdateTopicRequest,
};
use super::{Service, reply};

#[tonic::async_trait]
impl Publisher for Service {
    async fn create_topic(&self, request: Request<Topic>) -> Result<Response<Topic>, Status> {
        reply(self.broker.create_topic(request.into_inner()))
    }

    async fn update_topic(&self, request: Request<UpdateTopicRequest>) -> Result<Response<Topic>, Status> {
        let UpdateTopicRequest { topic, update_mask } = request.into_inner();
        let topic = topic.ok_or_else(|| Refusal::invalid("No topic specified"))?;
        reply(self.broker.update_topic(topic, update_mask.as_ref()))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let PublishRequest { topic, messages } = request.into_inner();
        reply(self.broker.publish(&topic, messages).map(|message_ids| PublishResponse { message_ids }))
    }

    async fn get_topic(&self, request: Request<GetTopicRequest>) -> Result<Response<Topic>, Status> {
        reply(self.broker.topic(&request.into_inner().topic))
    }

    async fn list_topics(&self, request: Request<ListTopicsRequest>) -> Result<Response<ListTopicsResponse>, Status> {
        let ListTopicsRequest { project, page_size, page_token } = request.into_inner();
        let page = Page { size: page_size, token: page_token };
        let listed = self.broker.topics(&project, &page);
        reply(listed.map(|(topics, next_page_token)| ListTopicsResponse { topics, next_page_token }))
    }

    async fn list_topic_subscriptions(
        &self,
        request: Request<ListTopicSubscriptionsRequest>,
    ) -> Result<Response<ListTopicSubscriptionsResponse>, Status> {
        let ListTopicSubscriptionsRequest { topic, page_size, page_token } = request.into_inner();
        let page = Page { size: page_size, token: page_token };
        let listed = self.broker.topic_subscriptions(&topic, &page);
        reply(
            listed.map(|(subscriptions, next_page_token)| ListTopicSubscriptionsResponse {
                subscriptions,
                next_page_token,
            }),
        )
    }

    async fn delete_topic(&self, request: Request<DeleteTopicRequest>) -> Result<Response<Empty>, Status> {
        reply(self.broker.delete_topic(&request.into_inner().topic))
    }
}
