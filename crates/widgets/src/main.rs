//! The program: from flags to a running command, and its exit code.

use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use anyhow::Context;
use clap::Parser;
use http_api::{Access, Guard, Server};
use ops::logs::Logs;
use ops::signals::Signals;
use ops::{Stderr, StoreWatch, console, http};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use widget_registry::api;
use widget_registry::cli::{Cli, Command, CompletionsArgs, ServeArgs, TokenArgs};
use widget_registry::observe::{ApiMetrics, PROGRAM, TimedStore, WatchedApi};
use widget_registry::registry::Registry;
use widget_registry::service;
use widget_registry::tools::{audit, check, load, setup, tail};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_json = matches!(&cli.command, Command::Serve(args) if args.log_format().is_json());
    let stderr = Stderr::of(&PROGRAM, is_json);
    let fail = |error: anyhow::Error| stderr.fail(&format!("{error:#}"), error.downcast_ref());
    let runtime = match runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error.into()),
    };
    let code = runtime.block_on(run(cli.command)).unwrap_or_else(fail);
    // A DNS lookup in flight must not delay the exit.
    runtime.shutdown_background();
    code
}

/// One for two cores. More of them wake each other up, which takes a fifth more CPU time per request.
fn workers() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup(args) => Ok(console::run(async |console| setup::run(&args.task(), console).await).await?),
        Command::Check(args) => Ok(console::run(async |console| check::run(&args.task(), console).await).await?),
        Command::Serve(args) => serve(&args, args.dynamo().as_deref()).await,
        Command::Token(args) => create_token(&args),
        Command::Load(args) => Ok(console::run(async |console| load::run(&args.task(), console).await).await?),
        Command::Audit(args) => Ok(console::run(async |console| audit::run(&args.task(), console).await).await?),
        Command::Tail(args) => Ok(console::run(async |console| tail::run(&args.task(), console).await).await?),
        #[cfg(feature = "local")]
        Command::Local(args) => local::servers(&args).await,
        #[cfg(feature = "local")]
        Command::Demo(args) => local::demo(&args).await,
        Command::Completions(args) => completions(&args),
    }
}

/// Serves the API until a signal, and drains.
async fn serve(args: &ServeArgs, dynamo: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let (access, settings) = (args.access()?, args.settings()?);
    let (tables, endpoint) = (args.tables(), dynamo);
    let fields = vec![("table", tables.widgets.clone())];
    let _logs = Logs::start(&PROGRAM, args.log_format(), args.log_levels(), fields, None);
    let address = args.listen();
    if let Access::Everyone = access {
        tracing::warn!(%address, "everyone who can reach the address can use the API, because it has no tokens");
    }
    let (metrics, watch) = (Arc::<ApiMetrics>::default(), Arc::<StoreWatch>::default());
    let watched = Arc::new(WatchedApi::new(metrics.clone(), watch.clone()));
    let setting = "--http-listen, WIDGET_REGISTRY_HTTP_LISTEN";
    let _endpoint = http::listen(args.http_listen(), setting, watched.clone()).await?;
    let store = tokio::select! {
        biased;
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
        store = service::connect(endpoint, &tables) => store?,
    };
    let store = TimedStore::new(store, metrics.clone());
    let registry = Arc::new(Registry::new(store, settings, metrics.clone(), now));
    let guard = Guard::new(access, args.limits(), metrics).with_origins(args.origins());
    let router = api::router(registry.clone(), watch.clone(), &guard);
    let server = Server::bind(address).await.with_context(|| format!("cannot listen on {address} (--listen)"))?;
    watched.set_serving(true);
    tracing::info!("serving http://{}/widgets and /docs", server.address());
    let (grace, stop) = (args.shutdown_grace(), Notify::new());
    let mut served = pin!(async {
        tokio::select! {
            drained = server.serve(router, stop.notified(), grace) => drained,
            () = watch.follow(&watched.liveness, async || api::probe(&registry).await) => unreachable!("it probes until it is dropped"),
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
    println!("API stopped. Aborted requests: {}", drained.aborted);
    Ok(ExitCode::SUCCESS)
}

/// Reads the clock for `created_at`, `updated_at`, the expiry of requests, and to notice that the process was paused.
#[expect(clippy::disallowed_methods, reason = "times for people, and limits of minutes and days")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn create_token(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let (token, line) = args.create()?;
    writeln!(io::stdout(), "{token}").context("cannot write the output")?;
    if let Some(line) = line {
        eprintln!("Add this line to the file of --tokens-file:\n{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(&args.script()).context("cannot write the output")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "local")]
mod local {
    use std::io;
    use std::process::ExitCode;

    use anyhow::Context;
    use dynamodb::WarmThroughput;
    use ops::console;
    use ops::signals::Signals;
    use widget_registry::cli::{DemoArgs, LocalArgs};
    use widget_registry::local::demo;
    use widget_registry::local::servers::Dynamo;
    use widget_registry::tools::setup::{self, Setup};

    /// Serves the API on an embedded DynamoDB until a signal.
    pub(super) async fn servers(args: &LocalArgs) -> anyhow::Result<ExitCode> {
        let (address, storage) = args.dynamo();
        let dynamo = Dynamo::start(address, &storage).await?;
        let (url, serve) = (dynamo.url(), args.serve());
        let task =
            Setup { endpoint: Some(url.clone()), tables: serve.tables(), warm: WarmThroughput::default(), wait: false };
        let set_up = console::run(async |console| setup::run(&task, console).await).await?;
        if set_up != ExitCode::SUCCESS {
            return Ok(set_up);
        }
        println!(
            "\nexport AWS_ENDPOINT_URL_DYNAMODB={url}\n\nThe API listens on http://{}. Ctrl-C stops.",
            serve.listen()
        );
        super::serve(serve, Some(&url)).await
    }

    pub(super) async fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let stop = async { _ = signals.next().await };
        let passed = demo::run(&args.settings(), stop, &mut io::stdout()).await?;
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
