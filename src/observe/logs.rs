//! Where log lines go and how they look: on stderr, text on a terminal and JSON otherwise.

use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Traces;
use super::json::Json;
use crate::consumer::spans::TARGET;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text and a status line on a terminal, JSON otherwise
    Auto,
    /// Lines for a person
    Text,
    /// One JSON object a line
    Json,
}

impl LogFormat {
    /// Returns whether every line on stderr is a JSON object.
    pub fn is_json(self) -> bool {
        match self {
            LogFormat::Auto => !io::stderr().is_terminal(),
            LogFormat::Text => false,
            LogFormat::Json => true,
        }
    }
}

/// <https://no-color.org>, and terminals that know no escapes.
fn has_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The logs of this process, and the terminal below them if there is one.
#[derive(Debug, Clone)]
pub struct Logs {
    /// The status line is drawn here; lines are printed above it.
    pub(super) terminal: MultiProgress,
    /// Whether a status line is shown.
    pub(super) live: bool,
}

impl Logs {
    /// Sends every event of the process to stderr, and its spans into traces. Only the first call of a process counts.
    pub fn start(format: LogFormat, levels: Targets, subscription: Option<String>, traces: Option<&Traces>) -> Logs {
        let is_terminal = io::stderr().is_terminal();
        let json = format.is_json();
        let live = is_terminal && !json;
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let logs = Logs { terminal: MultiProgress::with_draw_target(target), live };
        let lines = tracing_subscriber::fmt::layer().with_writer(logs.clone()).with_ansi(is_terminal && has_colour());
        let lines =
            if json { lines.event_format(Json { subscription }).boxed() } else { lines.with_target(false).boxed() };
        // Where nothing is traced there is no layer for spans, and they cost nothing.
        let mut layers = vec![lines.with_filter(levels.with_target(TARGET, LevelFilter::OFF)).boxed()];
        let of_ours = || Targets::new().with_target(TARGET, LevelFilter::INFO);
        layers.extend(traces.map(|traces| traces.layer().with_filter(of_ours()).boxed()));
        // A second subscriber of the same process is refused; the first goes on.
        let _ = tracing_subscriber::registry().with(layers).try_init();
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        logs
    }

    /// What is logged without other orders: our own state changes, and what goes wrong in the clients.
    pub fn default_levels() -> Targets {
        Targets::new()
            .with_default(LevelFilter::WARN)
            // What it warns of at start, the start checks say in a sentence.
            .with_target("aws_config", LevelFilter::ERROR)
            .with_target("mini_scan", LevelFilter::INFO)
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Above<'a>;

    fn make_writer(&'a self) -> Above<'a> {
        Above(&self.terminal)
    }
}

/// Writes lines above the status line.
#[derive(Debug)]
pub struct Above<'a>(&'a MultiProgress);

impl Write for Above<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
