//! The simulated table: rows under the real condition, and every attempt on record.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::{Answer, Attempt, Script};
use super::messages::PANICKING_PORT;
use super::world::World;
use crate::consumer::port::{Put, Store, StoreError, StoreErrorKind, Stored};
use crate::scan::{Rejection, Scan};

/// How long the table takes unless a script says otherwise.
pub(super) const LATENCY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<u16, Row>,
    pub(super) calls: Vec<Call>,
    pub(super) in_flight: usize,
    pub(super) most_in_flight: usize,
    pub(super) fault: Script<Attempt, (Duration, Answer)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) timestamp: u64,
    pub(super) response: String,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) port: u16,
    pub(super) at: Instant,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            rows: BTreeMap::new(),
            calls: Vec::new(),
            in_flight: 0,
            most_in_flight: 0,
            fault: Script::new(|_| (LATENCY, Answer::Truly)),
        }
    }
}

impl Table {
    pub(super) fn calls_of(&self, port: u16) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.port == port)
    }

    /// Calls from one moment of the simulation up to another.
    pub(super) fn calls_between(&self, start: Instant, from: Duration, to: Duration) -> usize {
        self.calls.iter().filter(|call| (from..to).contains(&(call.at - start))).count()
    }

    fn write(&mut self, port: u16, scan: &Scan) -> Put {
        if let Some(row) = self.rows.get(&port).filter(|row| row.timestamp >= scan.timestamp) {
            let is_same = row.timestamp == scan.timestamp && row.response == scan.response;
            return Put::Stale(Stored { timestamp: row.timestamp, is_same, bytes: row.response.len() });
        }
        self.rows.insert(port, Row { timestamp: scan.timestamp, response: scan.response.clone() });
        Put::Stored
    }
}

#[derive(Debug)]
pub(super) struct SimStore {
    pub(super) world: World,
}

impl SimStore {
    fn begin(&self, port: u16) -> (Duration, Answer) {
        let mut state = self.world.state();
        let at = Instant::now();
        let since = at - state.start;
        let table = &mut state.table;
        table.calls.push(Call { port, at });
        table.in_flight += 1;
        table.most_in_flight = table.most_in_flight.max(table.in_flight);
        let attempt = Attempt { port, number: table.calls.len(), of_key: table.calls_of(port).count(), at: since };
        table.fault.ask(attempt)
    }

    fn write(&self, port: u16, scan: &Scan) -> Put {
        let put = self.world.state().table.write(port, scan);
        self.world.note();
        put
    }
}

impl Store for SimStore {
    fn measure(&self, scan: &Scan) -> Result<usize, Rejection> {
        if scan.key.port() == PANICKING_PORT.to_string() {
            // A panic without the hook, whose backtrace would be most of a simulation's time.
            std::panic::resume_unwind(Box::new("this port is told to panic"));
        }
        Ok(scan.response.len())
    }

    async fn put(&self, scan: &Scan) -> Result<Put, StoreError> {
        let port = scan.key.port().parse().unwrap();
        let (latency, answer) = self.begin(port);
        let _in_flight = InFlight(&self.world);
        self.world.note();
        sleep(latency).await;
        let kind = match answer {
            Answer::Truly => return Ok(self.write(port, scan)),
            Answer::Unavailable { written } | Answer::Never { written } => {
                if written {
                    self.write(port, scan);
                }
                if matches!(answer, Answer::Never { .. }) {
                    std::future::pending::<()>().await;
                }
                StoreErrorKind::Unavailable
            }
            Answer::Throttled => StoreErrorKind::Throttled,
            Answer::HotKey => StoreErrorKind::HotKey,
            Answer::Misconfigured => StoreErrorKind::MissingTable,
            Answer::Refused => StoreErrorKind::Refused,
            Answer::ForeignRow => StoreErrorKind::ForeignRow,
        };
        Err(StoreError { kind, detail: format!("told to answer {answer:?}") })
    }
}

struct InFlight<'a>(&'a World);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().table.in_flight -= 1;
        self.0.note();
    }
}
