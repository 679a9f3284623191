//! Flags of `mini-scan local`.

use std::net::IpAddr;
use std::path::PathBuf;

use super::help::{exit_codes, heading, more};
use crate::local::servers::{Port, Settings};
use dynamodb_local::Storage;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan local\n",
    "  mini-scan local dynamo --data ~/scans\n\n",
    exit_codes!(),
    more!()
);

/// Run an embedded Pub/Sub server and an embedded DynamoDB, or one of them
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = HELP, next_help_heading = "Options")]
pub struct LocalArgs {
    #[command(subcommand)]
    server: Option<Server>,

    #[command(flatten)]
    host: Host,

    /// Port of the Pub/Sub server; 0 chooses a free one
    #[arg(long, env = "MINI_SCAN_PUBSUB_PORT", value_name = "PORT", default_value_t = 8085)]
    pubsub_port: u16,

    /// Port of the DynamoDB server; 0 chooses a free one
    #[arg(long, env = "MINI_SCAN_DYNAMO_PORT", value_name = "PORT", default_value_t = 8000)]
    dynamo_port: u16,

    #[command(flatten)]
    data: Data,
}

#[derive(Debug, clap::Subcommand)]
enum Server {
    /// Run only the Pub/Sub server
    Pubsub {
        #[command(flatten)]
        host: Host,
        /// Port to listen on; 0 chooses a free one
        #[arg(long, env = "MINI_SCAN_PUBSUB_PORT", value_name = "PORT", default_value_t = 8085)]
        port: u16,
    },
    /// Run only the DynamoDB server
    Dynamo {
        #[command(flatten)]
        host: Host,
        /// Port to listen on; 0 chooses a free one
        #[arg(long, env = "MINI_SCAN_DYNAMO_PORT", value_name = "PORT", default_value_t = 8000)]
        port: u16,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options")]
struct Host {
    /// Address to listen on. Everyone who can reach it can read and write everything, without a password
    #[arg(long, env = "MINI_SCAN_HOST", value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options")]
struct Data {
    /// Directory that keeps the tables across restarts; without it they are kept in memory
    #[arg(long = "data", env = "MINI_SCAN_DATA", value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl Data {
    fn storage(&self) -> Storage {
        self.directory.clone().map_or(Storage::Memory, Storage::Directory)
    }
}

impl LocalArgs {
    /// Returns which servers to run, and where.
    pub fn settings(&self) -> Settings {
        let port = |number| Some(Port { number, flag: "--port" });
        match &self.server {
            None => Settings {
                host: self.host.host,
                pubsub: Some(Port { number: self.pubsub_port, flag: "--pubsub-port" }),
                dynamo: Some(Port { number: self.dynamo_port, flag: "--dynamo-port" }),
                storage: self.data.storage(),
            },
            Some(Server::Pubsub { host, port: number }) => {
                Settings { host: host.host, pubsub: port(*number), dynamo: None, storage: Storage::Memory }
            }
            Some(Server::Dynamo { host, port: number, data }) => {
                Settings { host: host.host, pubsub: None, dynamo: port(*number), storage: data.storage() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        local: LocalArgs,
    }

    fn parse(line: &str) -> Settings {
        Command::try_parse_from(line.split(' ')).unwrap().local.settings()
    }

    #[test]
    fn by_default_both_servers_run_on_their_usual_ports_on_loopback() {
        let settings = parse("local");
        assert!(settings.host.is_loopback());
        assert_eq!(settings.pubsub.map(|port| port.number), Some(8085));
        assert_eq!(settings.dynamo.map(|port| port.number), Some(8000));
        assert_eq!(settings.storage, Storage::Memory);
    }

    #[test]
    fn a_command_runs_one_server_alone() {
        let pubsub = parse("local pubsub --port 1");
        assert_eq!((pubsub.pubsub, pubsub.dynamo), (Some(Port { number: 1, flag: "--port" }), None));
        let dynamo = parse("local dynamo --data here --host ::1");
        assert_eq!((dynamo.pubsub, dynamo.dynamo.map(|port| port.number)), (None, Some(8000)));
        assert_eq!((dynamo.storage, dynamo.host.to_string()), (Storage::Directory("here".into()), "::1".to_owned()));
    }

    #[test]
    fn a_flag_that_would_be_ignored_is_refused() {
        assert!(Command::try_parse_from(["local", "--data", "here", "dynamo"]).is_err());
        assert!(Command::try_parse_from(["local", "pubsub", "--data", "here"]).is_err());
    }
}
