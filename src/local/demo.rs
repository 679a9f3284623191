//! The demonstration: servers, messages, the real consumer and a check of what came out, in one process.

mod letters;
pub mod program;
pub mod real;
mod report;
mod stage;
pub mod truth;

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use self::program::{Consumer, Failure, Outcomes, Program};
use self::report::{Consumed, Decision, Published, Sample};
use self::stage::Stage;
use self::truth::Truth;
use super::generator::{Generator, Message, Shares};
use super::scanner::{self, topic};
use super::servers;

/// Enough late scans that a table without the condition would hold some of them.
const SHARES: Shares = Shares { duplicates: 0.1, late: 0.1, broken: 0.05 };
/// Each key is scanned so often in the mean, or there would be nothing to be newer than.
const SCANS_PER_KEY: u32 = 5;
/// The time that the messages are spread over, so that their timestamps differ.
const SCANNED: Duration = Duration::from_secs(60 * 60);

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Without any progress for so long, the demo shows what there is.
const STUCK: Duration = Duration::from_secs(30);

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub count: NonZeroU32,
    pub seed: u64,
    /// Leave the servers up after the report.
    pub keep: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Servers(#[from] servers::Error),
    #[error(transparent)]
    Publish(#[from] topic::Error),
    #[error("cannot set up the topics, subscriptions and table")]
    Setup(#[source] Failure),
    #[error("cannot run the consumer")]
    Consumer(#[source] Failure),
    #[error("cannot read the table: {0}")]
    Table(#[from] dynoxide::DynoxideError),
    #[error("cannot read the dead-letter subscription: {0}")]
    Letters(String),
    #[error("stopped before the end, so nothing was checked")]
    Stopped,
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Shows all of it. True when every check passed.
pub async fn run(
    program: &impl Program,
    settings: &Settings,
    stop: impl Future<Output = ()>,
    out: &mut impl Write,
) -> Result<bool, Error> {
    let mut stop = pin!(stop);
    let stage = Stage::set().await?;
    writeln!(out, "{stage}")?;
    let passed = tokio::select! {
        biased;
        () = &mut stop => return Err(Error::Stopped),
        passed = show(program, &stage, settings, out) => passed?,
    };
    if settings.keep {
        writeln!(out, "\n{}", stage.invitation())?;
        stop.await;
    }
    Ok(passed)
}

async fn show(program: &impl Program, stage: &Stage, settings: &Settings, out: &mut impl Write) -> Result<bool, Error> {
    program.setup(&stage.place).await.map_err(Error::Setup)?;
    let messages = messages(settings);
    let consumer = program.consume(&stage.place).await.map_err(Error::Consumer)?;
    let start = Instant::now();
    let publishing = async {
        let counts = publish(stage, &messages).await?;
        Ok(Published { counts, seed: settings.seed, took: start.elapsed() })
    };
    let watching = async { Ok::<_, Error>(watch(stage, &consumer, settings.count).await) };
    let (published, outcomes) = tokio::try_join!(publishing, watching)?;
    writeln!(out, "{published}")?;
    writeln!(out, "{}", Consumed { outcomes, unsettled: stage.backlog(), took: start.elapsed() })?;
    consumer.stop().await.map_err(Error::Consumer)?;
    check(stage, &Truth::of(&messages), out).await
}

async fn publish(stage: &Stage, messages: &[Message]) -> Result<scanner::Counts, Error> {
    let topic = topic::Topic::connect(&stage.place.topic_name(), Some(&stage.place.pubsub_host)).await?;
    let send = |payload| topic.publish(payload);
    let published = scanner::publish(messages.iter().cloned(), None, send, std::future::pending(), |_| {}).await?;
    Ok(published.confirmed)
}

async fn check(stage: &Stage, truth: &Truth, out: &mut impl Write) -> Result<bool, Error> {
    let items = stage.items()?;
    writeln!(out, "{}", Sample(&items))?;
    let subscription = stage.place.dead_letter_subscription_name();
    let letters = letters::read(&stage.place.pubsub_host, &subscription, stage.letters()).await;
    let letters = truth.check_letters(&letters.map_err(Error::Letters)?);
    let records = truth.check_table(&items);
    let arrived = "are on the dead-letter subscription, byte for byte, with their reason";
    writeln!(out, "Checked against the messages, apart from the consumer\n")?;
    write!(out, "{}", Decision { check: &records, things: "keys", statement: "hold their newest scan" })?;
    write!(out, "{}", Decision { check: &letters, things: "broken messages", statement: arrived })?;
    Ok(records.passed() && letters.passed())
}

/// The messages, as if they had been sent one after another over the last hour.
fn messages(settings: &Settings) -> Vec<Message> {
    let count = settings.count.get();
    let mut generator = Generator::new(settings.seed, SHARES, u64::from(count.div_ceil(SCANS_PER_KEY)));
    let start = scanner::unix_now().saturating_sub(SCANNED.as_secs());
    let moment = |nth: u32| start + SCANNED.as_secs() * u64::from(nth) / u64::from(count);
    (0..count).map(|nth| generator.next_at(moment(nth))).collect()
}

/// Shows the progress until every message is settled, or nothing moves any more.
async fn watch(stage: &Stage, consumer: &impl Consumer, count: NonZeroU32) -> Outcomes {
    let bar = progress(count);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut moved = Instant::now();
    let mut before = 0;
    loop {
        looks.tick().await;
        let outcomes = consumer.outcomes();
        let total = outcomes.total();
        bar.set_position(total);
        bar.set_message(format!(
            "{} stored · {} stale · {} rejected",
            HumanCount(outcomes.stored),
            HumanCount(outcomes.stale),
            HumanCount(outcomes.rejected()),
        ));
        if total != before {
            (before, moved) = (total, Instant::now());
        }
        // Acknowledgements arrive after the outcome is counted.
        let settled = total >= u64::from(count.get()) && stage.backlog() == 0;
        if settled || moved.elapsed() > STUCK {
            bar.finish_and_clear();
            return outcomes;
        }
    }
}

/// A line on the terminal; nothing where there is none.
fn progress(count: NonZeroU32) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(u64::from(count.get())), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("  {bar:30} {human_pos} of {human_len} · {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests;
