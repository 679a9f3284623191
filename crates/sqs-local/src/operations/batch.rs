//! Batches: the limits of the whole, and a result for each entry.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Answer, Call, Parameters, messages};
use crate::broker::Broker;
use crate::error::{ApiError, Code};
use crate::http::internal_failure;
use crate::message::MAX_BYTES;
use crate::names;
use crate::queue::Time;

const MAX_ID_BYTES: usize = 80;

pub(super) fn send(broker: &mut Broker, call: Call<'_>, now: Time) -> Answer {
    let queue = check(broker, call, "SendMessage")?;
    let bytes = |entry| messages::content(entry).map_or(0, |content| content.bytes());
    let bytes: usize = call.parameters.entries.iter().map(bytes).sum();
    if bytes > MAX_BYTES {
        let message = format!("Batch requests cannot be longer than {MAX_BYTES} bytes. You have sent {bytes} bytes.");
        return Err(ApiError::new(Code::BatchRequestTooLong, message));
    }
    Ok(each(call, |entry| messages::send(broker, queue, entry, now)))
}

pub(super) fn delete(broker: &mut Broker, call: Call<'_>) -> Answer {
    let queue = check(broker, call, "DeleteMessage")?;
    Ok(each(call, |entry| messages::delete(broker, queue, entry)))
}

pub(super) fn change_visibility(broker: &mut Broker, call: Call<'_>, now: Time) -> Answer {
    let queue = check(broker, call, "ChangeMessageVisibility")?;
    Ok(each(call, |entry| messages::change_visibility(broker, queue, entry, now)))
}

/// Checks the queue, the number of entries and their ids. Returns the name of the queue.
fn check<'a>(broker: &mut Broker, call: Call<'a>, operation: &str) -> Result<&'a str, ApiError> {
    let (queue, entries) = (call.queue()?, &call.parameters.entries);
    broker.queue(queue)?;
    if entries.is_empty() {
        let message = format!("There should be at least one {operation}BatchRequestEntry in the request.");
        return Err(ApiError::new(Code::EmptyBatchRequest, message));
    }
    let max = messages::MAX_MESSAGES;
    if entries.len() > max as usize {
        let message = format!("Maximum number of entries per request are {max}. You have sent {}.", entries.len());
        return Err(ApiError::new(Code::TooManyEntriesInBatchRequest, message));
    }
    let mut ids = BTreeSet::new();
    for Parameters { id, .. } in entries {
        if !(1..=MAX_ID_BYTES).contains(&id.len()) || !id.bytes().all(names::is_name_byte) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can \
                           be at most 80 characters long.";
            return Err(ApiError::new(Code::InvalidBatchEntryId, message));
        }
        if !ids.insert(id) {
            return Err(ApiError::new(Code::BatchEntryIdsNotDistinct, format_args!("Id {id} repeated.")));
        }
    }
    Ok(queue)
}

/// Runs `operation` for each entry. The failure of an entry does not concern the others.
fn each(call: Call<'_>, mut operation: impl FnMut(&Parameters) -> Answer) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (position, entry) in call.parameters.entries.iter().enumerate() {
        let injected = call.fail_first_entry && position == 0;
        match if injected { Err(internal_failure()) } else { operation(entry) } {
            Ok(mut body) => {
                body["Id"] = json!(entry.id);
                successful.push(body);
            }
            Err(error) => failed.push(json!({
                "Id": entry.id,
                "Code": error.code.query_code(),
                "Message": error.message,
                "SenderFault": error.is_sender_fault(),
            })),
        }
    }
    let lists = [("Successful", successful), ("Failed", failed)].into_iter().filter(|(_, list)| !list.is_empty());
    lists.map(|(name, list)| (name.to_owned(), list.into())).collect::<Map<_, _>>().into()
}
