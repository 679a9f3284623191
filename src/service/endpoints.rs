//! The endpoints of both services: Google's and Amazon's own, or local servers.

use crate::{dynamo, pubsub};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `PUBSUB_EMULATOR_HOST`, `host:port`.
    pub pubsub: Option<String>,
    /// `AWS_ENDPOINT_URL_DYNAMODB` or `AWS_ENDPOINT_URL`.
    pub dynamo: Option<String>,
}

impl Endpoints {
    pub(crate) fn pubsub(&self) -> pubsub::Connection {
        pubsub::Connection::new(self.pubsub.as_deref())
    }

    pub(crate) async fn dynamo(&self) -> Result<dynamo::Client, dynamo::Problem> {
        dynamo::connect(self.dynamo.as_deref()).await
    }
}
