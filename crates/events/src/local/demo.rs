//! The demo: the embedded servers, two sinks, the real programs as processes, and a check of where each message ended.

mod events;
mod found;

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use demo::{CheckReport, Child, POLL_INTERVAL, Ports, Processes};
use dynamodb_local::Storage;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use self::events::{CLIENTS, Events, NOBODY, Route, SinkName};
use self::found::{Found, Reader};
use super::servers::{self, Servers};

const SINKS: [&str; 3] = ["first-sink", "second-sink", "third-sink"];
/// How long the second sink fails, from its first webhook on. The first retry comes later.
const FAILS: &str = "3s";
/// Without progress for this long, the demo stops waiting and reports the results so far.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// The settings of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The valid events.
    pub count: NonZeroU32,
    /// Servers to use in place of the embedded ones. Their queues and tables get new names.
    pub sqs: Option<String>,
    pub dynamo: Option<String>,
    /// Delivers without waiting for the stream.
    pub direct: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Servers(#[from] servers::Error),
    #[error("the demo failed: {0}")]
    Process(#[from] demo::Error),
    #[error("the demo failed: {0}")]
    Failed(String),
    #[error("the demo was stopped before the end, so no results were checked")]
    Stopped,
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Runs the demo. Returns whether every check passed.
pub async fn run(settings: &Settings, stop: impl Future<Output = ()>, out: &mut impl Write) -> Result<bool, Error> {
    let mut stop = pin!(stop);
    tokio::select! {
        biased;
        () = &mut stop => Err(Error::Stopped),
        passed = show(settings, out) => passed,
    }
}

async fn show(settings: &Settings, out: &mut impl Write) -> Result<bool, Error> {
    let mut stage = Stage::set(settings).await?;
    writeln!(out, "{stage}")?;
    let events = Events::new(settings.count);

    let start = Instant::now();
    stage.send("events", &events.first_wave()).await?;
    stage.wait_until_empty("the queue to be empty").await?;
    // The first body of an id wins, so those that conflict come later.
    stage.send("conflicts", &events.conflicts()).await?;
    stage.wait_until_empty("the queue to be empty").await?;
    stage.wait_for(&events, "webhooks and dead letters").await?;
    writeln!(
        out,
        "Sent {} messages, all of them settled after {:.1} s\n",
        events.messages(),
        start.elapsed().as_secs_f64()
    )?;
    let found = stage.found().await?;
    write!(out, "{found}")?;

    writeln!(out, "\nA client without a route got one, and its dead letters were redriven:\n")?;
    stage.add_missing_route().await?;
    let redriven = stage.processes.run("redrive", &["dlq", "redrive", "deliver", "--reason", "no_route"]).await?;
    redriven.lines().try_for_each(|line| writeln!(out, "  {line}"))?;
    writeln!(out)?;
    let after = stage.wait_for_redriven(&events).await?;
    let mut checks = found.check(&events);
    checks.extend(after.check_redriven(&events));
    let exited = stage.stop().await?;
    writeln!(out, "Checked against the messages that were sent, independently of the programs\n")?;
    for (check, subject, predicate) in &checks {
        write!(out, "{}", CheckReport { check, subject, predicate })?;
    }
    let mark = if exited { "✓" } else { "✗" };
    writeln!(out, "  {mark} the processor and the deliverer stopped at SIGTERM with exit code 0")?;
    let (failed, duplicates) = (after.failed_requests(), after.duplicates());
    let mark = if failed > 0 { "✓" } else { "✗" };
    writeln!(
        out,
        "  {mark} the second sink failed {failed} requests, which were repeated; {duplicates} webhooks came twice"
    )?;
    Ok(exited && failed > 0 && checks.iter().all(|(check, ..)| check.passed()))
}

/// Everything that runs.
struct Stage {
    processes: Processes,
    reader: Reader,
    addresses: [SocketAddr; 3],
    processor: Child,
    deliverer: Child,
    // Dropped after the programs that use them.
    sinks: Vec<Child>,
    _ports: Ports<3>,
    _servers: Option<Servers>,
    servers: [String; 2],
}

impl Stage {
    /// Creates the queues, tables and routes, and starts the sinks and the programs.
    async fn set(settings: &Settings) -> Result<Stage, Error> {
        let local = servers::Settings {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            sqs_port: 0,
            dynamo_port: 0,
            storage: Storage::Memory,
        };
        let embedded = match (&settings.sqs, &settings.dynamo) {
            (Some(_), Some(_)) => None,
            _ => Some(Servers::start(&local).await?),
        };
        let url = |given: &Option<String>, url: fn(&Servers) -> String| {
            given.clone().or_else(|| embedded.as_ref().map(url)).unwrap_or_default()
        };
        let (sqs, dynamo) = (url(&settings.sqs, Servers::sqs_url), url(&settings.dynamo, Servers::dynamo_url));
        let ports = Ports::<3>::reserve()?;
        let addresses = ports.addresses()?;
        let names = found::Names::new();
        let processes = processes(&names, [&sqs, &dynamo], addresses)?;
        processes.run("setup", &["setup", "--wait"]).await?;
        let mut secrets = String::new();
        for route in CLIENTS {
            secrets += &add_route(&processes, addresses, &route).await?;
            secrets.push('\n');
        }
        let first = sink(&processes, SINKS[0], addresses[0], &secrets, &[]).await?;
        let second = sink(&processes, SINKS[1], addresses[1], &secrets, &["--fail-for", FAILS]).await?;
        let direct: &[&str] = if settings.direct { &["processor", "--direct-dispatch"] } else { &["processor"] };
        let processor = processes.start("processor", direct)?;
        let deliverer = processes.start("deliver", &["deliver"])?;
        let reader = Reader::connect(&sqs, &dynamo, names).await.map_err(Error::Failed)?;
        Ok(Stage {
            processes,
            reader,
            addresses,
            processor,
            deliverer,
            sinks: vec![first, second],
            _ports: ports,
            _servers: embedded,
            servers: [sqs, dynamo],
        })
    }

    /// Sends documents, one per line.
    async fn send(&self, name: &str, lines: &[String]) -> Result<(), Error> {
        let file = self.processes.write(name, &(lines.join("\n") + "\n"))?;
        self.processes.run("send", &["send", &file]).await?;
        Ok(())
    }

    /// Adds the route of the client that has none, and starts its sink.
    async fn add_missing_route(&mut self) -> Result<(), Error> {
        let route = Route { client: NOBODY, sink: SinkName::Third, event_types: &[] };
        let secret = add_route(&self.processes, self.addresses, &route).await?;
        self.sinks.push(sink(&self.processes, SINKS[2], self.addresses[2], &secret, &[]).await?);
        Ok(())
    }

    async fn found(&self) -> Result<Found, Error> {
        let logs = SINKS.iter().take(self.sinks.len()).map(|name| self.processes.output(name));
        let logs = logs.collect::<io::Result<Vec<_>>>()?;
        self.reader.read(&logs).await.map_err(Error::Failed)
    }

    async fn wait_until_empty(&self, what: &str) -> Result<(), Error> {
        let mut progress = Progress::new(what);
        while progress.note(self.reader.backlog().await.map_err(Error::Failed)?, self)? > 0 {
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Waits until each event and each other message is where it must be, or until there is no more progress.
    async fn wait_for(&self, events: &Events, what: &str) -> Result<(), Error> {
        let mut progress = Progress::new(what);
        loop {
            let missing = self.found().await?.missing(events);
            if progress.note(missing, self).unwrap_or_default() == 0 {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn wait_for_redriven(&self, events: &Events) -> Result<Found, Error> {
        let mut progress = Progress::new("the redriven webhooks");
        loop {
            let found = self.found().await?;
            if progress.note(found.missing_redriven(events), self).unwrap_or_default() == 0 {
                return Ok(found);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns whether both programs ended with exit code 0.
    async fn stop(self) -> Result<bool, Error> {
        Ok(self.processor.stop().await? & self.deliverer.stop().await?)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [sqs, dynamo] = &self.servers;
        let [first, second, third] = self.addresses;
        writeln!(f, "Events of clients: queue, table, and one webhook per event\n")?;
        writeln!(f, "  SQS       {sqs}")?;
        writeln!(f, "  DynamoDB  {dynamo}")?;
        writeln!(f, "  Sinks     http://{first}, http://{second}, which fails for {FAILS}, and later http://{third}")
    }
}

fn processes(names: &found::Names, [sqs, dynamo]: [&str; 2], sinks: [SocketAddr; 3]) -> Result<Processes, Error> {
    let mut processes = Processes::new()?;
    let key = processes.write("key", &BASE64.encode(rand::random::<[u8; 32]>()))?;
    let targets = sinks.map(|sink| sink.to_string()).join(",");
    for (name, value) in [
        ("AWS_ENDPOINT_URL_SQS", sqs),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamo),
        ("EVENT_PIPELINE_QUEUE", &names.queue),
        ("EVENT_PIPELINE_DEAD_LETTER_QUEUE", &names.dead),
        ("EVENT_PIPELINE_DELIVER_DEAD_LETTER_QUEUE", &names.deliver_dead),
        ("EVENT_PIPELINE_EVENTS_TABLE", &names.events),
        ("EVENT_PIPELINE_ROUTES_TABLE", &names.routes),
        ("EVENT_PIPELINE_DELIVERIES_TABLE", &names.deliveries),
        ("EVENT_PIPELINE_LEASES_TABLE", &names.leases),
        ("EVENT_PIPELINE_SECRET_KEY_FILE", &key),
        ("EVENT_PIPELINE_ALLOW_HTTP", "true"),
        ("EVENT_PIPELINE_ALLOW_TARGET", &targets),
        ("EVENT_PIPELINE_HTTP_LISTEN", "off"),
        ("EVENT_PIPELINE_LOG_FORMAT", "text"),
    ] {
        processes.set(name, value);
    }
    Ok(processes)
}

/// Adds a route. Returns its secret.
async fn add_route(processes: &Processes, sinks: [SocketAddr; 3], route: &Route) -> Result<String, Error> {
    let Route { client, sink, event_types } = route;
    let url = format!("http://{}/{client}", sinks[*sink as usize]);
    let mut arguments = vec!["routes", "add", client, &url, "--json"];
    event_types.iter().for_each(|event_type| arguments.extend(["--event-type", event_type]));
    let printed = processes.run("route", &arguments).await?;
    let added: Option<Value> = serde_json::from_str(&printed).ok();
    let secret = added.as_ref().and_then(|added| added["secret"].as_str());
    secret.map(str::to_owned).ok_or_else(|| Error::Failed(format!("`routes add` printed no secret: {printed}")))
}

async fn sink(
    processes: &Processes,
    name: &str,
    address: SocketAddr,
    secrets: &str,
    flags: &[&str],
) -> Result<Child, Error> {
    let (file, address) = (processes.write(&format!("{name}.secret"), secrets)?, address.to_string());
    let arguments = ["sink", "--json", "--listen", &address, "--secret-file", &file];
    Ok(processes.start_until(name, &[&arguments, flags].concat(), "The sink listens").await?)
}

/// Shows how much is missing, and notices that nothing happens any more.
struct Progress<'a> {
    what: &'a str,
    bar: ProgressBar,
    last: Option<usize>,
    since: Instant,
}

impl Progress<'_> {
    fn new(what: &str) -> Progress<'_> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let bar = match ProgressStyle::with_template("  {spinner} {msg}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        Progress { what, bar, last: None, since: Instant::now() }
    }

    /// Returns how much is missing.
    fn note(&mut self, missing: usize, stage: &Stage) -> Result<usize, Error> {
        self.bar.set_message(format!("waiting for {}: {} left", self.what, HumanCount(missing as u64)));
        if self.last.replace(missing) != Some(missing) {
            self.since = Instant::now();
        }
        if missing == 0 {
            self.bar.finish_and_clear();
        } else if self.since.elapsed() > MAX_IDLE {
            self.bar.finish_and_clear();
            let lines = [&stage.processor, &stage.deliverer].map(Child::last_lines).join("\n");
            let (seconds, what) = (MAX_IDLE.as_secs(), self.what);
            return Err(Error::Failed(format!(
                "no progress for {seconds} s while waiting for {what}: {missing} left\n{lines}"
            )));
        }
        Ok(missing)
    }
}
