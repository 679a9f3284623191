//! The demo: servers, messages, the real consumer and a check of the results, in one process.

pub mod changes;
mod dead_letters;
pub mod program;
pub mod real;
mod report;
mod sandbox;
pub mod truth;

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use demo::{CheckReport, POLL_INTERVAL};
use dynamodb_local::thread::Running;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use self::program::{BoxError, Consumer, Outcomes, Program};
use self::report::{Consumed, Published, Sample};
use self::sandbox::Sandbox;
use self::truth::Truth;
use super::generator::{Generator, Message, Shares};
use super::scanner::{self, topic};
use super::servers;

/// There are enough late scans that unconditional writes would leave some of them in the table.
const SHARES: Shares = Shares { duplicates: 0.1, late: 0.1, broken: 0.05 };
/// The mean number of scans of a key. Without rescans no scan would be newer than another.
const SCANS_PER_KEY: u32 = 5;
/// The period that the timestamps are spread over.
const SCANNED: Duration = Duration::from_secs(60 * 60);

/// Without progress for this long, the demo stops waiting and reports the results so far.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// The settings of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub count: NonZeroU32,
    pub seed: u64,
    /// Keeps the servers running after the report.
    pub keep: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Servers(#[from] servers::Error),
    #[error(transparent)]
    Publish(#[from] topic::Error),
    #[error("cannot set up the topics, subscriptions and table")]
    Setup(#[source] BoxError),
    #[error("cannot run the consumer")]
    Consumer(#[source] BoxError),
    #[error("the demo of history failed: {0}")]
    Changes(String),
    #[error("the demo of history failed: {0}")]
    Process(#[from] demo::Error),
    #[error("cannot serve the API")]
    Api(#[source] BoxError),
    #[error("cannot read the table: {0}")]
    Table(#[from] dynamodb_local::dynoxide::DynoxideError),
    #[error("cannot read the dead-letter subscription: {0}")]
    DeadLetters(String),
    #[error("the demo was stopped before the end, so no results were checked")]
    Stopped,
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Runs the demo. Returns whether every check passed.
pub async fn run(
    program: &impl Program,
    settings: &Settings,
    stop: impl Future<Output = ()>,
    out: &mut impl Write,
) -> Result<bool, Error> {
    let mut stop = pin!(stop);
    let sandbox = Sandbox::start().await?;
    writeln!(out, "{sandbox}")?;
    let passed = tokio::select! {
        biased;
        () = &mut stop => return Err(Error::Stopped),
        passed = show(program, &sandbox, settings, out) => passed?,
    };
    if settings.keep {
        let api = program.serve(&sandbox.environment).await.map_err(Error::Api)?;
        writeln!(out, "\n{}", sandbox.instructions(api.as_ref().map(Running::address))?)?;
        stop.await;
    }
    Ok(passed)
}

async fn show(
    program: &impl Program,
    sandbox: &Sandbox,
    settings: &Settings,
    out: &mut impl Write,
) -> Result<bool, Error> {
    program.setup(&sandbox.environment).await.map_err(Error::Setup)?;
    let messages = messages(settings);
    let consumer = program.consume(&sandbox.environment).await.map_err(Error::Consumer)?;
    let start = Instant::now();
    let publishing = async {
        let counts = publish(sandbox, &messages).await?;
        Ok(Published { counts, seed: settings.seed, took: start.elapsed() })
    };
    let settling = async { Ok::<_, Error>(wait_until_settled(sandbox, &consumer, settings.count).await) };
    let (published, outcomes) = tokio::try_join!(publishing, settling)?;
    writeln!(out, "{published}")?;
    writeln!(out, "{}", Consumed { outcomes, unsettled: sandbox.backlog(), took: start.elapsed() })?;
    consumer.stop().await.map_err(Error::Consumer)?;
    check(sandbox, &Truth::of(&messages), out).await
}

async fn publish(sandbox: &Sandbox, messages: &[Message]) -> Result<scanner::Counts, Error> {
    let topic =
        topic::Topic::connect(&sandbox.environment.topic_name(), Some(&sandbox.environment.pubsub_host)).await?;
    let send = |payload| topic.publish(payload);
    let published = scanner::publish(messages.iter().cloned(), None, send, std::future::pending(), |_| {}).await?;
    Ok(published.confirmed)
}

async fn check(sandbox: &Sandbox, truth: &Truth, out: &mut impl Write) -> Result<bool, Error> {
    let items = sandbox.items()?;
    writeln!(out, "{}", Sample(&items))?;
    let subscription = sandbox.environment.dead_letter_subscription_name();
    let dead_letters =
        dead_letters::read(&sandbox.environment.pubsub_host, &subscription, sandbox.dead_letters()).await;
    let dead_letters = truth.check_dead_letters(&dead_letters.map_err(Error::DeadLetters)?);
    let records = truth.check_table(&items);
    writeln!(out, "Checked against the published messages, independently of the consumer\n")?;
    write!(
        out,
        "{}",
        CheckReport { check: &records, subject: "keys", predicate: "have their newest scan in the table" }
    )?;
    let predicate = "are on the dead-letter subscription, byte for byte and with their reason";
    write!(out, "{}", CheckReport { check: &dead_letters, subject: "broken messages", predicate })?;
    Ok(records.passed() && dead_letters.passed())
}

/// Returns the messages, with timestamps that are spread over the last hour in order.
fn messages(settings: &Settings) -> Vec<Message> {
    let count = settings.count.get();
    let mut generator = Generator::new(settings.seed, SHARES, u64::from(count.div_ceil(SCANS_PER_KEY)));
    let start = scanner::unix_now().saturating_sub(SCANNED.as_secs());
    let timestamp = |nth: u32| start + SCANNED.as_secs() * u64::from(nth) / u64::from(count);
    (0..count).map(|nth| generator.next_at(timestamp(nth))).collect()
}

/// Shows the progress until every message is settled or there is no more progress.
async fn wait_until_settled(sandbox: &Sandbox, consumer: &impl Consumer, count: NonZeroU32) -> Outcomes {
    let bar = progress(count.get().into());
    let mut polls = tokio::time::interval(POLL_INTERVAL);
    let mut last_progress = Instant::now();
    let mut last_total = 0;
    loop {
        polls.tick().await;
        let outcomes = consumer.outcomes();
        let total = outcomes.total();
        bar.set_position(total);
        bar.set_message(format!(
            "{} stored · {} stale · {} rejected",
            HumanCount(outcomes.stored),
            HumanCount(outcomes.stale),
            HumanCount(outcomes.rejected()),
        ));
        if total != last_total {
            (last_total, last_progress) = (total, Instant::now());
        }
        // The consumer counts an outcome before the acknowledgement reaches the server.
        let settled = total >= u64::from(count.get()) && sandbox.backlog() == 0;
        if settled || last_progress.elapsed() > MAX_IDLE {
            bar.finish_and_clear();
            return outcomes;
        }
    }
}

/// Returns a progress bar, which is hidden if stderr is not a terminal.
fn progress(count: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("  {bar:30} {human_pos} of {human_len} · {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests;
