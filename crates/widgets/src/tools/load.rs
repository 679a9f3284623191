//! `widget-registry load`: creates widgets through the API, and connects and disconnects them at a rate.
//!
//! The operations come in an open loop: each has an intended start, which does not depend on the answers before, and its latency
//! counts from there. A slow API therefore shows its queue.

mod results;
mod stream;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream as futures};
use indicatif::ProgressBar;
use ops::console::{Console, Outcome, ToolError, progress};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Response};
use crate::operation::Operation;

pub use results::{Ended, Latencies, Results};
pub use stream::{Stream, Widgets};

/// The most widgets of a request.
const BATCH: u32 = 100;
/// Requests of a batch at the same time. The API works on several widgets of each.
const BATCHES: usize = 4;
/// How often a widget is tried whose creation had no answer.
const TRIES: u32 = 8;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    pub url: String,
    pub token_file: Option<PathBuf>,
    pub widgets: Widgets,
    /// Operations per second.
    pub rate: f64,
    pub lasts: Duration,
    /// Requests at the same time, at most.
    pub clients: NonZeroUsize,
    pub seed: u64,
    pub json: bool,
}

pub async fn run(load: &Load, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let client = client(load)?;
    let (begin, mut results) = (Instant::now(), Results::default());
    create(&client, &load.widgets, &mut results, console.stop).await?;
    let took = begin.elapsed().as_secs_f64();
    if !console.is_stopped() {
        console.note(format_args!("{} widgets exist after {took:.1} s", load.widgets.count))?;
        if !load.lasts.is_zero() {
            operate(&client, load, &mut results, console.stop).await?;
        }
    }
    let lasted = begin.elapsed();
    match load.json {
        true => console.print(format_args!("{}\n", results.json(lasted)))?,
        false => console.print(format_args!("{client}, in {:.1} s\n\n{results}", lasted.as_secs_f64()))?,
    }
    Ok(match results.wrong() {
        _ if console.is_stopped() => Outcome::Partly,
        0 => Outcome::Done,
        _ => Outcome::Failed,
    })
}

fn client(load: &Load) -> Result<Client, ToolError> {
    let token = load.token_file.as_ref().map(|path| {
        let text = std::fs::read_to_string(path);
        text.map_err(|error| ToolError(format!("cannot read the token in {}: {error}", path.display())))
    });
    let token = token.transpose()?.map(|text| text.trim().to_owned());
    Client::new(&load.url, token).map_err(|error| ToolError(error.to_string()))
}

