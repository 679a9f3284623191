//! The memory of the consumer at its limits. It gets messages step by step, faster than a slow store responds; then the
//! store responds at once.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep, timeout};

use super::{Figure, Sample, TIMEOUT};
use crate::child::Measured;
use crate::load::Load;
use crate::null_dynamo::Behaviour;
use crate::scenario::{Program, Table};
use crate::stage::{Executables, Pubsub, Store};

/// The latency of a write: below the consumer's timeout per attempt, so that no write fails, and long compared with the
/// steps.
const LATENCY: Duration = Duration::from_secs(2);
/// The messages that ten streams read ahead of the outstanding ones: almost 1,000 each.
const READ_AHEAD: usize = 9_000;
/// The least messages between two samples that give a figure, because other memory also changes.
const MIN_MESSAGES: usize = 5_000;
/// The consumer has processed its messages when it uses less than this share of a core over one interval.
const INTERVAL: Duration = Duration::from_millis(200);
const QUIET: f64 = 0.2;
/// Memory is stable when it has not fallen for this long, or after the timeout.
const STABLE: Duration = Duration::from_secs(3);
const STABLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The messages and the resident memory of the consumer at one moment.
#[derive(Clone, Copy)]
struct Resident {
    messages: usize,
    mb: f64,
}

pub(super) async fn full(executables: &Executables, outstanding: usize) -> anyhow::Result<Sample> {
    let slow = Behaviour { latency: Some(LATENCY), ..Behaviour::default() };
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(slow), &[]).await?);
    let mut command = executables.command(Program::Consumer(&[]), &pubsub, &store);
    command.args(["--max-outstanding", &outstanding.to_string()]);
    let mut child = Measured::start(&mut command)?;
    let mut messages = Load::New.messages(outstanding + READ_AHEAD, 0);
    let ahead = messages.split_off(outstanding);
    let more = messages.split_off(outstanding / 5);
    let few = publish_and_wait(&pubsub, &mut child, messages).await?;
    let all = publish_and_wait(&pubsub, &mut child, more).await?;
    let most = publish_and_wait(&pubsub, &mut child, ahead).await?;
    store.null().context("this scenario uses the null table")?.respond_at_once();
    pubsub.until(TIMEOUT, |counts| counts.backlog() == 0).await?;
    let after = stable(&mut child).await?;
    let mut sample =
        Sample::from([(Figure::FullMb, most.mb), (Figure::PeakMb, child.usage()?.peak_mb), (Figure::AfterMb, after)]);
    for (figure, [less, more]) in [(Figure::OutstandingBytes, [few, all]), (Figure::ReadAheadBytes, [all, most])] {
        let messages = more.messages.saturating_sub(less.messages);
        if messages >= MIN_MESSAGES {
            sample.insert(figure, (more.mb - less.mb) * f64::from(1 << 20) / messages as f64);
        }
    }
    Ok(sample)
}

/// Publishes messages, waits until the consumer has received all of them and is quiet, and returns its memory.
async fn publish_and_wait(
    pubsub: &Pubsub,
    child: &mut Measured,
    messages: Vec<bytes::Bytes>,
) -> anyhow::Result<Resident> {
    pubsub.publish(messages).await?;
    pubsub.until(TIMEOUT, |counts| counts.ready + counts.delayed == 0).await?;
    let quiet = async {
        loop {
            let before = child.usage()?;
            sleep(INTERVAL).await;
            let now = child.usage()?;
            if now.cpu_seconds - before.cpu_seconds < QUIET * INTERVAL.as_secs_f64() {
                return Ok(Resident { messages: pubsub.counts()?.outstanding, mb: now.resident_mb });
            }
        }
    };
    timeout(TIMEOUT, quiet).await.context("the consumer did not become quiet")?
}

/// Waits until memory no longer falls, and returns the resident memory.
async fn stable(child: &mut Measured) -> anyhow::Result<f64> {
    let start = Instant::now();
    let (mut least, mut since) = (f64::INFINITY, start);
    while since.elapsed() < STABLE && start.elapsed() < STABLE_TIMEOUT {
        let resident = child.usage()?.resident_mb;
        if resident < least - 0.1 {
            (least, since) = (resident, Instant::now());
        }
        sleep(INTERVAL).await;
    }
    Ok(least)
}
