//! Flags of `event-pipeline local` and `event-pipeline demo`.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use dynamodb_local::Storage;

use super::help::{exit_codes, heading, more};
use super::servers::ServersArgs;
use crate::local::{demo, servers};

const LOCAL_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline local\n",
    "  event-pipeline local --data ~/events\n\n",
    exit_codes!(),
    more!()
);

const DEMO_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline demo\n",
    "  event-pipeline demo --count 20000 --direct-dispatch\n\n",
    heading!("Exit codes"),
    "  0    every check passed\n",
    "  1    a check failed, or the demo could not run\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// Run an embedded SQS and an embedded DynamoDB
#[derive(Debug, clap::Args)]
#[command(after_help = LOCAL_HELP, next_help_heading = "Options")]
pub struct LocalArgs {
    /// Address to listen on. Everyone who can reach it can read and write everything, without a password
    #[arg(long, env = "EVENT_PIPELINE_HOST", value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,

    /// Port of the SQS server; 0 chooses a free one
    #[arg(long, env = "EVENT_PIPELINE_SQS_PORT", value_name = "PORT", default_value_t = 9324)]
    sqs_port: u16,

    /// Port of the DynamoDB server; 0 chooses a free one
    #[arg(long, env = "EVENT_PIPELINE_DYNAMO_PORT", value_name = "PORT", default_value_t = 8000)]
    dynamo_port: u16,

    /// Directory that keeps the tables across restarts; without it they are kept in memory
    #[arg(long, env = "EVENT_PIPELINE_DATA", value_name = "DIRECTORY")]
    data: Option<PathBuf>,
}

impl LocalArgs {
    pub fn settings(&self) -> servers::Settings {
        servers::Settings {
            host: self.host,
            sqs_port: self.sqs_port,
            dynamo_port: self.dynamo_port,
            storage: self.data.clone().map_or(Storage::Memory, Storage::Directory),
        }
    }
}

/// Run servers, sinks and the programs, send events, and verify where each message ends
#[derive(Debug, clap::Args)]
#[command(after_help = DEMO_HELP)]
pub struct DemoArgs {
    /// Valid events to send, beside duplicates and invalid messages
    #[arg(long, value_name = "NUMBER", default_value = "2000", help_heading = "Options")]
    count: NonZeroU32,

    /// Let the processor deliver right after the put, without waiting for the stream
    #[arg(long, help_heading = "Options")]
    direct_dispatch: bool,

    #[command(flatten)]
    servers: ServersArgs,
}

impl DemoArgs {
    pub fn settings(&self) -> demo::Settings {
        let endpoints = self.servers.endpoints();
        demo::Settings { count: self.count, sqs: endpoints.sqs, dynamo: endpoints.dynamo, direct: self.direct_dispatch }
    }
}
