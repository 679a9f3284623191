//! What a measurement stands on: a Pub/Sub server of its own, a table, and the program between them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use mini_scan::local::dynamo::Storage;
use mini_scan::local::generator::{Kind, Message};
use mini_scan::local::scanner::{self, topic::Topic};
use mini_scan::local::servers::{self, Port, Running};
use mini_scan::scan::Reason;
use mini_scan::service::{Endpoints, setup};
use pubsub_local::{Counts, Observer};

use crate::null_dynamo::NullDynamo;
use crate::scenario::{Program, Table};

pub(crate) const SUBSCRIPTION: &str = "projects/bench/subscriptions/scan-sub";
pub(crate) const TABLE: &str = "scan-results";
const TOPIC: &str = "projects/bench/topics/scan-topic";

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FREE_PORT: Port = Port { number: 0, flag: "--port" };

/// A Pub/Sub server with a topic and a subscription, empty.
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
        // What kind each is, is not asked here.
        let message = |payload| Message { payload, kind: Kind::Broken(Reason::MalformedJson) };
        let send = |payload| self.topic.publish(payload);
        scanner::publish(messages.into_iter().map(message), None, send, std::future::pending(), |_| {}).await?;
        Ok(())
    }

    pub(crate) fn counts(&self) -> anyhow::Result<Counts> {
        self.observer.counts(SUBSCRIPTION).context("the subscription is gone")
    }

    /// Waits, looking every few milliseconds, until `reached`.
    pub(crate) async fn until(&self, within: Duration, reached: impl Fn(&Counts) -> bool) -> anyhow::Result<()> {
        let wait = async {
            while !reached(&self.counts()?) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            anyhow::Ok(())
        };
        let late = || format!("not reached within {within:?}: {:?}", self.counts());
        tokio::time::timeout(within, wait).await.with_context(late)?
    }
}

/// A table of scans that answers until it is dropped.
pub(crate) enum Store {
    Null(NullDynamo),
    Engine { endpoint: String, _running: Running },
}

impl Store {
    /// `known` are the keys of the records that a null table begins with.
    pub(crate) async fn start(table: Table, known: &[String]) -> anyhow::Result<Store> {
        match table {
            Table::Null(answers) => Ok(Store::Null(NullDynamo::start(answers, known)?)),
            Table::Engine => {
                let running = servers::start_dynamo(LOOPBACK, FREE_PORT, Storage::Memory.open()?).await?;
                let endpoint = format!("http://{}", running.address());
                let endpoints = Endpoints { pubsub: None, dynamo: Some(endpoint.clone()) };
                setup::table(&endpoints, TABLE, &mut io::sink()).await?;
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

    /// What counts what it was asked: the null table alone.
    pub(crate) fn null(&self) -> Option<&NullDynamo> {
        match self {
            Store::Null(null) => Some(null),
            Store::Engine { .. } => None,
        }
    }
}

/// The command that runs a program between the two; `consumer` is the file of the consumer.
pub(crate) fn command(program: Program, consumer: &Path, pubsub: &Pubsub, store: &Store) -> anyhow::Result<Command> {
    match program {
        Program::Consumer(flags) => {
            let mut command = Command::new(consumer);
            command.args(["consumer", "--project", "bench", "--dead-letter-topic", "scan-dead-letter"]).args(flags);
            reach(&mut command, pubsub, store);
            Ok(command)
        }
        Program::Worker => floor(&["worker", &pubsub.host]),
        Program::Reader => floor(&["reader", &pubsub.host]),
    }
}

/// Tells a consumer where both are.
pub(crate) fn reach(command: &mut Command, pubsub: &Pubsub, store: &Store) {
    command.env("PUBSUB_EMULATOR_HOST", &pubsub.host).env("AWS_ENDPOINT_URL_DYNAMODB", store.endpoint());
}

/// This binary again, as one of the floors.
pub(crate) fn floor(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("floor").args(arguments);
    Ok(command)
}
