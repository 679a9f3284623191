//! The embedded DynamoDB in a process of its own, and the widgets that are connected.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;
use widget_registry::local::servers::Dynamo;

pub(crate) const AGENT: &str = "bench-widgets";
pub(crate) const TABLE: &str = "widgets";
const WIDGETS: u32 = 60_000;
const BATCH: usize = 25;
const BATCHES: usize = 8;
const PORTS: [&str; 3] = ["P", "Q", "R"];

/// The running process. Dropping it stops it.
pub(crate) struct Store {
    child: Child,
    pub(crate) url: String,
}

impl Store {
    /// Starts this program again, as the store, and creates the tables.
    pub(crate) fn start(program: &Path) -> anyhow::Result<Store> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("store").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the store")?;
        let stdout = child.stdout.take().context("the store has no output")?;
        let mut store = Store { child, url: String::new() };
        BufReader::new(stdout).read_line(&mut store.url)?;
        store.url.truncate(store.url.trim_end().len());
        ensure!(!store.url.is_empty(), "the store did not start");
        let mut setup = Command::new(program);
        let setup = setup.arg("setup").env("AWS_ENDPOINT_URL_DYNAMODB", &store.url).stdout(Stdio::null()).status()?;
        ensure!(setup.success(), "`setup` failed: {setup}");
        Ok(store)
    }

    /// Returns the ID of the process.
    pub(crate) fn process(&self) -> String {
        self.child.id().to_string()
    }

    /// Starts a store with widgets that are not connected.
    pub(crate) async fn filled(program: &Path) -> anyhow::Result<Store> {
        let store = Store::start(program)?;
        let client = dynamodb::connect(Some(&store.url), AGENT).await?;
        let numbers: Vec<u32> = (0..WIDGETS).collect();
        let batches: Vec<Vec<WriteRequest>> = numbers
            .chunks(BATCH)
            .map(|numbers| numbers.iter().map(|number| put(*number)).collect())
            .collect::<anyhow::Result<_>>()?;
        let writes = batches.into_iter().map(async |batch| {
            let written = client.batch_write_item().request_items(TABLE, batch).send().await?;
            ensure!(written.unprocessed_items().is_none_or(HashMap::is_empty), "the store did not take all widgets");
            anyhow::Ok(())
        });
        stream::iter(writes).buffer_unordered(BATCHES).try_collect::<()>().await?;
        Ok(store)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves the store until the parent closes the input, which it also does when it ends in any way.
pub(crate) async fn run() -> anyhow::Result<()> {
    let mut dynamo = Dynamo::in_memory().await?;
    println!("{}", dynamo.url());
    let (closed, parent) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = closed.send(());
    });
    tokio::select! {
        _ = parent => Ok(()),
        why = dynamo.failure() => anyhow::bail!(why),
    }
}

fn put(number: u32) -> anyhow::Result<WriteRequest> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let item = PutRequest::builder()
        .item("serial", text(&serial(number)))
        .item("name", text("widget"))
        .item("ports", AttributeValue::Ss(PORTS.map(str::to_owned).to_vec()))
        .item("incarnation", text("00000000-0000-4000-8000-000000000000"))
        .item("version", AttributeValue::N("1".to_owned()))
        .item("created_at", text("2026-11-22T00:00:00.000Z"))
        .item("updated_at", text("2026-11-22T00:00:00.000Z"));
    Ok(WriteRequest::builder().put_request(item.build()?).build())
}

fn serial(number: u32) -> String {
    format!("w-{number:08}")
}

/// A connection to make.
pub(crate) struct Pair {
    pub(crate) port: &'static str,
    pub(crate) serial: String,
    pub(crate) peer: String,
}

/// Connections of free ports, which all workers share.
#[derive(Debug, Clone)]
pub(crate) struct Pairs(Arc<AtomicU32>);

impl Pairs {
    pub(crate) fn new() -> Pairs {
        Pairs(Arc::default())
    }

    pub(crate) fn next(&self) -> anyhow::Result<Pair> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let (round, pair) = (number / (WIDGETS / 2), number % (WIDGETS / 2));
        let port = PORTS.get(round as usize).context("all ports are connected: create more widgets")?;
        Ok(Pair { port, serial: serial(2 * pair), peer: serial(2 * pair + 1) })
    }
}
