//! The simulated table: it applies the real condition and records every attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::{Answer, Attempt, BatchCall, Script};
use super::messages::PANICKING_PORT;
use super::world::World;
use crate::consumer::ports::{self, MAX_STATEMENTS, Put, Statement, Store, StoreError, StoreErrorKind, Stored, Verb};
use crate::scan::{Rejection, Scan};

/// The default latency of the table.
pub(super) const LATENCY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<u16, Row>,
    /// Every attempt, as a PutItem or in a batch.
    pub(super) calls: Vec<Call>,
    /// The size of each batch.
    pub(super) batches: Vec<usize>,
    pub(super) in_flight: usize,
    pub(super) max_in_flight: usize,
    pub(super) fault: Script<Attempt, (Duration, Answer)>,
    /// The answer to a whole batch, or `None` to answer each statement.
    pub(super) batch_fault: Script<BatchCall, Option<Answer>>,
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
    /// `None` for a PutItem.
    pub(super) verb: Option<Verb>,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            rows: BTreeMap::new(),
            calls: Vec::new(),
            batches: Vec::new(),
            in_flight: 0,
            max_in_flight: 0,
            fault: Script::new(|_| (LATENCY, Answer::Normal)),
            batch_fault: Script::new(|_| None),
        }
    }
}

impl Table {
    pub(super) fn calls_of(&self, port: u16) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.port == port)
    }

    /// Returns the number of calls between two simulated times.
    pub(super) fn calls_between(&self, start: Instant, from: Duration, to: Duration) -> usize {
        self.calls.iter().filter(|call| (from..to).contains(&(call.at - start))).count()
    }

    /// Records an attempt, and returns its latency and answer.
    fn attempt(&mut self, port: u16, verb: Option<Verb>, start: Instant) -> (Duration, Answer) {
        let at = Instant::now();
        self.calls.push(Call { port, at, verb });
        let of_key = self.calls_of(port).count();
        self.fault.call(Attempt { port, verb, number: self.calls.len(), of_key, at: at - start })
    }

    fn write(&mut self, scan: &Scan) -> Put {
        let port = port_of(scan);
        if let Some(row) = self.rows.get(&port).filter(|row| row.timestamp >= scan.timestamp) {
            let is_same = row.timestamp == scan.timestamp && row.response == scan.response;
            return Put::Stale(Stored { timestamp: row.timestamp, is_same, bytes: row.response.len() });
        }
        self.rows.insert(port, Row { timestamp: scan.timestamp, response: scan.response.clone() });
        Put::Stored
    }

    fn run(&mut self, statement: &Statement) -> ports::Answer {
        let has_row = self.rows.contains_key(&port_of(&statement.scan));
        match (statement.verb, has_row) {
            (Verb::Update, false) | (Verb::Insert, true) => ports::Answer::OtherVerb,
            (Verb::Update, true) | (Verb::Insert, false) => ports::Answer::Put(self.write(&statement.scan)),
        }
    }
}

fn port_of(scan: &Scan) -> u16 {
    scan.key.port().parse().expect("a port")
}

fn injected_error(answer: Answer, kind: StoreErrorKind) -> StoreError {
    StoreError { kind, detail: format!("injected: {answer:?}") }
}

/// Returns the kind of error of an answer, or `None` if the answer is no error.
fn kind(answer: Answer) -> Option<StoreErrorKind> {
    Some(match answer {
        Answer::Normal => return None,
        Answer::Unavailable { .. } | Answer::Hang { .. } => StoreErrorKind::Unavailable,
        Answer::Throttled => StoreErrorKind::Throttled,
        Answer::HotKey => StoreErrorKind::HotKey,
        Answer::MissingTable => StoreErrorKind::MissingTable,
        Answer::Refused => StoreErrorKind::Refused,
        Answer::ForeignRow => StoreErrorKind::ForeignRow,
    })
}

fn writes(answer: Answer) -> bool {
    matches!(answer, Answer::Normal | Answer::Unavailable { written: true } | Answer::Hang { written: true })
}

#[derive(Debug)]
pub(super) struct SimStore {
    pub(super) world: World,
}