/// Creates the widgets. Those that exist already are not changed.
pub async fn create(
    client: &Client,
    widgets: &Widgets,
    results: &mut Results,
    stop: &CancellationToken,
) -> Result<(), ToolError> {
    let bar = progress("creating widgets", Some(widgets.count.into()));
    let mut firsts = (0..widgets.count).step_by(BATCH as usize);
    let batches = std::iter::from_fn(|| if stop.is_cancelled() { None } else { firsts.next() });
    let batch = async |first: u32| {
        let numbers = first..widgets.count.min(first.saturating_add(BATCH));
        let operations = numbers.map(|number| widgets.create(number)).collect::<Result<Vec<_>, _>>();
        create_batch(client, operations.map_err(|error| ToolError(error.to_string()))?).await
    };
    let mut created = pin!(futures::iter(batches.map(batch)).buffer_unordered(BATCHES));
    while let Some(statuses) = created.next().await {
        for status in statuses? {
            results.add("create", Ended::Status(status), None);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Creates up to 100 widgets, and repeats those without a definitive answer. Returns the statuses.
async fn create_batch(client: &Client, mut left: Vec<Operation>) -> Result<Vec<u16>, ToolError> {
    let (mut statuses, mut why) = (Vec::new(), String::new());
    for tried in 0..TRIES {
        if tried > 0 {
            sleep(FIRST_BACKOFF * (1 << tried)).await;
        }
        let answered = match client.create(&left).await {
            Ok(response) if response.status == 200 => answers(&response, left.len())?,
            Ok(response) if response.status == 503 => {
                why = detail(&response.body);
                continue;
            }
            Ok(response) => return Err(refused(response.status, &response.body)),
            Err(error) => {
                why = error.to_string();
                continue;
            }
        };
        let mut again = Vec::new();
        for (operation, (status, problem)) in left.into_iter().zip(answered) {
            match status {
                200 | 201 => statuses.push(status),
                503 => {
                    why = detail(&problem);
                    again.push(operation);
                }
                _ => return Err(refused(status, &problem)),
            }
        }
        if again.is_empty() {
            return Ok(statuses);
        }
        left = again;
    }
    Err(ToolError(format!("{client} did not create {} widgets: {why}", left.len())))
}

/// Returns the status of each operation of a batch, with its problem.
fn answers(response: &Response, count: usize) -> Result<Vec<(u16, Value)>, ToolError> {
    let results = response.body["results"].as_array().map_or(&[][..], Vec::as_slice);
    let answer = |result: &Value| Some((u16::try_from(result["status"].as_u64()?).ok()?, result["problem"].clone()));
    let answers: Option<Vec<_>> = results.iter().map(answer).collect();
    answers
        .filter(|answers| answers.len() == count)
        .ok_or_else(|| ToolError("the server did not answer for each widget, so it is not widget-registry".to_owned()))
}

fn refused(status: u16, problem: &Value) -> ToolError {
    ToolError(format!("the API refused to create a widget, with status {status}: {}", detail(problem)))
}

fn detail(problem: &Value) -> String {
    problem["detail"].as_str().unwrap_or("without a reason").to_owned()
}

/// An operation with its intended start.
type Due = (Instant, Operation);

/// The end of an operation, with its latency.
type Done = (&'static str, Ended, Duration);

/// Sends operations on widgets that exist.
pub async fn operate(
    client: &Client,
    load: &Load,
    results: &mut Results,
    stop: &CancellationToken,
) -> Result<(), ToolError> {
    let (planned, due) = mpsc::unbounded_channel();
    let (done, mut finished) = mpsc::unbounded_channel();
    let due = Arc::new(Mutex::new(due));
    let mut workers = JoinSet::new();
    for _ in 0..load.clients.get() {
        workers.spawn(work(client.clone(), Arc::clone(&due), done.clone()));
    }
    drop(done);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is only shown")]
    let bar = progress("operations", Some((load.rate * load.lasts.as_secs_f64()) as u64));
    let (begun, ()) = tokio::join!(plan(load, planned, stop), collect(&mut finished, results, &bar));
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|error| ToolError(error.to_string()))?;
    }
    bar.finish_and_clear();
    begun
}

/// Sends each operation when it is due.
async fn plan(load: &Load, planned: mpsc::UnboundedSender<Due>, stop: &CancellationToken) -> Result<(), ToolError> {
    let mut stream = Stream::new(load.widgets.clone(), load.seed);
    let begin = Instant::now();
    for number in 0_u32.. {
        let after = Duration::from_secs_f64(f64::from(number) / load.rate);
        if after >= load.lasts || stop.run_until_cancelled(sleep_until(begin + after)).await.is_none() {
            break;
        }
        let operation = stream.operation().map_err(|error| ToolError(error.to_string()))?;
        if planned.send((begin + after, operation)).is_err() {
            break;
        }
    }
    Ok(())
}

async fn work(client: Client, due: Arc<Mutex<mpsc::UnboundedReceiver<Due>>>, done: mpsc::UnboundedSender<Done>) {
    loop {
        let next = due.lock().await.recv().await;
        let Some((start, operation)) = next else { return };
        let ended = match client.run(&operation, None).await {
            Ok(response) => Ended::Status(response.status),
            Err(_) => Ended::NoAnswer,
        };
        if done.send((operation.name(), ended, start.elapsed())).is_err() {
            return;
        }
    }
}

async fn collect(finished: &mut mpsc::UnboundedReceiver<Done>, results: &mut Results, bar: &ProgressBar) {
    while let Some((operation, ended, latency)) = finished.recv().await {
        results.add(operation, ended, Some(latency));
        bar.inc(1);
        if results.latencies.count().is_multiple_of(1_000) {
            let p99 = results.latencies.percentile(0.99);
            bar.set_message(format!("operations, p99 {p99:.0} ms, wrong {}:", results.wrong()));
        }
    }
}
