//! The demo of history: two waves of scans, the real programs, one of which is killed, and a check of every change and of
//! every webhook.

mod children;
mod history;
mod sinks;
mod told;
mod waves;

use std::io::Write;
use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use demo::{CheckReport, Child, POLL_INTERVAL, Ports};
use indicatif::HumanCount;
use tokio::time::Instant;

use self::children::Children;
use self::history::Sample;
use self::sinks::Sinks;
use self::told::Told;
use self::waves::{Fate, Services, Times};
use super::Error;
use super::sandbox::Sandbox;
use crate::local::scanner;
use crate::local::scanner::topic::Topic;

/// How long records live that are not scanned again. The consumer gets it as `--ttl`.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The time from the start until these records expire. They must be stored before.
const EXPIRY: Duration = Duration::from_secs(20);
/// Without progress for this long, the demo stops waiting.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// The settings of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The services that are scanned.
    pub services: NonZeroU32,
    /// A DynamoDB to use in place of the embedded one.
    pub dynamo: Option<String>,
}

/// Runs the demo. Returns whether every check passed.
pub async fn run(settings: &Settings, stop: impl Future<Output = ()>, out: &mut impl Write) -> Result<bool, Error> {
    let mut stop = pin!(stop);
    let sandbox = Sandbox::start().await?;
    tokio::select! {
        biased;
        () = &mut stop => Err(Error::Stopped),
        passed = show(&sandbox, settings, out) => passed,
    }
}

async fn show(sandbox: &Sandbox, settings: &Settings, out: &mut impl Write) -> Result<bool, Error> {
    let stage = Stage::set(sandbox, settings).await?;
    writeln!(out, "{}", stage.children)?;
    let services = Services::new(settings.services, Times::at(scanner::unix_now()));
    let opened = services.len();

    stage.publish(&services.first_wave()).await?;
    let first = stage.children.processes.start("changes-1", &["changes", "--webhooks"])?;
    stage.wait_for(opened, "the first wave").await?;
    writeln!(out, "Published {} scans. History has an entry for each service.", HumanCount(opened as u64))?;

    let second = stage.children.processes.start("changes-2", &["changes", "--webhooks"])?;
    let wave = services.second_wave();
    let (before, after) = wave.split_at(wave.len() / 2);
    stage.publish(before).await?;
    stage.wait_for(opened + 1, "the first change").await?;
    first.kill()?;
    let killed = Instant::now();
    writeln!(out, "Killed the instance that reads the stream, with SIGKILL, in the middle of the second wave.")?;
    stage.publish(after).await?;
    if settings.dynamo.is_some() {
        stage.expire(&services).await?;
    }
    let completed = stage.wait_for(services.events(), "the second wave").await;
    if completed.is_ok() {
        writeln!(out, "The other instance completed history {} s later.\n", killed.elapsed().as_secs())?;
    }
    let receipts = stage.sinks.receipts(&stage.children, &services).await?;
    let exited = second.stop().await?;
    let mut found = history::read(&stage.client, &stage.children).await?;
    // DynamoDB Local reports empty shards as trimmed. The checks show whether an entry is missing.
    let gaps = if settings.dynamo.is_some() { std::mem::take(&mut found.gaps).len() } else { 0 };
    writeln!(out, "{}", Sample(&found, &services))?;
    let told = Told { services: &services, receipts: &receipts };
    let mut checks = found.check(&services);
    checks.extend(told.check());
    writeln!(out, "Checked against the published messages, independently of the reader\n")?;
    for (check, subject, predicate) in &checks {
        write!(out, "{}", CheckReport { check, subject, predicate })?;
    }
    if gaps > 0 {
        writeln!(
            out,
            "  The reader reported {gaps} gaps, but no entry is missing: DynamoDB Local reports empty shards as lost."
        )?;
    }
    let mark = if exited { "✓" } else { "✗" };
    writeln!(out, "  {mark} the other instance stopped at SIGTERM with exit code 0")?;
    let (failed, duplicates) = (told.failed(), told.duplicates());
    let mark = if failed > 0 { "✓" } else { "✗" };
    writeln!(
        out,
        "  {mark} the first sink failed {failed} requests, which were repeated; {duplicates} webhooks came twice"
    )?;
    Ok(exited && failed > 0 && checks.iter().all(|(check, ..)| check.passed()))
}

