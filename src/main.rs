//! The program: from flags to a running command, and its exit code.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use clap::Parser;
use http_api::{Access, Guard, Server};
use mini_scan::api;
use mini_scan::changes::{self, preview};
use mini_scan::cli::{
    ApiArgs, ApiTask, BackfillArgs, ChangesArgs, ChangesTask, CheckArgs, CheckTask, Cli, Command, CompletionsArgs,
    ConsumerArgs, DeadArgs, DeadLettersArgs, DeadLettersTask, DeadTask, ExportArgs, GetArgs, MasksArgs, RunArgs,
    ServeArgs, SetupArgs, SinkArgs, TokenArgs, WebhooksArgs, WebhooksTask,
};
use mini_scan::consumer::Process;
use mini_scan::dead_letters::{self, Outcome};
use mini_scan::dynamo::{DeliveryTable, SubscriptionTable};
use mini_scan::observe::{
    self, ApiMetrics, ChangesMetrics, Metrics, PROGRAM, RequestSpans, Spans, Watched, WatchedApi, WatchedChanges,
    WebhookMetrics,
};
use mini_scan::service::{self, ChangesObservers, Config, Finding, Running, WebhooksTables, setup};
use mini_scan::subscriptions::operations::{Operations, Vault};
use mini_scan::{backfill, dead_changes, export, get, webhook_commands};
use ops::logs::{self, Logs};
use ops::signals::{Signal, Signals};
use ops::traces::Traces;
use ops::{Pipe, StoreWatch, http};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Level;
use webhooks::{HttpSender, SystemResolver};

/// Most of the work is the SDK's, which allocates some 300 times per write.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A flag is missing, unknown or out of range.
const WRONG_USAGE: u8 = 2;
/// Some of the work was done, and some was left.
const PARTLY_DONE: u8 = 3;
/// The reader of stdout closed it, e.g. `head`. A shell shows this code for a program that SIGPIPE ended.
const CLOSED: u8 = 141;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let stderr = Stderr::of(&cli.command);
    if stderr == Stderr::Json {
        std::panic::set_hook(Box::new(|panic| Stderr::Json.write(Level::ERROR, &panic.to_string())));
    }
    let mut runtime = match &cli.command {
        // Requests are independent of each other, and so are shards. The consumer's threads have runtimes of their own.
        Command::Api(_) | Command::Changes(_) => runtime::Builder::new_multi_thread(),
        _ => runtime::Builder::new_current_thread(),
    };
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return stderr.fail(&error.into()),
    };
    let code = runtime.block_on(run(cli.command)).unwrap_or_else(|error| stderr.fail(&error));
    // A DNS lookup in flight must not delay the exit.
    runtime.shutdown_background();
    code
}

/// The format of the lines on stderr that are not log events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stderr {
    Text,
    /// For JSON logs, so that every line can be parsed.
    Json,
}

impl Stderr {
    fn of(command: &Command) -> Stderr {
        match command {
            Command::Consumer(args) => Stderr::of_consumer(args),
            Command::Api(args) if matches!(args.task(), ApiTask::Serve(_)) && args.log_format().is_json() => {
                Stderr::Json
            }
            Command::Changes(args) if matches!(args.task(), ChangesTask::Run(_)) && args.log_format().is_json() => {
                Stderr::Json
            }
            _ => Stderr::Text,
        }
    }

    fn of_consumer(args: &ConsumerArgs) -> Stderr {
        if args.log_format().is_json() { Stderr::Json } else { Stderr::Text }
    }

    fn write(self, level: Level, message: &str) {
        // An error means that nobody reads stderr any more.
        let _ = match self {
            Stderr::Text => writeln!(io::stderr(), "{message}"),
            Stderr::Json => writeln!(io::stderr(), "{}", logs::line(PROGRAM.version, level, message)),
        };
    }

