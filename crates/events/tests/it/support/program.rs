//! The real program.

use super::process::launch;
pub(crate) use super::process::{Exit, Launch, Program, Signal};
use super::servers::Servers;

/// Returns `event-pipeline` with `arguments`. Its HTTP server is off by default, because tests run concurrently.
pub(crate) fn event_pipeline<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Launch {
    launch(env!("CARGO_BIN_EXE_event-pipeline"), arguments).env("EVENT_PIPELINE_HTTP_LISTEN", "off")
}

impl Launch {
    /// Points the program at these servers by the usual environment variables.
    pub(crate) fn against(self, servers: &Servers) -> Launch {
        self.env("AWS_ENDPOINT_URL_SQS", &servers.sqs.endpoint)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &servers.dynamo.endpoint)
            .env("AWS_REGION", "us-east-1")
    }
}
