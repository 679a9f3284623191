//! Flags of `widget-registry local` and `widget-registry demo`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use dynamodb_local::Storage;

use super::ServeArgs;
use super::help::{exit_codes, heading, more};
use super::servers::ServersArgs;
use crate::local::demo;

const LOCAL_HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry local\n",
    "  widget-registry local --data ~/widgets\n\n",
    exit_codes!(),
    more!()
);

const DEMO_HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry demo\n",
    "  widget-registry demo --count 100000 --requests 50000\n\n",
    heading!("Exit codes"),
    "  0    every check passed\n",
    "  1    a check failed, or the demo could not run\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// Run the API on an embedded DynamoDB
#[derive(Debug, clap::Args)]
#[command(after_help = LOCAL_HELP)]
pub struct LocalArgs {
    /// Address of the DynamoDB server. Everyone who can reach it can read and write everything, without a password
    #[arg(
        long,
        env = "WIDGET_REGISTRY_HOST",
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        help_heading = "Embedded DynamoDB"
    )]
    host: IpAddr,

    /// Port of the DynamoDB server; 0 chooses a free one
    #[arg(
        long,
        env = "WIDGET_REGISTRY_DYNAMO_PORT",
        value_name = "PORT",
        default_value_t = 8000,
        help_heading = "Embedded DynamoDB"
    )]
    dynamo_port: u16,

    /// Directory that keeps the tables across restarts; without it they are kept in memory
    #[arg(long, env = "WIDGET_REGISTRY_DATA", value_name = "DIRECTORY", help_heading = "Embedded DynamoDB")]
    data: Option<PathBuf>,

    #[command(flatten)]
    serve: ServeArgs,
}

impl LocalArgs {
    pub fn dynamo(&self) -> (SocketAddr, Storage) {
        let storage = self.data.clone().map_or(Storage::Memory, Storage::Directory);
        (SocketAddr::new(self.host, self.dynamo_port), storage)
    }

    /// Returns the flags of the API.
    pub fn serve(&self) -> &ServeArgs {
        &self.serve
    }
}

/// Run two instances of the API on an embedded DynamoDB, and verify every answer
#[derive(Debug, clap::Args)]
#[command(after_help = DEMO_HELP)]
pub struct DemoArgs {
    /// Widgets to create
    #[arg(long, value_name = "NUMBER", default_value = "10000", help_heading = "Options")]
    count: NonZeroU32,

    /// Requests that connect, replace, disconnect, delete and read widgets
    #[arg(long, value_name = "NUMBER", default_value = "6000", help_heading = "Options")]
    requests: usize,

    /// Chooses the requests
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Options")]
    seed: u64,

    #[command(flatten)]
    servers: ServersArgs,
}

impl DemoArgs {
    pub fn settings(&self) -> demo::Settings {
        demo::Settings { count: self.count, requests: self.requests, dynamo: self.servers.dynamo(), seed: self.seed }
    }
}