/// Everything that runs beside the reader.
struct Stage<'a> {
    sandbox: &'a Sandbox,
    children: Children,
    client: Client,
    topic: Topic,
    sinks: Sinks,
    _consumer: Child,
}

impl Stage<'_> {
    /// Creates the topics, tables and subscriptions, and starts the sinks and the consumer.
    async fn set<'a>(sandbox: &'a Sandbox, settings: &Settings) -> Result<Stage<'a>, Error> {
        let environment = &sandbox.environment;
        let dynamo = settings.dynamo.clone().unwrap_or_else(|| environment.dynamo_url.clone());
        let ports = Ports::reserve()?;
        let children = Children::new(environment, dynamo, ports.addresses()?)?;
        children.processes.run("setup", &["setup", "--dead-letter-topic", environment.dead_letter_topic]).await?;
        children.processes.run("setup-changes", &["setup", "changes"]).await?;
        children.processes.run("setup-webhooks", &["setup", "webhooks"]).await?;
        let sinks = Sinks::start(&children, ports).await?;
        let client = crate::dynamo::connect(Some(children.dynamo()))
            .await
            .map_err(|problem| Error::Changes(problem.to_string()))?;
        let topic = Topic::connect(&environment.topic_name(), Some(&environment.pubsub_host)).await?;
        let lifetime = format!("{}s", LIFETIME.as_secs());
        let arguments = ["consumer", "--ttl", &lifetime, "--dead-letter-topic", environment.dead_letter_topic];
        let consumer = children.processes.start("consumer", &arguments)?;
        Ok(Stage { sandbox, children, client, topic, sinks, _consumer: consumer })
    }

    /// Publishes the messages and waits until the consumer has settled them.
    async fn publish(&self, messages: &[bytes::Bytes]) -> Result<(), Error> {
        futures_util::future::try_join_all(messages.iter().map(|message| self.topic.publish(message.clone()))).await?;
        let mut progress = Progress::new();
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let backlog = self.sandbox.backlog();
            if backlog == 0 {
                return Ok(());
            }
            progress.note(backlog, || format!("the consumer left {backlog} scans"))?;
        }
    }

    /// Deletes the expired records, because DynamoDB Local takes many minutes to do so.
    async fn expire(&self, services: &Services) -> Result<(), Error> {
        // It rounds the times of deletions down to a minute.
        let expired = (services.times.expiring + LIFETIME.as_secs()).next_multiple_of(60);
        tokio::time::sleep(Duration::from_secs((expired + 1).saturating_sub(scanner::unix_now()))).await;
        for service in services.all.iter().filter(|service| service.fate == Fate::Expired) {
            history::delete(&self.client, &self.children, service).await?;
        }
        Ok(())
    }

    /// Waits until history has this many entries.
    async fn wait_for(&self, entries: usize, what: &str) -> Result<(), Error> {
        let mut progress = Progress::new();
        let bar = super::progress(entries as u64);
        bar.set_message(format!("entries after {what}"));
        loop {
            let found = history::count(&self.client, &self.children).await?;
            bar.set_position(found as u64);
            if found >= entries {
                bar.finish_and_clear();
                return Ok(());
            }
            progress.note(found, || format!("history has {found} of {entries} entries after {what}"))?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Notices that nothing happens any more.
struct Progress {
    last: Option<usize>,
    since: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress { last: None, since: Instant::now() }
    }

    fn note(&mut self, value: usize, what: impl FnOnce() -> String) -> Result<(), Error> {
        if self.last.replace(value) != Some(value) {
            self.since = Instant::now();
        }
        if self.since.elapsed() < MAX_IDLE {
            return Ok(());
        }
        Err(Error::Changes(format!("no progress for {} s: {}", MAX_IDLE.as_secs(), what())))
    }
}
