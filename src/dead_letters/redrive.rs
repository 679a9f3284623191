//! `mini-scan dead-letters redrive`: publishes the original messages again. Acks a dead letter only after its original
//! is published, and leaves the others on the subscription.

mod canary;
mod run;
mod sources;

use std::io::Write;
use std::num::NonZeroUsize;
use std::pin::pin;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::canary::Canaries;
use self::run::Run;
use self::sources::Sources;
use super::reader::Reader;
use super::report::Verb;
use super::{LONG_IDLE_TIMEOUT, Outcome, Selection, Subscription};
use crate::service::SetupError;

/// The largest `--limit` of a redrive, which remembers the id of each message that it published.
pub const MAX_LIMIT: usize = 1_000_000;
const DEFAULT_LIMIT: usize = MAX_LIMIT / 10;
/// A message that was redriven this often is redriven again only with `--force`, because it is likely to be rejected
/// again.
pub(super) const MAX_REDRIVES: u32 = 3;

/// What to redrive, and to which topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    pub from: Subscription,
    pub select: Selection,
    pub limit: Option<NonZeroUsize>,
    pub dry_run: bool,
    pub force: bool,
    /// Full name of the topic for all messages. `None` chooses the topic of each source subscription.
    pub topic: Option<String>,
}

/// Redrives dead letters and reports the results to `out`.
pub async fn redrive(
    task: &Redrive,
    stop: impl Future<Output = ()>,
    out: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let mut stop = pin!(stop);
    let open = async {
        let details = task.from.details().await?;
        let sources = Sources::new(&task.from, &details, task.topic.as_deref())?;
        let reader = Reader::open(&details.connection, &task.from.name).await;
        let reader = reader.map_err(|problem| task.from.setup_error(&problem))?;
        let idle = task.from.idle_timeout(LONG_IDLE_TIMEOUT, details.minimum_backoff);
        Ok((sources, Canaries::new(details.is_visible), reader, idle))
    };
    let (sources, canaries, reader, idle) = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before the first dead letter was read".to_owned())),
        opened = open => opened?,
    };
    let limit = task.limit.map_or(DEFAULT_LIMIT, NonZeroUsize::get);
    let mut run = Run::new(task, limit, sources, canaries, reader, progress(task.limit));
    let end = run.run(idle, stop).await;
    let (report, closed) = run.close().await;
    let verb = if task.dry_run { Verb::WouldRedrive } else { Verb::Redrive };
    report.finish(verb, end, closed, out)
}

/// Returns a progress bar, which is hidden if stderr is not a terminal.
fn progress(limit: Option<NonZeroUsize>) -> ProgressBar {
    let template = match limit {
        Some(_) => "  {bar:40} {human_pos} of {human_len} redriven  {per_sec}",
        None => "{spinner} {human_pos} redriven  {per_sec}",
    };
    let bar = ProgressBar::with_draw_target(limit.map(|limit| limit.get() as u64), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
