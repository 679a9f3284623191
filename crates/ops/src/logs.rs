//! Log events on stderr: text on a terminal and JSON otherwise; and a status line below the text.

mod json;
mod status_line;

use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::json::Json;
use crate::Program;
use crate::traces::Traces;

pub use json::line;
pub use status_line::StatusLine;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text and a status line on a terminal, JSON otherwise
    Auto,
    /// Lines for a person
    Text,
    /// One JSON object per line
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

/// Returns false if the user or the terminal wants no colour. <https://no-color.org>
fn has_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A field with the same value in every JSON line.
pub type StaticField = (&'static str, String);

/// The logs of this process, and the terminal if stderr is one.
#[derive(Debug, Clone)]
pub struct Logs {
    /// Draws the status line, and prints log lines above it.
    terminal: MultiProgress,
    has_status_line: bool,
}

impl Logs {
    /// Sends every event of the process to stderr, and the program's spans to the traces. Only the first call of a process
    /// has an effect.
    pub fn start(
        program: &Program,
        format: LogFormat,
        levels: Targets,
        fields: Vec<StaticField>,
        traces: Option<&Traces>,
    ) -> Logs {
        let is_terminal = io::stderr().is_terminal();
        let json = format.is_json();
        let has_status_line = is_terminal && !json;
        let target = if has_status_line { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let logs = Logs { terminal: MultiProgress::with_draw_target(target), has_status_line };
        let lines = tracing_subscriber::fmt::layer().with_writer(logs.clone()).with_ansi(is_terminal && has_colour());
        let lines = if json {
            lines.event_format(Json { version: program.version, fields }).boxed()
        } else {
            lines.with_target(false).boxed()
        };
        let levels = with_our_level(levels, program.target).with_target(program.span_target, LevelFilter::OFF);
        // Without traces no layer takes spans, so that they cost nothing.
        let mut layers = vec![lines.with_filter(levels).boxed()];
        let spans = || Targets::new().with_target(program.span_target, LevelFilter::INFO);
        layers.extend(traces.map(|traces| traces.layer().with_filter(spans()).boxed()));
        // Fails where the process has a subscriber already, which goes on.
        let _ = tracing_subscriber::registry().with(layers).try_init();
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        logs
    }

    /// Adds a status line to the terminal; `None` where there is no terminal or the logs are JSON.
    pub fn status_line(&self) -> Option<StatusLine> {
        self.has_status_line.then(|| StatusLine::below(&self.terminal))
    }
}

/// Gives the events of this crate the level of the program's, unless the user chose one for them.
fn with_our_level(levels: Targets, program: &str) -> Targets {
    let ours = module_path!().split("::").next().unwrap_or_default();
    if levels.iter().any(|(target, _)| target == ours) {
        return levels;
    }
    let enabled = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR]
        .into_iter()
        .find(|level| levels.would_enable(program, level));
    levels.with_target(ours, enabled.map_or(LevelFilter::OFF, LevelFilter::from_level))
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = AboveStatusLine<'a>;

    fn make_writer(&'a self) -> AboveStatusLine<'a> {
        AboveStatusLine(&self.terminal)
    }
}

/// Writes to stderr above the status line.
#[derive(Debug)]
pub struct AboveStatusLine<'a>(&'a MultiProgress);

impl Write for AboveStatusLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_events_have_the_level_of_the_program_unless_the_user_chose_one() {
        let ours = module_path!();
        for (levels, expected) in
            [("warn,scans=debug", Some(Level::DEBUG)), ("error", Some(Level::ERROR)), ("scans=off,info", None)]
        {
            let levels = with_our_level(levels.parse().unwrap(), "scans");
            let enabled = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
            let enabled = enabled.into_iter().find(|level| levels.would_enable(ours, level));
            assert_eq!(enabled, expected, "{levels}");
        }
    }
}
