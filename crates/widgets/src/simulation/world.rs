//! The tables, shared by all instances of a simulation, and everything that happened to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use dynamodb::{StoreError, StoreErrorKind};

use super::calls::Call;
use crate::operation::Operation;
use crate::ports::{Commit, Condition};
use crate::registry::{Observer, Registry, Settings};
use crate::transaction::{Request, Transaction};
use crate::widget::{Port, Serial, Widget};

pub(super) type Table = BTreeMap<Serial, Widget>;

tokio::task_local! {
    /// Which call an attempt belongs to.
    pub(super) static CALL: usize;
}

/// How probable each fault is until the end of the faults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) until: Instant,
    pub(super) throttled: f64,
    pub(super) conflict: f64,
    /// The service fails before it has done anything.
    pub(super) unavailable: f64,
    /// The answer is lost, or it is an error although the service has done its work.
    pub(super) lost: f64,
    /// The request arrives late, perhaps after the answer to the operation.
    pub(super) late: f64,
    pub(super) latency: Duration,
    /// How long a commit takes from one item to the next.
    pub(super) spread: Duration,
    /// A cancelled transaction is answered again in the same way if its token is repeated.
    pub(super) remembers_cancelled: bool,
    /// Conditions may see a part of a transaction that is being applied, and then refuse another one.
    pub(super) sees_halves: bool,
}

/// What the store knows of a token.
enum Known {
    InProgress,
    Answered(Result<Commit, StoreError>),
}

/// A transaction that was applied.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Applied {
    pub(super) call: usize,
    pub(super) transaction: Transaction,
    /// When it was committed, in steps.
    pub(super) at: u64,
    pub(super) before: Table,
    pub(super) after: Table,
}

pub(super) struct State {
    /// What a read sees. A commit becomes visible item by item.
    pub(super) visible: Table,
    /// What is committed, item by item or not.
    committed: Table,
    /// The items of transactions that are being applied.
    locked: BTreeSet<String>,
    requests: BTreeMap<String, Request>,
    tokens: BTreeMap<Uuid, (Transaction, Known)>,
    pub(super) calls: Vec<Call>,
    pub(super) history: Vec<Applied>,
    /// What each widget was, from which step on.
    pub(super) timeline: BTreeMap<Serial, Vec<(u64, Option<Widget>)>>,
    step: u64,
    pub(super) random: StdRng,
    pub(super) counts: BTreeMap<&'static str, usize>,
}

/// What follows from the arrival of a transaction.
pub(super) enum Arrived {
    Answer(Result<Commit, StoreError>),
    /// It is committed. Its items become visible in this order.
    Committed(Vec<(Serial, Option<Widget>)>),
}

impl State {
    pub(super) fn count(&mut self, event: &'static str) {
        *self.counts.entry(event).or_default() += 1;
    }