    /// Reports an error and returns its exit code.
    fn fail(self, error: &anyhow::Error) -> ExitCode {
        let usage = error.downcast_ref::<clap::Error>();
        match (self, usage) {
            (Stderr::Text, Some(usage)) => _ = usage.print(),
            (Stderr::Text, None) => self.write(Level::ERROR, &format!("mini-scan: {error:#}")),
            (Stderr::Json, Some(usage)) => {
                self.write(Level::ERROR, usage.to_string().trim_start_matches("error: ").trim_end());
            }
            (Stderr::Json, None) => self.write(Level::ERROR, &format!("{error:#}")),
        }
        if usage.is_some() { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Consumer(args) => consumer(args).await,
        Command::Setup(args) => set_up(&args).await,
        Command::Check(args) => check(&args).await,
        Command::Api(args) => api(&args).await,
        Command::Changes(args) => changes(&args).await,
        Command::Webhooks(args) => webhooks(&args).await,
        Command::DeadLetters(args) => dead_letters(&args).await,
        Command::Get(args) => get(&args).await,
        Command::Export(args) => export(&args).await,
        Command::Completions(args) => completions(&args),
        #[cfg(feature = "local")]
        Command::Scanner(args) => local::scanner(&args).await,
        #[cfg(feature = "local")]
        Command::Local(args) => local::servers(&args).await,
        #[cfg(feature = "local")]
        Command::Demo(args) => local::demo(&args).await,
    }
}

fn listen() -> anyhow::Result<Signals> {
    Signals::listen().context("cannot listen for signals")
}

async fn consumer(args: ConsumerArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let config = args.config()?;
    let traces = Traces::start(&PROGRAM)?;
    let fields = vec![("subscription", config.subscription.clone())];
    let logs = Logs::start(&PROGRAM, args.log_format(), args.log_levels(), fields, traces.as_ref());
    let spans = traces.as_ref().map(|traces| Spans::new(traces.sampling(), &config.subscription, &config.table));
    let metrics = Arc::new(Metrics::new(spans));
    let process = config.process(metrics.clone());
    // Until the end, so that monitoring sees the drain too.
    let watched = Arc::new(Watched::new(process.clone(), metrics.clone()));
    let _endpoint = http::listen(args.http_listen(), "--http-listen, MINI_SCAN_HTTP_LISTEN", watched).await?;
    let is_stopped = tokio::select! {
        biased;
        _ = signals.next() => true,
        result = service::check(&config) => { result?; false }
    };
    if !is_stopped && let Some(second) = consume(&config, &process, &metrics, &logs, &mut signals).await? {
        return Ok(ExitCode::from(second.exit_code()));
    }
    if let Some(traces) = traces {
        traces.finish().await;
    }
    observe::sum_up(&process, &metrics);
    let counts = metrics.snapshot();
    Stderr::of_consumer(&args).write(Level::INFO, &format!("Released at shutdown: {}", counts.released));
    println!("Consumer stopped. Final stats - Processed: {}, Failed: {}", counts.processed(), counts.failed());
    Ok(ExitCode::SUCCESS)
}

/// Consumes until a signal and drains. Returns the second signal if one came before the end.
async fn consume(
    config: &Config,
    process: &Arc<Process>,
    metrics: &Metrics,
    logs: &Logs,
    signals: &mut Signals,
) -> anyhow::Result<Option<Signal>> {
    tracing::info!(
        consumers = config.consumers,
        threads = config.threads,
        max_outstanding = config.max_outstanding,
        table = config.table,
        "consuming {}",
        config.subscription
    );
    let mut work = pin!(Running::start(config, process)?.finished());
    tokio::select! {
        biased;
        _ = signals.next() => {}
        result = &mut work => result?,
        () = observe::report(process, metrics, logs) => {}
    }
    let grace = config.shutdown_grace;
    tracing::info!("stopping: writes in flight may take {grace:?}; a second signal stops at once");
    process.drain.request(grace);
    tokio::select! {
        biased;
        second = signals.next() => Ok(Some(second)),
        result = work => Ok(result.map(|()| None)?),
    }
}

async fn api(args: &ApiArgs) -> anyhow::Result<ExitCode> {
    match args.task() {
        ApiTask::Serve(args) => serve(args).await,
        ApiTask::CreateToken(args) => create_token(args),
    }
}

/// Serves the API until a signal, and drains.
async fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let (access, webhooks) = (args.access()?, args.webhooks()?);
    let traces = Traces::start(&PROGRAM)?;
    let fields = vec![("table", args.table().to_owned())];
    let _logs = Logs::start(&PROGRAM, args.log_format(), args.log_levels(), fields, traces.as_ref());
    if let Access::Everyone = access {
        tracing::warn!(address = %args.listen(), "everyone who can reach the address can use the API, because it has no tokens");
    }
    let spans = traces.as_ref().map(|traces| RequestSpans::new(traces.sampling(), args.table()));
    let metrics = Arc::new(ApiMetrics::new(spans));
    let watch = Arc::<StoreWatch>::default();
    let watched = Arc::new(WatchedApi::new(metrics.clone(), watch.clone()));
    let _endpoint = http::listen(args.http_listen(), "--http-listen, MINI_SCAN_HTTP_LISTEN", watched.clone()).await?;
    let endpoints = args.endpoints();
    let hosts = tokio::select! {
        biased;
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
        hosts = service::connect_hosts(&endpoints, args.table(), args.ttl(), metrics.clone()) => hosts?,
    };
    let guard = Guard::new(access, args.limits(), metrics).with_origins(args.origins());
    let history = match args.history_table() {
        Some(table) => Some(service::connect_history(&endpoints, table, hosts.calls()).await?),
        None => None,
    };
    let webhooks = match webhooks {
        Some((tables, vault)) => {
            api::webhooks_router(connect_webhooks(args, &tables, vault).await?, watch.clone(), &guard)
        }
        None => Router::new(),
    };
    let router = api::router(hosts.clone(), history, args.settings(), webhooks, watch.clone(), &guard);
    let address = args.listen();
    let server = Server::bind(address).await.with_context(|| format!("cannot listen on {address} (--listen)"))?;
    watched.set_serving(true);
    tracing::info!("serving http://{}/v1 and /docs", server.address());
    let (grace, stop) = (args.shutdown_grace(), Notify::new());
    let mut served = pin!(async {
        tokio::select! {
            drained = server.serve(router, stop.notified(), grace) => drained,
            () = watch.follow(&watched.liveness, async || api::probe(&hosts).await) => unreachable!("it probes until it is dropped"),
        }
    });
    tokio::select! {
        biased;
        _ = signals.next() => {}
        _ = &mut served => unreachable!("it serves until it is stopped"),
    }
    watched.set_serving(false);
    tracing::info!("stopping: requests in progress may take {grace:?}; a second signal stops at once");
    stop.notify_one();
    let end = Instant::now() + grace;
    let drained = tokio::select! {
        biased;
        second = signals.next() => return Ok(ExitCode::from(second.exit_code())),
        drained = served => drained,
    };
    // A write goes on even if its client has left.
    let _ = timeout_at(end, guard.idle()).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    println!("API stopped. Aborted requests: {}", drained.aborted);
    Ok(ExitCode::SUCCESS)
}

