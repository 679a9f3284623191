//! The real program, and other programs that use it.

use super::dynamo::Dynamo;
use super::process;
pub(crate) use super::process::{Exit, Launch, Output, Program, Signal};
use super::pubsub::Pubsub;

/// Returns `mini-scan` with `arguments`.
pub(crate) fn mini_scan<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Launch {
    launch(env!("CARGO_BIN_EXE_mini-scan"), arguments)
}

/// Returns a program with `arguments`. The HTTP server of `mini-scan` is off by default, because tests run concurrently.
pub(crate) fn launch<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Launch {
    process::launch(program, arguments).env("MINI_SCAN_HTTP_LISTEN", "off")
}

impl Launch {
    /// Points the program at these servers by the usual environment variables.
    pub(crate) fn against(self, pubsub: &Pubsub, dynamo: &Dynamo) -> Launch {
        self.env("PUBSUB_EMULATOR_HOST", &pubsub.address)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &dynamo.endpoint)
            .env("AWS_REGION", "us-east-1")
    }
}
