//! gRPC: translates between `google.pubsub.v1` and the broker. This module has no logic of its own.

mod publisher;
mod streaming;
mod subscriber;

use std::sync::Arc;

use tonic::service::Routes;
use tonic::{Response, Status};

use super::broker::Broker;
use super::error::{ApiError, Code};
use super::wire::{PublisherServer, SubscriberServer};

// Larger than the broker's limit, so that clients get the error of the broker and not of the transport.
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

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        let code = match error.code {
            Code::InvalidArgument => tonic::Code::InvalidArgument,
            Code::NotFound => tonic::Code::NotFound,
            Code::AlreadyExists => tonic::Code::AlreadyExists,
            Code::Unimplemented => tonic::Code::Unimplemented,
            Code::Unavailable => tonic::Code::Unavailable,
        };
        Status::new(code, error.to_string())
    }
}

fn reply<T>(result: Result<T, ApiError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}

#[cfg(test)]
mod tests;
