//! Clients that change the same widgets at the same time, and log what each answer means.

mod answer;
mod draw;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::answer::{Meaning, effect, facts, meaning};
use self::draw::{Draw, Request};
use super::verify::{Effect, Log, Moment, Seen, Write};
use crate::client::{Client, NoAnswer, Response};
use crate::operation::Operation;
use crate::tools::load::Widgets;

/// How often a request is repeated that has no definitive answer.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);
/// A finished request with a key is sent again after this many other requests.
const REPEATED_AFTER: usize = 10;

/// What the clients do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The instances of the API. A request may be repeated at another one.
    pub apis: Vec<Client>,
    pub widgets: Widgets,
    pub clients: usize,
    /// The requests of all clients together.
    pub requests: usize,
    pub seed: u64,
}

/// What the clients did, and what they were answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub log: Log,
    /// The requests by their operation and what came of it.
    pub results: BTreeMap<(&'static str, String), u64>,
    /// Finished requests that another instance answered again.
    pub repeated: u64,
    /// Requests without an answer that were sent again with the same Idempotency-Key.
    pub resolved: u64,
    /// Requests that may have been done.
    pub unknown: u64,
    /// Answers that no correct API gives.
    pub wrong: Vec<String>,
}

impl Report {
    fn add(&mut self, other: Report) {
        self.log.writes.extend(other.log.writes);
        self.log.seen.extend(other.log.seen);
        other.results.into_iter().for_each(|(result, count)| *self.results.entry(result).or_default() += count);
        self.repeated += other.repeated;
        self.resolved += other.resolved;
        self.unknown += other.unknown;
        self.wrong.extend(other.wrong);
    }

    /// Returns how many requests of this operation had this result.
    pub fn count(&self, operation: &str, result: &str) -> u64 {
        let of =
            |((name, found), count): (&(&str, String), &u64)| (*name == operation && found == result).then_some(*count);
        self.results.iter().filter_map(of).sum()
    }
}

/// How far the clients are.
#[derive(Debug, Default)]
pub struct Progress {
    begun: watch::Sender<usize>,
    moment: AtomicU64,
}

impl Progress {
    /// Returns how many requests have begun.
    pub fn begun(&self) -> usize {
        *self.begun.borrow()
    }

    /// Waits until this many requests have begun.
    pub async fn until(&self, count: usize) {
        // It cannot fail, because `self` has the sender.
        _ = self.begun.subscribe().wait_for(|begun| *begun >= count).await;
    }

    /// Returns the number of the next request.
    fn begin(&self) -> usize {
        let mut number = 0;
        self.begun.send_modify(|begun| {
            number = *begun;
            *begun += 1;
        });
        number
    }

    fn now(&self) -> Moment {
        // After the moment 0 of the widgets that existed before.
        self.moment.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// Runs all clients until there are no more requests. All widgets of the plan exist when they begin.
pub async fn run(plan: &Plan, progress: &Arc<Progress>) -> Report {
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        let random = StdRng::seed_from_u64(plan.seed.wrapping_mul(1_000).wrapping_add(number as u64));
        let worker = Worker {
            number,
            apis: plan.apis.clone(),
            draw: Draw::new(plan.widgets.clone(), random),
            progress: Arc::clone(progress),
            report: Report::default(),
            keyed: Vec::new(),
        };
        clients.spawn(worker.work(plan.requests));
    }
    let mut report = Report::default();
    let exists = (0..plan.widgets.count).filter_map(|number| plan.widgets.serial(number).ok());
    report.log.writes.extend(exists.map(|serial| Write { effect: Effect::Created(serial), begin: 0, end: Some(0) }));
    while let Some(ended) = clients.join_next().await {
        match ended {
            Ok(other) => report.add(other),
            Err(error) => report.wrong.push(error.to_string()),
        }
    }
    report
}

/// One client.
struct Worker {
    number: usize,
    apis: Vec<Client>,
    draw: Draw,
    progress: Arc<Progress>,
    report: Report,
    /// Finished requests, which are sent again.
    keyed: Vec<Keyed>,
}

struct Keyed {
    operation: Operation,
    key: String,
    response: Response,
    /// The instance that answered.
    api: usize,
}

impl Worker {
    async fn work(mut self, requests: usize) -> Report {
        loop {
            let number = self.progress.begin();
            if number >= requests {
                return self.report;
            }
            match self.draw.request() {
                Request::Get(serial) => {
                    let begin = self.progress.now();
                    let api = self.draw.random.random_range(0..self.apis.len());
                    let response = self.apis[api].get(&serial).await;
                    self.seen(begin, facts(&serial, response.as_ref().ok()));
                    self.note("get", response.as_ref());
                }
                Request::Write(operation) => {
                    let key = self.draw.random.random_bool(0.5).then(|| format!("{}-{number}", self.number));
                    self.write(operation, key).await;
                }
            }
            if self.keyed.len() > REPEATED_AFTER {
                let index = self.draw.random.random_range(0..self.keyed.len());
                let keyed = self.keyed.swap_remove(index);
                self.repeat(keyed).await;
            }
        }
    }

