//! `event-pipeline dlq redrive deliver`: makes dead deliveries due again.

use dynamodb::StoreError;
use webhooks::{Delivery, WebhookId};

use super::{DeadLetters, Unsettled, delete, report, settle_all, split};
use crate::dead_letter::{CLIENT_ID, EVENT_ID, EVENT_TIME, EVENT_TYPE, REASON, TARGET, TRACEPARENT, WEBHOOK_ID};
use crate::event::sort_key;
use crate::moment::Moment;
use crate::names::Tables;
use crate::queues::Received;
use crate::routes::MAIN;
use crate::tools::dead_letters::Redriven;
use crate::tools::queue::find;
use crate::tools::redelivery::{Again, NoTarget, Redelivery};
use crate::tools::tables::{Kind, connect};
use crate::tools::{Console, Outcome, ToolError};

/// How many reasons are named for dead letters that stay.
const MAX_NAMED: usize = 10;

/// Stores the selected dead deliveries as due now, and then deletes their dead letters. Those without a target stay.
pub async fn redrive_deliveries(
    task: &DeadLetters,
    tables: &Tables,
    console: &mut Console<'_>,
) -> Result<Outcome, ToolError> {
    let queue = find(&task.endpoints, task.named()).await?;
    let named = Kind::Deliveries.named(tables);
    let client = connect(&task.endpoints).await.map_err(|problem| named.error(&task.endpoints, &problem))?;
    let mut redelivery = Redelivery::new(&client, tables);
    let mut staying: Vec<String> = Vec::new();
    let mut redriven = Redriven::begin();
    let settle = async |messages: Vec<Received>| {
        let (messages, came_back): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| redriven.is_first(message));
        let mut failed = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let stored = store(&mut redelivery, message).await;
            let stored = stored.map_err(|error| ToolError(format!("the deliveries cannot be stored: {error}")))?;
            if let Err(why) = stored {
                failed.push(index);
                if staying.len() < MAX_NAMED && !staying.contains(&why) {
                    staying.push(why);
                }
            }
        }
        let (stored, unstored) = split(messages, &failed);
        let mut failed = delete(task, &queue, stored).await?;
        failed.extend(unstored);
        Ok(Unsettled { failed, came_back })
    };
    let counts = settle_all(task, &queue, "redriving", settle, console).await?;
    for why in staying {
        console.note(format!("A dead letter stays: {why}"))?;
    }
    report(task, "Redriven", "redriven", &counts, console)
}

/// Stores what a dead letter delivers. Returns why it stays, if it does.
async fn store(redelivery: &mut Redelivery, message: &Received) -> Result<Result<(), String>, StoreError> {
    let deliveries = match deliveries(redelivery, message).await? {
        Ok(deliveries) => deliveries,
        Err(why) => return Ok(Err(why)),
    };
    redelivery.store(deliveries).await.map(Ok)
}

async fn deliveries(
    redelivery: &mut Redelivery,
    message: &Received,
) -> Result<Result<Vec<Delivery>, String>, StoreError> {
    let attribute = |name: &str| message.attributes.get(name).map(String::as_str);
    let Some(client_id) = attribute(CLIENT_ID) else {
        let reason = attribute(REASON).unwrap_or("unknown");
        return Ok(Err(format!("one of reason {reason} names no client; deliver its event with `events replay`")));
    };
    let (body, trace) = (bytes::Bytes::from(message.body.clone()), attribute(TRACEPARENT));
    let text = |why: NoTarget| why.to_string();
    // One of a target is delivered to this target only. One that waited while the queue was away has no key of its event.
    let key = event_key(message).or_else(|| attribute(WEBHOOK_ID).map(str::to_owned));
    if attribute(TARGET).is_none()
        && let (Some(key), Some(event_type)) = (key, attribute(EVENT_TYPE))
    {
        let event = Again { client_id, event_key: &key, event_type, body: &body, trace };
        return Ok(redelivery.of_event(event).await?.map_err(text));
    }
    let Some(id) = attribute(WEBHOOK_ID).and_then(WebhookId::from_stored) else {
        return Ok(Err(format!("one of client {client_id:?} has no valid webhook_id")));
    };
    let target = attribute(TARGET).unwrap_or(MAIN);
    let delivery = redelivery.of_target(client_id, target, &id, &body, trace).await?;
    Ok(delivery.map(|delivery| vec![delivery]).map_err(text))
}

fn event_key(message: &Received) -> Option<String> {
    let time = Moment::parse(message.attributes.get(EVENT_TIME)?)?;
    Some(sort_key(time, message.attributes.get(EVENT_ID)?))
}