impl SimStore {
    fn begin(&self) -> InFlight<'_> {
        let mut state = self.world.state();
        let table = &mut state.table;
        table.in_flight += 1;
        table.max_in_flight = table.max_in_flight.max(table.in_flight);
        InFlight(&self.world)
    }

    /// Runs the statements, and returns their answers, or `None` if the call hangs.
    fn run(&self, statements: &[Statement], answers: &[Answer]) -> Option<Vec<ports::Answer>> {
        let mut state = self.world.state();
        let run = |(statement, answer): (&Statement, &Answer)| {
            let done = writes(*answer).then(|| state.table.run(statement));
            match (kind(*answer), done) {
                (None, Some(done)) => done,
                // Errors of statements have no throttling reasons.
                (Some(StoreErrorKind::HotKey), _) => {
                    ports::Answer::Failed(injected_error(*answer, StoreErrorKind::Throttled))
                }
                (kind, _) => {
                    ports::Answer::Failed(injected_error(*answer, kind.expect("a normal answer has a result")))
                }
            }
        };
        let done = statements.iter().zip(answers).map(run).collect();
        let is_answered = !answers.iter().any(|answer| matches!(answer, Answer::Hang { .. }));
        is_answered.then_some(done)
    }
}

impl Store for SimStore {
    fn measure(&self, scan: &Scan) -> Result<usize, Rejection> {
        if scan.key.port() == PANICKING_PORT.to_string() {
            // Without the panic hook, whose backtrace would take most of the time of a simulation.
            std::panic::resume_unwind(Box::new("injected panic"));
        }
        Ok(scan.response.len())
    }

    async fn put(&self, scan: &Scan) -> Result<Put, StoreError> {
        let (latency, answer) = {
            let mut state = self.world.state();
            let start = state.start;
            state.table.attempt(port_of(scan), None, start)
        };
        let _in_flight = self.begin();
        self.world.notify();
        sleep(latency).await;
        let put = writes(answer).then(|| self.world.state().table.write(scan));
        self.world.notify();
        if matches!(answer, Answer::Hang { .. }) {
            std::future::pending::<()>().await;
        }
        match (kind(answer), put) {
            (None, Some(put)) => Ok(put),
            (kind, _) => Err(injected_error(answer, kind.expect("a normal answer has a result"))),
        }
    }

    async fn batch(&self, statements: &[Statement]) -> Result<Vec<ports::Answer>, StoreError> {
        check_batch(statements);
        let (latency, answers, of_all) = {
            let mut state = self.world.state();
            let start = state.start;
            let table = &mut state.table;
            table.batches.push(statements.len());
            let of_all = table.batch_fault.call(BatchCall { number: table.batches.len(), at: Instant::now() - start });
            let attempt = |statement: &Statement| table.attempt(port_of(&statement.scan), Some(statement.verb), start);
            let (latencies, answers): (Vec<_>, Vec<_>) = statements.iter().map(attempt).unzip();
            (latencies.into_iter().max().unwrap_or_default(), answers, of_all)
        };
        let _in_flight = self.begin();
        self.world.notify();
        sleep(latency).await;
        let done = match of_all {
            None => self.run(statements, &answers),
            Some(answer) if writes(answer) => {
                // Half of the batch is written before it fails.
                self.run(statements, &vec![Answer::Normal; statements.len().div_ceil(2)]);
                None
            }
            Some(_) => None,
        };
        self.world.notify();
        match (done, of_all) {
            (Some(done), _) => Ok(done),
            (None, None | Some(Answer::Hang { .. })) => std::future::pending().await,
            (None, Some(answer)) => Err(injected_error(answer, kind(answer).expect("a batch fault is an error"))),
        }
    }
}

/// Panics if DynamoDB would reject the batch as a whole.
fn check_batch(statements: &[Statement]) {
    let keys: BTreeSet<_> = statements.iter().map(|statement| port_of(&statement.scan)).collect();
    assert_eq!(keys.len(), statements.len(), "a key is twice in a batch");
    assert!((1..=MAX_STATEMENTS).contains(&statements.len()), "a batch of {}", statements.len());
}

struct InFlight<'a>(&'a World);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().table.in_flight -= 1;
        self.0.notify();
    }
}
