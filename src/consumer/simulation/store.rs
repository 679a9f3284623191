//! The simulated table as a port of one instance: latencies, errors and missing answers.

use std::collections::BTreeSet;

use tokio::time::{Instant, sleep};

use super::faults::{Answer, BatchCall};
use super::messages::PANICKING_PORT;
use super::table::{Table, port_of};
use super::world::World;
use crate::consumer::ports::{self, MAX_STATEMENTS, Put, Statement, Store, StoreError, StoreErrorKind};
use crate::scan::{Rejection, Scan};

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

/// Returns the answer of a table that may be missing now.
fn answer_of(table: &Table, answer: Answer) -> Answer {
    if table.is_missing() { Answer::MissingTable } else { answer }
}

#[derive(Debug)]
pub(super) struct SimStore {
    pub(super) world: World,
    pub(super) instance: usize,
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
        let table = &mut state.table;
        let run = |(statement, answer): (&Statement, &Answer)| {
            let answer = answer_of(table, *answer);
            let done = writes(answer).then(|| table.run(statement));
            table.answered(self.instance, &statement.scan, Some(statement.verb), answer);
            match (kind(answer), done) {
                (None, Some(done)) => done,
                // Errors of statements have no throttling reasons.
                (Some(StoreErrorKind::HotKey), _) => {
                    ports::Answer::Failed(injected_error(answer, StoreErrorKind::Throttled))
                }
                (kind, _) => ports::Answer::Failed(injected_error(answer, kind.expect("a normal answer has a result"))),
            }
        };
        let done = statements.iter().zip(answers).map(run).collect();
        let is_answered = !answers.iter().any(|answer| matches!(answer, Answer::Hang { .. }));
        is_answered.then_some(done)
    }

    /// Records that this instance learns that the table is missing.
    fn notice(&self, kind: Option<StoreErrorKind>) {
        if kind == Some(StoreErrorKind::MissingTable) {
            self.world.state().table.noticed.insert(self.instance, Instant::now());
        }
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
            state.table.attempt(scan, None, start)
        };
        let _in_flight = self.begin();
        self.world.notify();
        sleep(latency).await;
        let (answer, put) = {
            let table = &mut self.world.state().table;
            let answer = answer_of(table, answer);
            table.answered(self.instance, scan, None, answer);
            (answer, writes(answer).then(|| table.write(scan)))
        };
        self.world.notify();
        if matches!(answer, Answer::Hang { .. }) {
            std::future::pending::<()>().await;
        }
        self.notice(kind(answer));
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
            let attempt = |statement: &Statement| table.attempt(&statement.scan, Some(statement.verb), start);
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
            (Some(done), _) => {
                self.notice(done.iter().find_map(missing_table));
                Ok(done)
            }
            (None, None | Some(Answer::Hang { .. })) => std::future::pending().await,
            (None, Some(answer)) => {
                self.notice(kind(answer));
                Err(injected_error(answer, kind(answer).expect("a batch fault is an error")))
            }
        }
    }
}

/// Returns the kind of error of a statement that found no table.
fn missing_table(answer: &ports::Answer) -> Option<StoreErrorKind> {
    match answer {
        ports::Answer::Failed(error) => Some(error.kind).filter(|kind| *kind == StoreErrorKind::MissingTable),
        ports::Answer::Put(_) | ports::Answer::OtherVerb => None,
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
