//! `event-pipeline events erase`: deletes the events of a client, and its deliveries that wait.

use std::collections::BTreeSet;
use std::pin::pin;

use delivery_table::{BUCKETS, ID, QUEUE, Queue};
use dynamodb::{Item, StoreError, applied, failed, read_units, within_timeout};
use futures_util::{StreamExt, stream};
use serde_json::json;
use webhooks::EndpointId;

use super::Stored;
use crate::key;
use crate::names::{Endpoints, Tables};
use crate::routes::MAIN;
use crate::table::reading::{Range, Row};
use crate::tools::pace::Pace;
use crate::tools::redelivery::Redelivery;
use crate::tools::repeat::repeat;
use crate::tools::{Console, Outcome, ToolError};
use ops::console::progress;

const CONCURRENCY: usize = 16;
const NOT_REACHED: &str = "It does not reach messages in queues and dead-letter queues, records of the stream for 24 \
                           hours, and backups. Remove the route with: event-pipeline routes remove";

/// Whom to erase.
#[derive(Debug, Clone, PartialEq)]
pub struct Erase {
    pub endpoints: Endpoints,
    pub tables: Tables,
    pub client_id: String,
    /// Events per second.
    pub rate: f64,
    pub is_confirmed: bool,
    pub json: bool,
}

/// Deletes the events of a client and its deliveries that wait. If it is stopped, the same command goes on.
pub async fn erase(task: &Erase, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let stored = Stored::connect(&task.endpoints, &task.tables).await?;
    let client_id = &task.client_id;
    if !task.is_confirmed && !console.confirm(&format!("Delete all events of client {client_id:?} for good?")).await {
        return Ok(Outcome::Failed);
    }
    let failed = |error: &StoreError| {
        ToolError(format!("the client cannot be erased: {error}\nTo go on, run the same command again."))
    };
    let events = erase_events(task, &stored, console).await.map_err(|error| failed(&error))?;
    let deliveries = match console.is_stopped() {
        true => 0,
        false => erase_deliveries(task, &stored).await.map_err(|error| failed(&error))?,
    };
    let is_stopped = console.is_stopped();
    if task.json {
        let line = json!({ "events": events, "deliveries": deliveries, "stopped": is_stopped });
        console.print(format!("{line}\n"))?;
    } else {
        console.print(format!("Events erased: {events}. Waiting deliveries erased: {deliveries}.\n"))?;
    }
    console.note(if is_stopped {
        "Stopped before the end. To go on, run the same command again."
    } else {
        NOT_REACHED
    })?;
    Ok(if is_stopped { Outcome::Partly } else { Outcome::Done })
}

async fn erase_events(task: &Erase, stored: &Stored<'_>, console: &Console<'_>) -> Result<u64, StoreError> {
    let bar = progress("events erased:", None);
    let events = stored.events.of_client(&task.client_id, Range::default(), stored.buckets);
    let rows = stream::unfold((events, Pace::new(Some(task.rate))), async |(mut events, mut pace)| {
        let row = repeat(async || events.next().await).await.transpose()?;
        pace.wait(1).await;
        Some((row, (events, pace)))
    });
    let rows = rows.take_until(console.stop.cancelled());
    let erased = rows.map(async |row: Result<Row, StoreError>| {
        let row = row?;
        repeat(async || stored.events.erase(&row).await).await
    });
    let mut erased = pin!(erased.buffer_unordered(CONCURRENCY));
    let mut count = 0;
    while let Some(result) = erased.next().await {
        result?;
        count += 1;
        bar.set_position(count);
    }
    bar.finish_and_clear();
    Ok(count)
}

/// Deletes the deliveries that wait for targets of the client.
async fn erase_deliveries(task: &Erase, stored: &Stored<'_>) -> Result<u64, StoreError> {
    let redelivery = Redelivery::new(&stored.client, &task.tables);
    let route = repeat(async || redelivery.routes.read(&task.client_id).await).await?;
    let mut targets = BTreeSet::from([MAIN.to_owned()]);
    targets.extend(route.and_then(Result::ok).into_iter().flat_map(|route| route.targets.into_keys()));
    let mut count = 0;
    for endpoint in targets.iter().filter_map(|target| key::endpoint(&task.client_id, target)) {
        for bucket in 0..BUCKETS {
            count += erase_bucket(&redelivery, &endpoint, bucket).await?;
        }
    }
    Ok(count)
}

async fn erase_bucket(redelivery: &Redelivery, endpoint: &EndpointId, bucket: usize) -> Result<u64, StoreError> {
    let waiting = &redelivery.waiting;
    let (mut count, mut after) = (0, None::<Item>);
    loop {
        let page = repeat(async || {
            let query = waiting.query(Queue::WAITING.of(endpoint, bucket)).set_exclusive_start_key(after.clone());
            let answer = within_timeout(query.send()).await.map_err(|error| failed(&error))?;
            read_units(&answer, answer.consumed_capacity.as_ref())?;
            Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
        });
        let (items, next) = page.await?;
        for mut item in items {
            item.retain(|name, _| name == QUEUE || name == ID);
            repeat(async || {
                let delete = waiting.client().delete_item().table_name(waiting.table());
                applied(within_timeout(delete.set_key(Some(item.clone())).send()).await).map(|_| ())
            })
            .await?;
            count += 1;
        }
        after = next;
        if after.is_none() {
            return Ok(count);
        }
    }
}