    /// Returns the number of the next event.
    pub(super) fn step(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    pub(super) fn is_locked(&self, serial: &Serial) -> bool {
        self.locked.contains(serial.as_str())
    }

    pub(super) fn arrive(&mut self, call: usize, transaction: &Transaction, token: Uuid, faults: &Faults) -> Arrived {
        match self.tokens.get(&token) {
            Some((known, _)) if known != transaction => {
                return Arrived::Answer(error(StoreErrorKind::Misconfigured, "IdempotentParameterMismatch"));
            }
            Some((_, Known::InProgress)) => {
                return Arrived::Answer(error(StoreErrorKind::Conflict, "TransactionInProgress"));
            }
            Some((_, Known::Answered(answer))) => {
                let answer = answer.clone();
                self.count(if answer == Ok(Commit::Applied) {
                    "repeats of applied tokens"
                } else {
                    "repeats of cancelled tokens"
                });
                return Arrived::Answer(answer);
            }
            None => {}
        }
        let refused = self.conditions(transaction);
        let is_locked = keys(transaction).iter().any(|key| self.locked.contains(key));
        let answer = match refused {
            None if !is_locked => return self.commit(call, transaction, token),
            Some(refused) if !is_locked => Ok(refused),
            Some(refused) if faults.sees_halves && self.random.random() => {
                self.count("refusals by half commits");
                Ok(refused)
            }
            None | Some(_) => {
                self.count("conflicts");
                error(StoreErrorKind::Conflict, "TransactionConflict")
            }
        };
        if faults.remembers_cancelled {
            self.tokens.insert(token, (transaction.clone(), Known::Answered(answer.clone())));
        }
        Arrived::Answer(answer)
    }

    /// Returns the answer to a transaction whose conditions do not all hold.
    fn conditions(&self, transaction: &Transaction) -> Option<Commit> {
        let condition = |action: &crate::transaction::Action| {
            let item = self.visible.get(action.serial());
            match action.apply(item) {
                Ok(_) => Condition::Met,
                Err(_) => Condition::Unmet(item.cloned().map(Box::new)),
            }
        };
        let actions: Vec<_> = transaction.actions.iter().map(condition).collect();
        let stored = transaction.request.as_ref().and_then(|request| {
            let stored = self.requests.get(&request.id)?;
            (stored.expires_at > request.now).then(|| Box::new(stored.stored.clone()))
        });
        let is_met = stored.is_none() && actions.iter().all(|condition| *condition == Condition::Met);
        (!is_met).then_some(Commit::Refused { actions, request: stored })
    }

    fn commit(&mut self, call: usize, transaction: &Transaction, token: Uuid) -> Arrived {
        let before = self.committed.clone();
        let mut items = Vec::new();
        for action in &transaction.actions {
            let serial = action.serial();
            let item = action.apply(self.committed.get(serial)).expect("the conditions hold");
            set(&mut self.committed, serial, item.as_ref());
            items.push((serial.clone(), item));
        }
        assert_eq!(violations(&self.committed), Vec::<String>::new(), "after {transaction:?}");
        if let Some(request) = &transaction.request {
            self.requests.insert(request.id.clone(), request.clone());
        }
        self.locked.extend(keys(transaction));
        self.tokens.insert(token, (transaction.clone(), Known::InProgress));
        let (at, after, transaction) = (self.step(), self.committed.clone(), transaction.clone());
        self.history.push(Applied { call, transaction, at, before, after });
        Arrived::Committed(items)
    }

    pub(super) fn show(&mut self, serial: &Serial, item: Option<Widget>) {
        let at = self.step();
        set(&mut self.visible, serial, item.as_ref());
        self.timeline.entry(serial.clone()).or_insert_with(|| vec![(0, None)]).push((at, item));
    }

    pub(super) fn end(&mut self, transaction: &Transaction, token: Uuid) {
        for key in keys(transaction) {
            self.locked.remove(&key);
        }
        self.tokens.insert(token, (transaction.clone(), Known::Answered(Ok(Commit::Applied))));
    }
}

fn set(table: &mut Table, serial: &Serial, item: Option<&Widget>) {
    match item {
        Some(widget) => table.insert(serial.clone(), widget.clone()),
        None => table.remove(serial),
    };
}

/// Returns the names of the items of a transaction. A widget's serial number has no `#`.
fn keys(transaction: &Transaction) -> Vec<String> {
    let request = transaction.request.iter().map(|request| format!("#{}", request.id));
    transaction.actions.iter().map(|action| action.serial().to_string()).chain(request).collect()
}

pub(super) fn error<T>(kind: StoreErrorKind, detail: &str) -> Result<T, StoreError> {
    Err(StoreError { kind, detail: detail.to_owned() })
}

/// Returns each way in which widgets violate the rules of connections.
pub(super) fn violations(table: &Table) -> Vec<String> {
    let mut violations = Vec::new();
    for widget in table.values() {
        for (port, peer) in widget.peers.iter() {
            let named = table.get(peer).and_then(|peer| peer.peers.get(port));
            if *peer == widget.serial || named != Some(&widget.serial) || !widget.ports.contains(port) {
                violations.push(format!("{port} of {} is connected to {peer}, and that to {named:?}", widget.serial));
            }
        }
    }
    violations
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) state: Arc<Mutex<State>>,
    /// Transactions on their way. They arrive even if nobody waits for them.
    pub(super) requests: Arc<Mutex<JoinSet<()>>>,
    pub(super) faults: Faults,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> World {
        let state = State {
            visible: BTreeMap::new(),
            committed: BTreeMap::new(),
            locked: BTreeSet::new(),
            requests: BTreeMap::new(),
            tokens: BTreeMap::new(),
            calls: Vec::new(),
            history: Vec::new(),
            timeline: BTreeMap::new(),
            step: 0,
            random: StdRng::seed_from_u64(seed),
            counts: BTreeMap::new(),
        };
        World { state: Arc::new(Mutex::new(state)), requests: Arc::default(), faults }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn registry(
        &self,
        settings: Settings,
        seed: u64,
        clock: fn() -> std::time::SystemTime,
    ) -> Registry<World> {
        Registry::new(self.clone(), settings, Arc::new(self.clone()), clock).with_seed(seed)
    }

    /// Waits until the last request has arrived.
    pub(super) async fn drain(&self) {
        loop {
            let mut requests = std::mem::take(&mut *self.requests.lock().unwrap());
            if requests.is_empty() {
                return;
            }
            while let Some(ended) = requests.join_next().await {
                ended.unwrap();
            }
        }
    }

    /// Returns whether a fault with this probability happens now.
    pub(super) fn happens(&self, probability: f64) -> bool {
        Instant::now() < self.faults.until && self.state().random.random_bool(probability)
    }

    pub(super) fn delay(&self, longest: Duration) -> Duration {
        self.state().random.random_range(Duration::ZERO..=longest)
    }
}

impl Observer for World {
    fn retried(&self, _: &Operation, _: StoreErrorKind) {
        self.state().count("retries");
    }

    fn rebuilt(&self, _: &Operation) {
        self.state().count("rebuilt transactions");
    }
}

/// Returns whether the widgets were connected to each other at this port.
pub(super) fn are_connected(a: Option<&Widget>, b: Option<&Widget>, port: Port) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    a.peers.get(port) == Some(&b.serial) && b.peers.get(port) == Some(&a.serial)
}
