//! `get --history`: the events of addresses, the newest first, from the history table or from an API.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

use super::api::Client;
use super::source::Silent;
use super::table::{last_column, service, time};
use super::{From, Get};
use crate::changes::{EntryQuery, PastReader, Reason, TimelineEvent};
use crate::dynamo::HistoryTable;
use crate::hosts::{Calls, Error, ErrorKind, MAX_PAGE_SIZE, Target};
use crate::service::{SetupError, table_error};
use ops::terminal::{ascii_json, layout};

const HEAD: [&str; 7] = ["TIME", "ADDRESS", "PORT", "SERVICE", "EVENT", "LINES", "CHANGE"];
/// The columns that are aligned to the right.
const NUMBERS: [usize; 2] = [2, 5];
/// An API may send a page without an event if all of its rows were deleted meanwhile.
const MAX_EMPTY_PAGES: u32 = 100;

enum Source {
    Table { history: PastReader, name: String },
    Api(Client),
}

/// Prints the events of all targets to `out`. Reports targets without an event to `notes`.
pub(super) async fn run(task: &Get, out: &mut impl Write, notes: &mut impl Write) -> Result<(), SetupError> {
    let source = Source::connect(&task.from).await?;
    let mut rows = Vec::new();
    let asked = ask(task, &source, &mut rows, out, notes).await;
    // Also what was found before a failure.
    out.write_all(layout(HEAD, &NUMBERS, &rows).as_bytes())
        .and_then(|()| out.flush())
        .map_err(SetupError::cannot_write)?;
    asked
}

async fn ask(
    task: &Get,
    source: &Source,
    rows: &mut Vec<[String; HEAD.len()]>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), SetupError> {
    for target in &task.targets {
        let (ips, port, name) = parts(*target)?;
        let mut is_found = false;
        for ip in ips {
            let mut pages = Pages::of(ip);
            while let Some(events) = pages.next(source, task.json).await? {
                for event in events.iter().filter(|event| port.is_none_or(|port| event.port == port)) {
                    is_found = true;
                    match task.json {
                        true => out.write_all(json(event).as_bytes()).map_err(SetupError::cannot_write)?,
                        false => rows.push(row(event)),
                    }
                }
            }
        }
        if !is_found {
            writeln!(notes, "{name}: no event").map_err(SetupError::cannot_write)?;
        }
    }
    Ok(())
}

/// Returns the addresses of a target, the port that it is about, and the target as the user wrote it.
fn parts(target: Target) -> Result<(Vec<IpAddr>, Option<u16>, String), SetupError> {
    Ok(match target {
        Target::Host(ip) => (vec![ip], None, ip.to_string()),
        Target::Port(ip, port) => (vec![ip], Some(port), std::net::SocketAddr::new(ip, port).to_string()),
        Target::Network(network) => {
            let ips = network.addresses().map_err(|error| SetupError(error.to_string()))?;
            (ips, None, network.to_string())
        }
    })
}

/// The pages of one address. No server can answer without end.
struct Pages {
    ip: IpAddr,
    /// The id of the last event. Each event has a lower one.
    last: Option<String>,
    next: Option<String>,
    is_last: bool,
    /// In succession.
    empty: u32,
}

impl Pages {
    fn of(ip: IpAddr) -> Pages {
        Pages { ip, last: None, next: None, is_last: false, empty: 0 }
    }

    /// Returns the events of the next page, or `None` after the last page.
    async fn next(&mut self, source: &Source, with_bodies: bool) -> Result<Option<Vec<TimelineEvent>>, SetupError> {
        if self.is_last {
            return Ok(None);
        }
        let (events, next) = source.page(self.ip, with_bodies, self.next.as_deref()).await?;
        self.add(&events).map_err(|why| source.invalid(&why))?;
        (self.is_last, self.next) = (next.is_none(), next);
        Ok(Some(events))
    }

    /// Adds a page. Returns what is wrong with it.
    fn add(&mut self, events: &[TimelineEvent]) -> Result<(), String> {
        for event in events {
            let key = event.key().ok_or_else(|| format!("it returned the event {}, which no history has", event.id))?;
            if key.service.ip() != self.ip.to_string() {
                return Err(format!("it returned an event of {}, which was not asked for", event.ip));
            }
            if self.last.as_ref().is_some_and(|last| *last <= event.id) {
                return Err(format!("it returned the event {} out of order", event.id));
            }
            self.last = Some(event.id.clone());
        }
        self.empty = if events.is_empty() { self.empty + 1 } else { 0 };
        match self.empty > MAX_EMPTY_PAGES {
            true => Err(format!("it returned more than {MAX_EMPTY_PAGES} pages in succession without an event")),
            false => Ok(()),
        }
    }
}

impl Source {
    async fn connect(from: &From) -> Result<Source, SetupError> {
        let (endpoints, name) = match from {
            From::Api(api) => return Ok(Source::Api(Client::new(api)?)),
            From::Table { endpoints, history, .. } => (endpoints, history),
        };
        let client = endpoints.dynamo().await.map_err(|problem| table_error(endpoints, name, problem))?;
        let table = HistoryTable::new(client, name.clone());
        let history = PastReader::new(table, Calls::new(Arc::new(Silent)));
        Ok(Source::Table { history, name: name.clone() })
    }

