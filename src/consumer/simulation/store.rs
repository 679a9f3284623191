//! The simulated table as a port of one instance: latencies, errors and missing answers.

use std::collections::BTreeSet;

use tokio::time::{Instant, sleep};

use super::faults::{Answer, BatchCall};
use super::messages::PANICKING_PORT;
use super::table::{LATENCY, Sent, Table, port_of};
use super::world::World;
use crate::consumer::ports::{Attempt, Fit, MAX_STATEMENTS, Statement, Store, StoreError, StoreErrorKind};
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
    fn run(&self, statements: &[Statement], answers: &[Answer], sent: Sent) -> Option<Vec<Option<Attempt>>> {
        let mut state = self.world.state();
        let table = &mut state.table;
        let run = |(statement, answer): (&Statement, &Answer)| {
            let answer = answer_of(table, *answer);
            let done = writes(answer).then(|| table.run(statement, sent));
            table.answered(self.instance, &statement.scan, Some(statement.verb), sent, answer);
            match (kind(answer), done) {
                (None, Some(done)) => done,
                // Errors of statements have no throttling reasons.
                (Some(StoreErrorKind::HotKey), _) => Some(Err(injected_error(answer, StoreErrorKind::Throttled))),
                (kind, _) => Some(Err(injected_error(answer, kind.expect("a normal answer has a result")))),
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

    async fn put(&self, scan: &Scan) -> Attempt {
        let (sent, (latency, answer)) = {
            let mut state = self.world.state();
            let start = state.start;
            (state.table.sent(), state.table.attempt(scan, None, start))
        };
        let _in_flight = self.begin();
        self.world.notify();
        sleep(latency).await;
        let (answer, put) = {
            let table = &mut self.world.state().table;
            let answer = answer_of(table, answer);
            table.answered(self.instance, scan, None, sent, answer);
            (answer, writes(answer).then(|| table.write(scan, sent)))
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

    async fn batch(&self, statements: &[Statement]) -> Result<Vec<Option<Attempt>>, StoreError> {
        check_batch(statements);
        let (sent, latency, answers, of_all) = {
            let mut state = self.world.state();
            let start = state.start;
            let table = &mut state.table;
            table.batches.push(statements.len());
            let of_all = table.batch_fault.call(BatchCall { number: table.batches.len(), at: Instant::now() - start });
            let attempt = |statement: &Statement| table.attempt(&statement.scan, Some(statement.verb), start);
            let (latencies, answers): (Vec<_>, Vec<_>) = statements.iter().map(attempt).unzip();
            (table.sent(), latencies.into_iter().max().unwrap_or_default(), answers, of_all)
        };
        let _in_flight = self.begin();
        self.world.notify();
        sleep(latency).await;
        let done = match of_all {
            None => self.run(statements, &answers, sent),
            Some(answer) if writes(answer) => {
                // Half of the batch is written before it fails.
                self.run(statements, &vec![Answer::Normal; statements.len().div_ceil(2)], sent);
                None
            }
            Some(_) => None,
        };
        self.world.notify();
        match (done, of_all) {
            (Some(done), _) => {
                self.notice(done.iter().any(found_no_table).then_some(StoreErrorKind::MissingTable));
                Ok(done)
            }
            (None, None | Some(Answer::Hang { .. })) => std::future::pending().await,
            (None, Some(answer)) => {
                self.notice(kind(answer));
                Err(injected_error(answer, kind(answer).expect("a batch fault is an error")))
            }
        }
    }

    async fn describe(&self) -> Result<Fit, StoreError> {
        let (sent, described) = {
            let mut state = self.world.state();
            let at = state.start.elapsed();
            state.table.descriptions.push(Instant::now());
            (state.table.sent(), state.table.description.call(at))
        };
        sleep(LATENCY).await;
        if let Ok(fit) = &described {
            self.world.state().table.described(self.instance, *fit == Fit::Fits, sent);
        }
        described.map_err(|kind| StoreError { kind, detail: "injected".to_owned() })
    }
}

/// Returns whether a statement of a batch found no table.
fn found_no_table(attempt: &Option<Attempt>) -> bool {
    matches!(attempt, Some(Err(error)) if error.kind == StoreErrorKind::MissingTable)
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
