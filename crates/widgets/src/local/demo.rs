//! The demo: an embedded store, two instances of the API as in production, clients that change the same widgets, and a check of
//! every answer against the table.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use demo::{CheckReport, Child, POLL_INTERVAL, Ports, Processes};
use indicatif::HumanCount;
use ops::console::{ToolError, progress};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::clients::{self, Plan, Progress, Report};
use super::found;
use super::servers::{self, Dynamo};
use super::verify::{Checks, verify};
use crate::client::{Client, Invalid};
use crate::names::Tables;
use crate::observe::USER_AGENT;
use crate::tools::load::{self, Results, Widgets};

/// Two, so that a repeated request reaches another instance than the first time.
const APIS: usize = 2;
const CLIENTS: usize = 16;
/// An instance that does not answer within this time has failed.
const START_TIME: Duration = Duration::from_secs(60);

/// The settings of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The widgets.
    pub count: NonZeroU32,
    /// The requests after the creation.
    pub requests: usize,
    /// A DynamoDB to use in place of the embedded one. Its tables get new names.
    pub dynamo: Option<String>,
    /// Chooses the requests.
    pub seed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Servers(#[from] servers::Error),
    #[error("the demo failed: {0}")]
    Process(#[from] demo::Error),
    #[error("the demo failed: {0}")]
    Tool(#[from] ToolError),
    #[error("the demo failed: {0}")]
    Client(#[from] Invalid),
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
    let stage = Stage::set(settings).await?;
    writeln!(out, "{stage}")?;
    let plan = Plan {
        apis: stage.clients()?,
        widgets: Widgets { prefix: "w-".to_owned(), count: settings.count.get().max(2) },
        clients: CLIENTS,
        requests: settings.requests,
        seed: settings.seed,
    };
    let start = Instant::now();
    load::create(&plan.apis[0], &plan.widgets, &mut Results::default(), &CancellationToken::new()).await?;
    let created = HumanCount(plan.widgets.count.into());
    writeln!(out, "Created {created} widgets in {:.1} s", start.elapsed().as_secs_f64())?;
    out.flush()?;

    let start = Instant::now();
    let report = operate(&plan).await;
    let requests = HumanCount(plan.requests as u64);
    let took = start.elapsed().as_secs_f64();
    writeln!(out, "{CLIENTS} clients sent {requests} requests to both instances in {took:.1} s:\n")?;
    write!(out, "{report}")?;

    let audit = stage.processes.run("audit", &["audit"]).await;
    writeln!(out, "\nwidget-registry audit\n")?;
    let text = match &audit {
        Ok(text) => text.clone(),
        Err(error) => format!("{error}\n{}", stage.processes.output("audit")?),
    };
    text.lines().try_for_each(|line| writeln!(out, "  {}", line.trim_start()))?;

    let client = dynamodb::connect(Some(&stage.dynamo), USER_AGENT).await;
    let client = client.map_err(|problem| Error::Failed(problem.to_string()))?;
    let table = found::read(&client, &stage.tables.widgets).await.map_err(Error::Failed)?;
    let checks = verify(&report.log, &table);
    let stopped = stage.stop().await?;
    let results = Verified { report: &report, checks: &checks, audited: audit.is_ok(), stopped };
    writeln!(out, "\nChecked against the answers to the clients, independently of the program\n\n{results}")?;
    Ok(results.passed())
}

/// Runs the clients, and shows how far they are.
async fn operate(plan: &Plan) -> Report {
    let (shared, bar) = (Arc::<Progress>::default(), progress("requests", Some(plan.requests as u64)));
    let mut work = pin!(clients::run(plan, &shared));
    loop {
        tokio::select! {
            report = &mut work => {
                bar.finish_and_clear();
                return report;
            }
            () = sleep(POLL_INTERVAL) => bar.set_position(shared.begun().min(plan.requests) as u64),
        }
    }
}

/// Everything that runs.
struct Stage {
    processes: Processes,
    tables: Tables,
    addresses: [SocketAddr; APIS],
    dynamo: String,
    apis: Vec<Child>,
    // Dropped after the programs that use them.
    _ports: Ports<APIS>,
    _embedded: Option<Dynamo>,
}

impl Stage {
    /// Creates the tables and starts the instances.
    async fn set(settings: &Settings) -> Result<Stage, Error> {
        let embedded = if settings.dynamo.is_some() { None } else { Some(Dynamo::in_memory().await?) };
        let dynamo = settings.dynamo.clone().or_else(|| embedded.as_ref().map(Dynamo::url)).unwrap_or_default();
        let suffix = format!("{:08x}", rand::random::<u32>());
        let tables =
            Tables { widgets: format!("widgets-demo-{suffix}"), requests: format!("widget-requests-demo-{suffix}") };
        let ports = Ports::<APIS>::reserve()?;
        let addresses = ports.addresses()?;
        let mut processes = Processes::new()?;
        for (name, value) in [
            ("AWS_ENDPOINT_URL_DYNAMODB", &*dynamo),
            ("WIDGET_REGISTRY_WIDGETS_TABLE", &tables.widgets),
            ("WIDGET_REGISTRY_REQUESTS_TABLE", &tables.requests),
            ("WIDGET_REGISTRY_HTTP_LISTEN", "off"),
            ("WIDGET_REGISTRY_LOG_FORMAT", "text"),
        ] {
            processes.set(name, value);
        }
        processes.run("setup", &["setup", "--wait"]).await?;
        let apis = addresses.iter().enumerate().map(|(number, address)| {
            processes.start(&format!("serve-{number}"), &["serve", "--listen", &address.to_string()])
        });
        let apis = apis.collect::<io::Result<Vec<_>>>()?;
        let stage = Stage { processes, tables, addresses, dynamo, apis, _ports: ports, _embedded: embedded };
        stage.wait_until_ready().await?;
        Ok(stage)
    }

    fn clients(&self) -> Result<Vec<Client>, Invalid> {
        self.addresses.iter().map(|address| Client::new(&format!("http://{address}"), None)).collect()
    }

    async fn wait_until_ready(&self) -> Result<(), Error> {
        let serial = Widgets { prefix: "none-".to_owned(), count: 1 }.serial(0);
        let serial = serial.map_err(|error| Error::Failed(error.to_string()))?;
        for (client, api) in self.clients()?.iter().zip(&self.apis) {
            let begin = Instant::now();
            while !client.get(&serial).await.is_ok_and(|response| response.status == 404) {
                if begin.elapsed() > START_TIME {
                    return Err(Error::Failed(format!("{client} does not answer: {}", api.last_lines())));
                }
                sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Returns whether all instances ended with exit code 0.
    async fn stop(self) -> Result<bool, Error> {
        let mut all = true;
        for api in self.apis {
            all &= api.stop().await?;
        }
        Ok(all)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.addresses;
        writeln!(f, "Widgets and their connections behind a REST API\n")?;
        writeln!(f, "  DynamoDB  {}   tables {}, {}", self.dynamo, self.tables.widgets, self.tables.requests)?;
        writeln!(f, "  API       http://{first}, http://{second}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<12}  {:<28}  {:>8}", "OPERATION", "ANSWER", "COUNT")?;
        for ((operation, result), count) in &self.results {
            writeln!(f, "  {operation:<12}  {result:<28}  {:>8}", HumanCount(*count).to_string())?;
        }
        Ok(())
    }
}

/// Every check of a run.
struct Verified<'a> {
    report: &'a Report,
    checks: &'a Checks,
    audited: bool,
    stopped: bool,
}

impl Verified<'_> {
    fn passed(&self) -> bool {
        self.checks.passed() && self.audited && self.stopped && self.report.wrong.is_empty() && self.report.repeated > 0
    }
}

impl fmt::Display for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, subject, predicate) in self.checks.lines() {
            write!(f, "{}", CheckReport { check, subject, predicate })?;
        }
        let mark = |passed: bool| if passed { "✓" } else { "✗" };
        let Report { repeated, wrong, .. } = self.report;
        let repeated = HumanCount(*repeated);
        writeln!(f, "  {} {} wrong answers", mark(wrong.is_empty()), wrong.len())?;
        wrong.iter().take(5).try_for_each(|why| writeln!(f, "      {why}"))?;
        writeln!(
            f,
            "  {} {repeated} requests that another instance answered again, with the same answer",
            mark(self.report.repeated > 0)
        )?;
        writeln!(f, "  {} the audit found no violation", mark(self.audited))?;
        write!(f, "  {} both instances stopped at SIGTERM with exit code 0", mark(self.stopped))
    }
}
