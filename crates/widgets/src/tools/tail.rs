//! `widget-registry tail`: prints the changes of widgets as they come. It stores no position, and any number of processes
//! may follow the table, as far as its stream allows readers.

mod change;
mod leases;
mod stream;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dynamodb::{Client, Problem, StreamsClient};
use dynamodb_streams::{
    BoxError, DeadRecord, Ended, Handler, Observer, Outcome as Handled, Reader, Record, Report, Settings, Start,
};
use ops::console::{Console, Outcome, ToolError};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::error::NamedTable;
use super::tables::connect;
use crate::names::Tables;
use crate::observe::{PROGRAM, USER_AGENT};
use crate::widget::Timestamp;
use change::Changes;
use leases::Leases;
use stream::change_stream;

/// Lines that wait to be printed. While they are full, the stream is not read on.
const WAITING: usize = 1000;
/// Records in progress at the end are not printed.
const HANDOVER: Duration = Duration::from_secs(1);

/// What to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The server to use instead of Amazon's.
    pub endpoint: Option<String>,
    pub tables: Tables,
    /// Begins with the oldest change that the stream has, which is up to a day old.
    pub since_start: bool,
    pub json: bool,
}

enum Line {
    Changes { at: Option<SystemTime>, changes: Arc<Changes> },
    Note(String),
}

/// Prints changes until it is stopped.
pub async fn run(task: &Tail, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let named = NamedTable::widgets(&task.tables);
    let connected = clients(task).await;
    let (client, streams) = connected.map_err(|problem| named.error(task.endpoint.as_deref(), &problem))?;
    let name = dynamodb::stream_name(&client, named.name).await;
    let name = name.map_err(|problem| named.error(task.endpoint.as_deref(), &problem))?;
    let missing = || ToolError(format!("table {} has no stream.\nEnable it: widget-registry setup", named.name));
    let stream = change_stream(&streams, &name.ok_or_else(missing)?);

    let (sender, mut lines) = mpsc::channel(WAITING);
    let settings = Settings { start: start(task), handover_timeout: HANDOVER, ..Settings::default() };
    let (keys, handler) = (stream.lease_keys("tail"), Printer { lines: sender.clone() });
    let observer = Arc::new(Notes { lines: sender });
    let reader = Reader::new(PROGRAM.name, stream, Leases::default(), keys, handler, observer, settings);
    let reader = reader.map_err(|error| ToolError(error.to_string()))?;
    let mut reading = pin!(reader.run(console.stop.cancelled()));
    let ended = loop {
        tokio::select! {
            Some(line) = lines.recv() => print(task, console.out, console.notes, &line)?,
            ended = &mut reading => break ended,
        }
    };
    while let Ok(line) = lines.try_recv() {
        print(task, console.out, console.notes, &line)?;
    }
    match ended {
        Ended::StreamEnded => {
            console.note("The stream was disabled. Enable it, and start again: widget-registry setup")?;
            Ok(Outcome::Partly)
        }
        _ => Ok(Outcome::Done),
    }
}

async fn clients(task: &Tail) -> Result<(Client, StreamsClient), Problem> {
    let endpoint = task.endpoint.as_deref();
    Ok((connect(endpoint).await?, dynamodb::connect_streams(endpoint, USER_AGENT).await?))
}

fn start(task: &Tail) -> Start {
    #[expect(clippy::disallowed_methods, reason = "a person wants to see what happens from now on")]
    let now = SystemTime::now();
    if task.since_start { Start::TrimHorizon } else { Start::At(now) }
}

fn print(
    task: &Tail,
    out: &mut dyn std::io::Write,
    notes: &mut dyn std::io::Write,
    line: &Line,
) -> Result<(), ToolError> {
    let written = match line {
        Line::Note(note) => writeln!(notes, "{note}"),
        Line::Changes { at, changes } => write!(out, "{}", text(task, *at, changes)).and_then(|()| out.flush()),
    };
    written.map_err(|error| ToolError(format!("cannot write the output: {error}")))
}

/// Returns a line for each change. The time is that of the item, or that of the record, which has whole seconds.
fn text(task: &Tail, at: Option<SystemTime>, changes: &Changes) -> String {
    let time = changes.updated_at.clone().or_else(|| at.map(Timestamp::of));
    let time = time.map(|time| ops::terminal::sanitize(time.as_str(), 40)).unwrap_or_default();
    let line = |change: &change::Change| match task.json {
        true => {
            let mut line = json!({ "time": time, "serial": changes.serial });
            if let (Value::Object(line), Value::Object(change)) = (&mut line, change.json()) {
                line.extend(change);
            }
            format!("{}\n", ops::terminal::ascii_json(&line.to_string()))
        }
        false => format!("{time}  {}  {change}\n", changes.serial),
    };
    changes.changes.iter().map(line).collect()
}

struct Printer {
    lines: mpsc::Sender<Line>,
}

impl Handler<Arc<Changes>> for Printer {
    async fn handle(&self, record: &Record<Arc<Changes>>, _attempt: u32) -> Handled {
        // Nobody receives it after the end.
        let _ = self.lines.send(Line::Changes { at: record.created, changes: record.data.clone() }).await;
        Handled::Done
    }

    async fn store_dead(&self, _: DeadRecord<'_, Arc<Changes>>) -> Result<(), BoxError> {
        Ok(())
    }
}

struct Notes {
    lines: mpsc::Sender<Line>,
}

impl Observer for Notes {
    fn report(&self, report: &Report<'_>) {
        let note = match report {
            Report::Gap(_) => "Some changes are missing: the stream had deleted them.".to_owned(),
            Report::StreamFailed { error, .. } => format!("The stream cannot be read now: {error}"),
            _ => return,
        };
        // It must not block. While the lines are full, there is enough to read.
        let _ = self.lines.try_send(Line::Note(note));
    }
}
