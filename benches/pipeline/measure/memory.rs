//! The memory of the consumer at its bounds: it is given messages step by step, faster than a slow store takes them, and
//! then the store hurries.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep, timeout};

use super::{Figure, Sample, WITHIN};
use crate::child::Measured;
use crate::load::Load;
use crate::null_dynamo::Answers;
use crate::scenario::{Program, Table};
use crate::stage::{Pubsub, Store, command};

/// Below the time that the consumer gives an attempt, so that no write fails, and long beside the steps.
const LATENCY: Duration = Duration::from_secs(2);
/// What ten streams read beyond what is outstanding, but for a few: 1,000 each.
const READ_AHEAD: usize = 9_000;
/// Fewer messages between two looks make no figure: other memory changes as well.
const ENOUGH: usize = 5_000;
/// The consumer is done with what it was given when it uses less CPU than this, in so long.
const LOOK: Duration = Duration::from_millis(200);
const QUIET: f64 = 0.2;
/// Memory has come back when it has not fallen for so long.
const FALLEN: Duration = Duration::from_secs(3);
const FALLING: Duration = Duration::from_secs(30);

/// How much the consumer holds at a moment.
#[derive(Clone, Copy)]
struct Held {
    messages: usize,
    mb: f64,
}

pub(super) async fn hold(consumer: &Path, outstanding: usize) -> anyhow::Result<Sample> {
    let answers = Answers { latency: Some(LATENCY), ..Answers::default() };
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(answers), &[]).await?);
    let mut command = command(Program::Consumer(&[]), consumer, &pubsub, &store)?;
    command.args(["--max-outstanding", &outstanding.to_string()]);
    let mut child = Measured::start(&mut command)?;
    let mut messages = Load::New.messages(outstanding + READ_AHEAD, 0);
    let ahead = messages.split_off(outstanding);
    let more = messages.split_off(outstanding / 5);
    let few = give(&pubsub, &mut child, messages).await?;
    let all = give(&pubsub, &mut child, more).await?;
    let most = give(&pubsub, &mut child, ahead).await?;
    store.null().context("it is the null table")?.hurry();
    pubsub.until(WITHIN, |counts| counts.backlog() == 0).await?;
    let after = fallen(&mut child).await?;
    let mut sample =
        Sample::from([(Figure::HeldMb, most.mb), (Figure::PeakMb, child.usage()?.peak_mb), (Figure::AfterMb, after)]);
    for (figure, [less, more]) in [(Figure::OutstandingBytes, [few, all]), (Figure::ReadAheadBytes, [all, most])] {
        let messages = more.messages.saturating_sub(less.messages);
        if messages >= ENOUGH {
            sample.insert(figure, (more.mb - less.mb) * f64::from(1 << 20) / messages as f64);
        }
    }
    Ok(sample)
}

/// Publishes messages, and looks when the consumer has taken all that there are.
async fn give(pubsub: &Pubsub, child: &mut Measured, messages: Vec<bytes::Bytes>) -> anyhow::Result<Held> {
    pubsub.publish(messages).await?;
    pubsub.until(WITHIN, |counts| counts.ready + counts.delayed == 0).await?;
    let quiet = async {
        loop {
            let before = child.usage()?;
            sleep(LOOK).await;
            let now = child.usage()?;
            if now.cpu_seconds - before.cpu_seconds < QUIET * LOOK.as_secs_f64() {
                return Ok(Held { messages: pubsub.counts()?.outstanding, mb: now.resident_mb });
            }
        }
    };
    timeout(WITHIN, quiet).await.context("the consumer comes to no rest")?
}

/// What is resident when it has not become less for a while.
async fn fallen(child: &mut Measured) -> anyhow::Result<f64> {
    let start = Instant::now();
    let (mut least, mut since) = (f64::INFINITY, start);
    while since.elapsed() < FALLEN && start.elapsed() < FALLING {
        let resident = child.usage()?.resident_mb;
        if resident < least - 0.1 {
            (least, since) = (resident, Instant::now());
        }
        sleep(LOOK).await;
    }
    Ok(least)
}
