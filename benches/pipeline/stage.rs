//! The environment of a measurement: its own Pub/Sub server, a table, and the program between them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use dynamodb_local::Storage;
use mini_scan::local::generator::{Kind, Message};
use mini_scan::local::scanner::{self, topic::Topic};
use mini_scan::local::servers::{self, Port, Running};
use mini_scan::scan::Reason;
use mini_scan::service::{Endpoints, setup};
use pubsub_local::{Counts, Observer};

use crate::null_dynamo::NullDynamo;
use crate::record::{SUBSCRIPTION, TABLE};
use crate::scenario::{Program, Table};

const TOPIC: &str = "projects/bench/topics/scan-topic";

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FREE_PORT: Port = Port { number: 0, flag: "--port" };

/// A Pub/Sub server with an empty topic and subscription.
pub(crate) struct Pubsub {
    host: String,
    observer: Observer,
    topic: Topic,
    _running: Running,
}

impl Pubsub {
    pub(crate) async fn start() -> anyhow::Result<Pubsub> {
        let (running, observer) = servers::start_pubsub(LOOPBACK, FREE_PORT).await?;
        let host = running.address().to_string();
        let names = setup::Pubsub {
            topic: TOPIC.to_owned(),
            subscription: SUBSCRIPTION.to_owned(),
            dead_letter_topic: "projects/bench/topics/scan-dead-letter".to_owned(),
            dead_letter_subscription: "projects/bench/subscriptions/scan-dead-letter".to_owned(),
        };
        setup::pubsub(&Endpoints { pubsub: Some(host.clone()), dynamo: None }, &names, &mut io::sink()).await?;
        let topic = Topic::connect(TOPIC, Some(&host)).await?;
        Ok(Pubsub { host, observer, topic, _running: running })
    }

    pub(crate) async fn publish(&self, messages: Vec<Bytes>) -> anyhow::Result<()> {
        // The benchmark ignores the kind of a message.
        let message = |payload| Message { payload, kind: Kind::Broken(Reason::MalformedJson) };
        let send = |payload| self.topic.publish(payload);
        scanner::publish(messages.into_iter().map(message), None, send, std::future::pending(), |_| {}).await?;
        Ok(())
    }

    pub(crate) fn counts(&self) -> anyhow::Result<Counts> {
        self.observer.counts(SUBSCRIPTION).context("the subscription does not exist")
    }

    /// Polls every few milliseconds until `reached` returns true.
    pub(crate) async fn until(&self, limit: Duration, reached: impl Fn(&Counts) -> bool) -> anyhow::Result<()> {
        let wait = async {
            while !reached(&self.counts()?) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            anyhow::Ok(())
        };
        let late = || format!("not reached within {limit:?}: {:?}", self.counts());
        tokio::time::timeout(limit, wait).await.with_context(late)?
    }
}

/// A table of scans. Dropping it stops its server.
pub(crate) enum Store {
    Null(NullDynamo),
    Engine { endpoint: String, _running: Running },
}

impl Store {
    /// Starts a table; `known` are the keys of a null table's initial records.
    pub(crate) async fn start(table: Table, known: &[String]) -> anyhow::Result<Store> {
        match table {
            Table::Null(answers) => Ok(Store::Null(NullDynamo::start(answers, known)?)),
            Table::Engine => {
                let running = servers::start_dynamo(LOOPBACK, FREE_PORT, Storage::Memory.open()?).await?;
                let endpoint = format!("http://{}", running.address());
                let endpoints = Endpoints { pubsub: None, dynamo: Some(endpoint.clone()) };
                setup::table(&endpoints, TABLE, &[], &mut io::sink()).await?;
                Ok(Store::Engine { endpoint, _running: running })
            }
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        match self {
            Store::Null(null) => null.endpoint(),
            Store::Engine { endpoint, .. } => endpoint.clone(),
        }
    }

    /// Returns the null table, which alone counts its traffic.
    pub(crate) fn null(&self) -> Option<&NullDynamo> {
        match self {
            Store::Null(null) => Some(null),
            Store::Engine { .. } => None,
        }
    }
}

/// The measured executables.
#[derive(Debug, Clone)]
pub(crate) struct Executables {
    pub(crate) consumer: PathBuf,
    pub(crate) baselines: PathBuf,
}

impl Executables {
    /// Returns the command that runs a program between the two servers.
    pub(crate) fn command(&self, program: Program, pubsub: &Pubsub, store: &Store) -> Command {
        match program {
            Program::Consumer(flags) => {
                let mut command = Command::new(&self.consumer);
                command.args(["consumer", "--project", "bench", "--dead-letter-topic", "scan-dead-letter"]).args(flags);
                reach(&mut command, pubsub, store);
                command
            }
            Program::BareConsumer => self.baseline(&["consumer", &pubsub.host, &store.endpoint()]),
            Program::Worker => self.baseline(&["worker", &pubsub.host]),
            Program::Reader => self.baseline(&["reader", &pubsub.host]),
        }
    }

    /// Returns the command that runs one of the baselines.
    pub(crate) fn baseline(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.baselines);
        command.args(arguments);
        command
    }
}

/// Points a consumer at both servers.
pub(crate) fn reach(command: &mut Command, pubsub: &Pubsub, store: &Store) {
    command.env("PUBSUB_EMULATOR_HOST", &pubsub.host).env("AWS_ENDPOINT_URL_DYNAMODB", store.endpoint());
}