    /// Sends a request until its answer is definitive, or until it must not be sent again.
    async fn write(&mut self, operation: Operation, key: Option<String>) {
        let begin = self.progress.now();
        let mut api = self.draw.random.random_range(0..self.apis.len());
        let mut is_unknown = false;
        for _ in 0..TRIES {
            let response = self.apis[api].run(&operation, key.as_deref()).await;
            self.note(operation.name(), response.as_ref());
            match meaning(response.as_ref()) {
                Meaning::Final => {
                    let Ok(response) = response else { return };
                    self.report.resolved += u64::from(is_unknown);
                    self.finish(begin, &operation, &response);
                    if let Some(key) = key {
                        self.keyed.push(Keyed { operation, key, response, api });
                    }
                    return;
                }
                Meaning::Unknown => {
                    is_unknown = true;
                    if key.is_none() {
                        break;
                    }
                }
                Meaning::NotDone => {}
                Meaning::Unexpected(why) => return self.report.wrong.push(format!("{operation:?}: {why}")),
            }
            sleep(PAUSE).await;
            api = (api + 1) % self.apis.len();
        }
        if is_unknown {
            self.report.unknown += 1;
            self.report.log.writes.extend(effect(&operation).map(|effect| Write { effect, begin, end: None }));
        }
    }

    fn finish(&mut self, begin: Moment, operation: &Operation, response: &Response) {
        let end = self.progress.now();
        if response.status < 300 {
            self.draw.done(operation);
            self.report.log.writes.extend(effect(operation).map(|effect| Write { effect, begin, end: Some(end) }));
        } else {
            match answer::refusal(operation, response) {
                Ok(fact) => self.report.log.seen.push(Seen { fact, begin, end }),
                Err(why) => self.report.wrong.push(format!("{operation:?}: {why}")),
            }
        }
    }

    fn seen(&mut self, begin: Moment, facts: Vec<super::verify::Fact>) {
        let end = self.progress.now();
        self.report.log.seen.extend(facts.into_iter().map(|fact| Seen { fact, begin, end }));
    }

    /// Sends a finished request to the next instance, which must answer the same and do nothing.
    async fn repeat(&mut self, keyed: Keyed) {
        let Keyed { operation, key, response, api } = keyed;
        let again = self.apis[(api + 1) % self.apis.len()].run(&operation, Some(&key)).await;
        if meaning(again.as_ref()) == Meaning::Final
            && let Ok(again) = again
        {
            self.report.repeated += 1;
            if !again.is_repeat || again.status != response.status || again.body != response.body {
                self.report.wrong.push(format!("{operation:?} with key {key}: first {response:?}, then {again:?}"));
            }
        }
    }

    fn note(&mut self, operation: &'static str, response: Result<&Response, &NoAnswer>) {
        let result = match response {
            Ok(response) => match response.problem() {
                Some(problem) => format!("{} {problem}", response.status),
                None => response.status.to_string(),
            },
            Err(NoAnswer::NotSent(_)) => "not sent".to_owned(),
            Err(NoAnswer::Lost(_)) => "no answer".to_owned(),
        };
        *self.report.results.entry((operation, result)).or_default() += 1;
    }
}
