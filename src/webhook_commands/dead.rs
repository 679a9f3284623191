//! `mini-scan webhooks dead`: lists dead deliveries, makes them due again, or deletes them.

use std::io::Write;
use std::pin::pin;

use indicatif::HumanCount;
use webhooks::EndpointId;

use super::text::Format;
use super::{Outcome, Tables, print};
use crate::service::SetupError;
use crate::subscriptions::dead::{self, Selection, Verb};

/// Items per request.
const PAGE: usize = 100;

/// Which dead deliveries to redrive or to purge.
#[derive(Debug)]
pub struct Settle {
    pub verb: Verb,
    /// Without a subscription: those of all.
    pub of: Option<EndpointId>,
    pub select: Selection,
    /// Deletes without a question.
    pub is_confirmed: bool,
}

/// Prints up to `limit` dead deliveries.
pub(super) async fn list(
    tables: &Tables<'_>,
    of: Option<EndpointId>,
    select: &Selection,
    limit: usize,
    format: Format,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let (mut found, mut unreadable, mut is_complete) = (Vec::new(), 0, true);
    'subscriptions: for id in tables.ids(of).await? {
        let mut from = None;
        loop {
            let page = dead::list(&tables.deliveries, &id, select, from.as_ref(), PAGE).await;
            let page = page.map_err(|error| tables.failure(&error))?;
            unreadable += page.unreadable;
            found.extend(page.deliveries);
            if found.len() > limit {
                is_complete = false;
                break 'subscriptions;
            }
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
    }
    found.truncate(limit);
    found.sort_by_key(|dead| dead.died);
    print(out, &format.dead(&found))?;
    let count = HumanCount(found.len() as u64);
    let mut note = match is_complete {
        true => format!("Dead deliveries: {count}.\n"),
        false => format!("Dead deliveries: {count}, and more: --limit {limit} was reached.\n"),
    };
    if unreadable > 0 {
        note += &format!("warning: this version cannot read {unreadable} more; update mini-scan\n");
    }
    print(notes, &note)?;
    Ok(Outcome::Done)
}

/// Redrives or purges until the end or until `stop`.
pub(super) async fn settle(
    tables: &Tables<'_>,
    task: &Settle,
    stop: impl Future<Output = ()>,
    confirm: impl AsyncFn(&str) -> bool,
    format: Format,
    out: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let mut stop = pin!(stop);
    if !task.is_confirmed && !confirm(&question(task)).await {
        return Ok(Outcome::Failed);
    }
    let mut total = dead::Settled::default();
    let mut outcome = Outcome::Done;
    'subscriptions: for id in tables.ids(task.of.clone()).await? {
        let mut from = None;
        loop {
            let settle = dead::settle(&tables.deliveries, &id, task.verb, &task.select, from.as_ref(), PAGE);
            let settled = tokio::select! {
                biased;
                () = &mut stop => {
                    outcome = Outcome::Stopped;
                    break 'subscriptions;
                }
                settled = settle => settled.map_err(|error| tables.failure(&error))?,
            };
            total.settled += settled.settled;
            total.skipped += settled.skipped;
            total.unreadable += settled.unreadable;
            match settled.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
    }
    print(out, &format.settled(task.verb, &total, outcome == Outcome::Stopped))?;
    Ok(outcome)
}

fn question(task: &Settle) -> String {
    let of = task.of.as_ref().map_or("of all subscriptions".to_owned(), |id| format!("of {id}"));
    let which = if task.select == Selection::default() { "all" } else { "the selected" };
    format!("Delete {which} dead deliveries {of}?")
}