/// Connects the endpoints of webhooks.
async fn connect_webhooks(
    args: &ServeArgs,
    tables: &WebhooksTables,
    vault: Vault,
) -> anyhow::Result<api::Webhooks<SubscriptionTable, DeliveryTable>> {
    let service::Webhooks { subscriptions, deliveries, .. } =
        service::connect_webhooks(&args.endpoints(), tables).await?;
    let sender = HttpSender::new(vault.policy.clone(), Arc::new(SystemResolver), args.sender_settings())?;
    Ok(api::Webhooks { operations: Operations::new(subscriptions), deliveries, vault, sender })
}

fn create_token(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let (token, line) = args.create()?;
    writeln!(io::stdout(), "{token}").context("cannot write the output")?;
    if let Some(line) = line {
        eprintln!("Add this line to the file of --tokens-file:\n{line}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints every finding; a check that failed is a failure of the command.
async fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let findings = match args.task()? {
        CheckTask::Consumer(config) => service::check_all(&config).await,
        CheckTask::Changes(endpoints, tables) => service::check_all_changes(&endpoints, &tables).await,
        CheckTask::Webhooks(endpoints, tables) => service::check_all_webhooks(&endpoints, &tables).await,
    };
    for finding in &findings {
        let line = if args.json { finding.json() } else { finding.to_string() };
        writeln!(io::stdout(), "{line}").context("cannot write the output")?;
    }
    Ok(if findings.iter().any(Finding::has_failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(&args.script()).context("cannot write the output")?;
    Ok(ExitCode::SUCCESS)
}

async fn set_up(args: &SetupArgs) -> anyhow::Result<ExitCode> {
    let task = args.task()?;
    let mut out = io::stdout();
    if let Some(names) = &task.pubsub {
        setup::pubsub(&task.endpoints, names, &mut out).await?;
    }
    if let Some(table) = &task.table {
        setup::table(&task.endpoints, &table.name, &table.indexes, &mut out).await?;
    }
    if let Some(tables) = &task.changes {
        setup::changes(&task.endpoints, tables, &mut out).await?;
    }
    if let Some(tables) = &task.webhooks {
        setup::webhooks(&task.endpoints, tables, &mut out).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists, redrives or purges until the end or a signal. The dead letters that are not settled by then are nacked first.
async fn dead_letters(args: &DeadLettersArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let task = args.task()?;
    let stop = Notify::new();
    let work = async {
        let outcome = match &task {
            DeadLettersTask::List(list) => {
                dead_letters::list(list, stop.notified(), &mut io::stdout(), &mut io::stderr()).await?
            }
            DeadLettersTask::Redrive(redrive) => {
                dead_letters::redrive(redrive, stop.notified(), &mut io::stdout()).await?
            }
            DeadLettersTask::Purge(purge) => {
                dead_letters::purge(purge, stop.notified(), confirm_deletion, &mut io::stdout()).await?
            }
        };
        Ok(exit_code(outcome))
    };
    until_stopped(&mut signals, &stop, work).await
}

/// Runs a command. The first signal asks it to stop, and the second one ends it at once.
async fn until_stopped(
    signals: &mut Signals,
    stop: &Notify,
    work: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        _ = signals.next() => stop.notify_one(),
        code = &mut work => return code,
    }
    tokio::select! {
        biased;
        second = signals.next() => Ok(ExitCode::from(second.exit_code())),
        code = work => code,
    }
}

fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Stopped => ExitCode::FAILURE,
        Outcome::Partly => ExitCode::from(PARTLY_DONE),
    }
}

async fn changes(args: &ChangesArgs) -> anyhow::Result<ExitCode> {
    match args.task() {
        ChangesTask::Run(args) => record_changes(args).await,
        ChangesTask::Masks(args) => show_masks(args),
        ChangesTask::Backfill(args) => backfill(args).await,
        ChangesTask::Dead(args) => dead_changes(args).await,
    }
}

/// Compares until the end or a signal. What was compared by then needs no second comparison.
async fn backfill(args: &BackfillArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let task = args.task()?;
    let stop = Notify::new();
    let mut stderr = io::stderr();
    let work = async {
        Ok(match backfill::run(task, stop.notified(), &mut stderr).await? {
            backfill::Outcome::Done => ExitCode::SUCCESS,
            backfill::Outcome::Stopped => ExitCode::from(PARTLY_DONE),
        })
    };
    until_stopped(&mut signals, &stop, work).await
}

/// Lists or deletes until the end or a signal. What was deleted by then is reported.
async fn dead_changes(args: &DeadArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let task = args.task()?;
    let stop = Notify::new();
    let work = async {
        let outcome = match &task {
            DeadTask::List(list) => {
                let (mut out, mut err) = (io::stdout(), io::stderr());
                tokio::select! {
                    () = stop.notified() => Outcome::Stopped,
                    listed = dead_changes::list(list, &mut out, &mut err) => listed.map(|()| Outcome::Done)?,
                }
            }
            DeadTask::Purge(purge) => {
                dead_changes::purge(purge, stop.notified(), confirm_deletion, &mut io::stdout()).await?
            }
        };
        Ok(exit_code(outcome))
    };
    until_stopped(&mut signals, &stop, work).await
}

/// Keeps the history until a signal, and drains.
async fn record_changes(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let config = args.config()?;
    let fields = vec![("table", config.tables.scans.clone())];
    let _logs = Logs::start(&PROGRAM, args.log_format(), args.log_levels(), fields, None);
    let (metrics, watch) = (Arc::<ChangesMetrics>::default(), Arc::<changes::Watch>::default());
    let webhooks = Arc::<WebhookMetrics>::default();
    let watched = WatchedChanges::new(metrics.clone(), watch.clone(), config.rules.masks.id());
    let watched = Arc::new(watched.with_webhooks(config.webhooks.is_some().then(|| webhooks.clone())));
    let _endpoint = http::listen(args.http_listen(), "--http-listen, MINI_SCAN_HTTP_LISTEN", watched.clone()).await?;
    let grace = config.shutdown_grace;
    let reader = tokio::select! {
        biased;
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
        reader = service::connect_changes(config) => reader?,
    };
    watched.set_reading(true);
    let stop = CancellationToken::new();
    let (changes, reports) = (metrics.clone(), watched.clone());
    let observers = ChangesObservers { changes, reports, webhooks, watch: watch.clone() };
    let mut work = pin!(reader.run(&observers, &stop));
    let mut follow = pin!(reader.follow(&watched.liveness, &watch, |gaps| metrics.set_open_gaps(gaps)));
    tokio::select! {
        biased;
        _ = signals.next() => {}
        result = &mut work => result?,
        () = &mut follow => {}
    }
    watched.set_reading(false);
    tracing::info!("stopping: records in progress may take {grace:?}; a second signal stops at once");
    stop.cancel();
    tokio::select! {
        biased;
        second = signals.next() => return Ok(ExitCode::from(second.exit_code())),
        result = work => result?,
        () = follow => {}
    }
    println!("Changes stopped. Records handled: {}", metrics.handled());
    Ok(ExitCode::SUCCESS)
}

async fn webhooks(args: &WebhooksArgs) -> anyhow::Result<ExitCode> {
    match args.task()? {
        WebhooksTask::Command(task) => webhook_command(*task).await,
        WebhooksTask::Sink(args) => receive(args).await,
    }
}

/// Runs a command on subscriptions or deliveries until its end or a signal.
async fn webhook_command(task: webhook_commands::Task) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let stop = Notify::new();
    let mut stdout = Pipe::new(io::BufWriter::new(io::stdout()));
    let mut stderr = io::stderr();
    let work = async {
        let result = webhook_commands::run(task, stop.notified(), ops::confirm, &mut stdout, &mut stderr).await;
        if stdout.is_closed {
            return Ok(ExitCode::from(CLOSED));
        }
        Ok(match result? {
            webhook_commands::Outcome::Done => ExitCode::SUCCESS,
            webhook_commands::Outcome::Failed => ExitCode::FAILURE,
            webhook_commands::Outcome::Stopped => ExitCode::from(PARTLY_DONE),
        })
    };
    until_stopped(&mut signals, &stop, work).await
}

/// Receives webhooks until a signal.
async fn receive(args: &SinkArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let stop = async { _ = signals.next().await };
    let summary = webhook_sink::run(args.settings()?, stop, io::stdout(), &mut io::stderr()).await?;
    eprintln!("Sink stopped. {summary}");
    Ok(ExitCode::SUCCESS)
}

/// Lists the masks, or shows a response behind them.
fn show_masks(args: &MasksArgs) -> anyhow::Result<ExitCode> {
    let masks = args.masks()?;
    let mut stdout = Pipe::new(io::BufWriter::new(io::stdout()));
    let shown = match args.on() {
        None => preview::list(&masks, &mut stdout, &mut io::stderr()),
        Some(path) => preview::show(&masks, &read_response(path)?, &mut stdout, &mut io::stderr()),
    };
    let shown = shown.and_then(|()| stdout.flush());
    if stdout.is_closed {
        return Ok(ExitCode::from(CLOSED));
    }
    shown.context("cannot write the output")?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a file, or stdin, up to the size of the largest item of DynamoDB.
fn read_response(path: &Path) -> anyhow::Result<Vec<u8>> {
    const MAX_RESPONSE: u64 = 400 * 1024;
    let cannot_read = || format!("cannot read {} (--on)", path.display());
    let mut response = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(MAX_RESPONSE).read_to_end(&mut response).with_context(cannot_read)?;
    } else {
        let file = File::open(path).with_context(cannot_read)?;
        file.take(MAX_RESPONSE).read_to_end(&mut response).with_context(cannot_read)?;
    }
    Ok(response)
}

async fn get(args: &GetArgs) -> anyhow::Result<ExitCode> {
    let task = args.task(io::stdin())?;
    let mut stdout = Pipe::new(io::BufWriter::new(io::stdout()));
    let result = get::run(&task, &mut stdout, &mut io::stderr()).await;
    if stdout.is_closed {
        return Ok(ExitCode::from(CLOSED));
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

/// Exports until the end or a signal. What was read by then is written, and can be continued.
async fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let mut signals = listen()?;
    let task = args.task()?;
    let stop = Notify::new();
    let mut stdout = Pipe::new(io::BufWriter::new(io::stdout()));
    let mut stderr = io::stderr();
    let work = async {
        let result = export::run(&task, stop.notified(), &mut stdout, &mut stderr).await;
        if stdout.is_closed {
            return Ok(ExitCode::from(CLOSED));
        }
        Ok(match result? {
            export::Outcome::Done => ExitCode::SUCCESS,
            export::Outcome::Stopped => ExitCode::from(PARTLY_DONE),
        })
    };
    until_stopped(&mut signals, &stop, work).await
}

async fn confirm_deletion(count: usize) -> bool {
    let noun = if count == 1 { "dead letter" } else { "dead letters" };
    ops::confirm(&format!("Delete {count} {noun}?")).await
}

#[cfg(feature = "local")]
mod local {
    use std::io;
    use std::process::ExitCode;

    use mini_scan::cli::{DemoArgs, DemoTask, LocalArgs, ScannerArgs};
    use mini_scan::local::demo::{self, changes, real::Real};
    use mini_scan::local::scanner::{console, topic::Topic};
    use mini_scan::local::servers as embedded;

    use super::listen;

    pub(super) async fn scanner(args: &ScannerArgs) -> anyhow::Result<ExitCode> {
        let mut signals = listen()?;
        let (settings, name) = (args.settings()?, args.topic_name()?);
        let topic = Topic::connect(&name, args.emulator_host().as_deref()).await?;
        let send = |payload| topic.publish(payload);
        console::run(&settings, &name, send, async { _ = signals.next().await }, &mut io::stdout()).await?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn servers(args: &LocalArgs) -> anyhow::Result<ExitCode> {
        let mut signals = listen()?;
        embedded::run(&args.settings(), async { _ = signals.next().await }, &mut io::stdout()).await?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
        let mut signals = listen()?;
        let (stop, mut out) = (async { _ = signals.next().await }, io::stdout());
        let passed = match args.task() {
            DemoTask::Scans(settings) => demo::run(&Real, &settings, stop, &mut out).await?,
            DemoTask::Changes(settings) => changes::run(&settings, stop, &mut out).await?,
        };
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
