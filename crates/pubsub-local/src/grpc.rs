//! gRPC: translates between `google.pubsub.v1` and the broker. Decides nothing.

mod publisher;
mod streaming;
mod subscriber;

use std::sync::Arc;

use tonic::service::Routes;
use tonic::{Response, Status};

use super::broker::Broker;
use super::refusal::{Code, Refusal};
use super::wire::{PublisherServer, SubscriberServer};

// Above what a request may hold, so that the refusal is the broker's with its text, not the transport's.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

#[derive(Clone)]
struct Service {
    broker: Arc<Broker>,
}

pub(super) fn router(broker: Arc<Broker>) -> axum::Router {
    let service = Arc::new(Service { broker });
    let publisher = PublisherServer::from_arc(Arc::clone(&service))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let subscriber = SubscriberServer::from_arc(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Routes::new(publisher).add_service(subscriber).into_axum_router()
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let code = match refusal.code {
            Code::InvalidArgument => tonic::Code::InvalidArgument,
            Code::NotFound => tonic::Code::NotFound,
            Code::AlreadyExists => tonic::Code::AlreadyExists,
            Code::Unimplemented => tonic::Code::Unimplemented,
            Code::Unavailable => tonic::Code::Unavailable,
        };
        Status::new(code, refusal.to_string())
    }
}

fn reply<T>(result: Result<T, Refusal>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}

#[cfg(test)]
mod tests;