    async fn page(
        &self,
        ip: IpAddr,
        with_bodies: bool,
        cursor: Option<&str>,
    ) -> Result<(Vec<TimelineEvent>, Option<String>), SetupError> {
        let (history, name) = match self {
            Source::Api(client) => return client.events(ip, with_bodies, cursor).await,
            Source::Table { history, name } => (history, name),
        };
        let (start, end, limit) = (0, u64::MAX, MAX_PAGE_SIZE);
        let query = EntryQuery { ip, start, end, newest_first: true, with_bodies, after: cursor, limit };
        let page = history.entries(&query).await.map_err(|error| failure(name, &error))?;
        Ok((page.entries.into_iter().map(TimelineEvent::from).collect(), page.next))
    }

    fn invalid(&self, why: &str) -> SetupError {
        match self {
            Source::Api(client) => client.invalid(why),
            Source::Table { name, .. } => SetupError(format!("history table {name} (--history-table): {why}")),
        }
    }
}

fn failure(table: &str, error: &Error) -> SetupError {
    let advice = match error.kind {
        ErrorKind::MissingTable => "Create it with `mini-scan setup changes`, or choose another one.",
        ErrorKind::NotAuthorized => "Grant this identity dynamodb:Query on the table.",
        ErrorKind::Throttled => "DynamoDB throttles reads of the table. Try again later.",
        ErrorKind::MissingIndex(_) | ErrorKind::UnfinishedIndex(_) | ErrorKind::Refused | ErrorKind::Unavailable => {
            "Check AWS_REGION, the network and --endpoint-url."
        }
    };
    SetupError(format!("history table {table} (--history-table) cannot be read: {error}\n{advice}"))
}

fn json(event: &TimelineEvent) -> String {
    let line = serde_json::to_string(event).expect("text and numbers are JSON");
    ascii_json(&line) + "\n"
}

/// Returns one line of the table. Nothing in it can control a terminal.
fn row(event: &TimelineEvent) -> [String; HEAD.len()] {
    let notes =
        [event.reason.map(Reason::name), event.late.then_some("late"), event.at_or_before.then_some("at or before")];
    let notes: Vec<_> = notes.into_iter().flatten().collect();
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
    let diff = event.diff.as_ref();
    [
        time(event.time),
        event.ip.clone(),
        event.port.to_string(),
        service(&event.service),
        format!("{}{notes}", event.event.name()),
        diff.map(|diff| format!("+{} -{}", diff.lines_added, diff.lines_removed)).unwrap_or_default(),
        diff.and_then(|diff| diff.text.as_deref()).map(changed_lines).unwrap_or_default(),
    ]
}

/// Returns the changed lines without their line numbers.
fn changed_lines(diff: &str) -> String {
    let lines: Vec<_> = diff.lines().filter(|line| !line.starts_with("@@ ")).collect();
    last_column(&lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::{Difference, Entry, EntryKey, Event, Sequence};
    use crate::scan::Key;

    fn event(ip: &str, time: u64) -> TimelineEvent {
        let service = Key::new(ip.parse().unwrap(), 80, "A#B");
        Entry::new(EntryKey { service, time, sequence: Sequence::none() }, Event::Changed, 0, 0).into()
    }

    #[test]
    fn events_that_were_not_asked_for_or_are_out_of_order_are_refused() {
        let mut pages = Pages::of([1, 1, 1, 7].into());
        assert_eq!(pages.add(&[event("1.1.1.7", 9), event("1.1.1.7", 8)]), Ok(()));
        for (wrong, part) in [
            (event("1.1.1.7", 8), "out of order"),
            (event("1.1.1.7", 9), "out of order"),
            (event("1.1.1.8", 7), "not asked for"),
            (TimelineEvent { port: 81, ..event("1.1.1.7", 7) }, "which no history has"),
        ] {
            assert!(pages.add(&[wrong]).unwrap_err().contains(part), "{part}");
        }
        for _ in 0..MAX_EMPTY_PAGES {
            pages.add(&[]).unwrap();
        }
        assert!(pages.add(&[]).unwrap_err().contains("without an event"));
    }

    #[test]
    fn a_line_of_the_table_has_the_difference_without_control_characters() {
        let text = Some("@@ -1 +1 @@\n-a\n+\u{1b}[2J\n".to_owned());
        let difference = Difference { lines_added: 1, lines_removed: 1, text, ..Difference::default() };
        let changed = TimelineEvent { diff: Some(difference.into()), ..event("1.1.1.7", 1_740_298_125) };
        let closed =
            TimelineEvent { event: Event::Closed, reason: Some(Reason::Expired), ..event("1.1.1.7", 1_740_298_125) };
        let expected = "\
TIME                  ADDRESS  PORT  SERVICE  EVENT             LINES  CHANGE
2025-02-23T08:08:45Z  1.1.1.7    80  A#B      changed           +1 -1  -a\\n+\\u{1b}[2J
2025-02-23T08:08:45Z  1.1.1.7    80  A#B      closed (expired)
";
        assert_eq!(layout(HEAD, &NUMBERS, &[row(&changed), row(&closed)]), expected);
        assert!(json(&changed).trim_end().chars().all(|c| (' '..='~').contains(&c)));
    }

    #[test]
    fn a_line_of_the_table_shows_that_a_time_is_not_exact_or_out_of_order() {
        let repair = TimelineEvent { at_or_before: true, ..event("1.1.1.7", 7) };
        assert_eq!(row(&repair)[4], "changed (at or before)");
        let late = TimelineEvent { late: true, ..event("1.1.1.7", 7) };
        assert_eq!(row(&late)[4], "changed (late)");
        let both =
            TimelineEvent { late: true, event: Event::Closed, reason: Some(Reason::Deleted), ..event("1.1.1.7", 7) };
        assert_eq!(row(&both)[4], "closed (deleted, late)");
    }
}
