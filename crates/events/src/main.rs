//! The program: from flags to a running command, and its exit code.

use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use event_pipeline::cli::{Cli, Command, CompletionsArgs, DlqTask, QueueTask};
use event_pipeline::observe::PROGRAM;
use event_pipeline::tools::{Console, Outcome, ToolError, dlq, queue, send, setup};
use ops::logs;
use ops::signals::Signals;
use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tracing::Level;

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
    let runtime = match runtime::Builder::new_multi_thread().enable_all().build() {
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
            Command::Setup(_) | Command::Send(_) | Command::Queue(_) | Command::Dlq(_) | Command::Completions(_) => {
                Stderr::Text
            }
        }
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
            (Stderr::Text, None) => self.write(Level::ERROR, &format!("{}: {error:#}", PROGRAM.name)),
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
        Command::Setup(args) => tool(async |console| setup::run(&args.task(), console).await).await,
        Command::Send(args) => {
            let task = args.task()?;
            tool(async |console| send::run(task, console).await).await
        }
        Command::Queue(args) => {
            tool(async |console| match args.task() {
                QueueTask::Status { endpoints, queues, json } => {
                    queue::status(&endpoints, &queues, json, console).await
                }
                QueueTask::Peek(peek) => queue::peek(&peek, console).await,
            })
            .await
        }
        Command::Dlq(args) => {
            let task = args.task()?;
            tool(async |console| match &task {
                DlqTask::List(task) => dlq::list(task, console).await,
                DlqTask::RedriveEvents(task) => dlq::redrive_events(task, console).await,
                DlqTask::Purge { dead_letters, is_confirmed } => dlq::purge(dead_letters, *is_confirmed, console).await,
            })
            .await
        }
        Command::Completions(args) => completions(&args),
    }
}

/// Runs a command of operators. The first signal asks it to stop, and the second one ends it at once.
async fn tool(work: impl AsyncFnOnce(&mut Console<'_>) -> Result<Outcome, ToolError>) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let stop = CancellationToken::new();
    let (mut out, mut notes) = (Pipe::new(io::BufWriter::new(io::stdout())), io::stderr());
    let ended = {
        let mut console = Console { out: &mut out, notes: &mut notes, stop: &stop, confirm: &confirm };
        let mut work = pin!(work(&mut console));
        let ended = tokio::select! {
            biased;
            _ = signals.next() => None,
            ended = &mut work => Some(ended),
        };
        match ended {
            Some(ended) => ended,
            None => {
                stop.cancel();
                tokio::select! {
                    biased;
                    second = signals.next() => return Ok(ExitCode::from(second.exit_code())),
                    ended = work => ended,
                }
            }
        }
    };
    exit_code(ended, out.is_closed)
}

fn exit_code(ended: Result<Outcome, ToolError>, is_closed: bool) -> anyhow::Result<ExitCode> {
    if is_closed {
        return Ok(ExitCode::from(CLOSED));
    }
    Ok(match ended? {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::FAILURE,
        Outcome::Partly => ExitCode::from(PARTLY_DONE),
    })
}

/// Asks on the terminal. Any answer but yes is a no.
fn confirm(question: &str) -> bool {
    eprint!("{question} [y/N] ");
    let answer = io::stdin().lines().next();
    matches!(answer, Some(Ok(answer)) if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(&args.script()).context("cannot write the output")?;
    Ok(ExitCode::SUCCESS)
}

/// A stream that remembers whether its reader has closed it.
struct Pipe<W> {
    stream: W,
    is_closed: bool,
}

impl<W: Write> Pipe<W> {
    fn new(stream: W) -> Pipe<W> {
        Pipe { stream, is_closed: false }
    }

    fn noted<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.is_closed |= result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.stream.flush();
        self.noted(flushed)
    }
}
