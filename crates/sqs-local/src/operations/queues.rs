//! Operations on queues, and the move tasks between them.

use serde_json::{Map, Value, json};

use super::{Answer, Call, number, required};
use crate::broker::Broker;
use crate::error::{ApiError, Code};
use crate::move_tasks::{MAX_LISTED, MoveTask, Status};
use crate::names;
use crate::queue::{State, Time};

const MAX_PAGE: u32 = 1000;

pub(super) fn create(broker: &mut Broker, call: Call<'_>, now: Time) -> Answer {
    let name = required(&call.parameters.queue_name, "QueueName")?;
    broker.create(name, &call.parameters.attributes, now)?;
    Ok(json!({"QueueUrl": call.url(name)}))
}

pub(super) fn url(broker: &mut Broker, call: Call<'_>) -> Answer {
    let name = required(&call.parameters.queue_name, "QueueName")?;
    broker.queue(name)?;
    Ok(json!({"QueueUrl": call.url(name)}))
}

pub(super) fn list(broker: &Broker, call: Call<'_>) -> Answer {
    let names = broker.names().filter(|name| name.starts_with(&call.parameters.queue_name_prefix));
    page("QueueUrls", names, call)
}

pub(super) fn sources(broker: &mut Broker, call: Call<'_>) -> Answer {
    let queue = call.queue()?;
    broker.queue(queue)?;
    page("queueUrls", broker.sources(queue), call)
}

/// Returns a page of URLs. Its token is the last name on it.
fn page<'a>(key: &str, names: impl Iterator<Item = &'a str>, call: Call<'_>) -> Answer {
    let reason = "Must be between 1 and 1000, if provided.";
    let max = number("MaxResults", call.parameters.max_results, 1..=i64::from(MAX_PAGE), reason)?;
    let after = call.parameters.next_token.as_deref().unwrap_or_default();
    let mut names = names.filter(|name| *name > after).peekable();
    let on_page: Vec<&str> = names.by_ref().take(max.unwrap_or(MAX_PAGE) as usize).collect();
    let mut body = Map::new();
    if let Some(last) = on_page.last() {
        body.insert(key.to_owned(), on_page.iter().map(|name| call.url(name)).collect());
        if max.is_some() && names.peek().is_some() {
            body.insert("NextToken".to_owned(), json!(last));
        }
    }
    Ok(Value::Object(body))
}

pub(super) fn attributes(broker: &mut Broker, call: Call<'_>) -> Answer {
    let name = call.queue()?;
    let queue = broker.queue(name)?;
    let mut all = queue.settings.attributes();
    all.extend([
        ("ApproximateNumberOfMessages", queue.count(State::Visible).to_string()),
        ("ApproximateNumberOfMessagesDelayed", queue.count(State::Delayed).to_string()),
        ("ApproximateNumberOfMessagesNotVisible", queue.count(State::InFlight).to_string()),
        ("CreatedTimestamp", queue.created.as_secs().to_string()),
        ("LastModifiedTimestamp", queue.modified.as_secs().to_string()),
        ("QueueArn", names::arn(name)),
    ]);
    let wanted = &call.parameters.attribute_names;
    // An attribute without a value is not in `all`, although its name is valid.
    let optional = ["KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "Policy", "RedriveAllowPolicy", "RedrivePolicy"];
    let is_known = |name: &str| name == "All" || all.contains_key(name) || optional.contains(&name);
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        return Err(ApiError::unknown_attribute(unknown));
    }
    let is_wanted = |name: &str| wanted.iter().any(|wanted| wanted == "All" || wanted == name);
    all.retain(|name, _| is_wanted(name));
    Ok(if all.is_empty() { json!({}) } else { json!({"Attributes": all}) })
}

pub(super) fn start_move(broker: &mut Broker, call: Call<'_>, now: Time) -> Answer {
    let parameters = call.parameters;
    let source = required(&parameters.source_arn, "SourceArn")?;
    let reason = "Must be between 1 and 500, if provided.";
    let rate = number("MaxNumberOfMessagesPerSecond", parameters.max_number_of_messages_per_second, 1..=500, reason)?;
    let handle = broker.start_move(source, parameters.destination_arn.as_deref(), rate, now)?;
    Ok(json!({"TaskHandle": handle}))
}

pub(super) fn moves(broker: &Broker, call: Call<'_>) -> Answer {
    let parameters = call.parameters;
    let source = required(&parameters.source_arn, "SourceArn")?;
    let max = parameters.max_results.unwrap_or(1);
    let Some(max) = usize::try_from(max).ok().filter(|max| (1..=MAX_LISTED).contains(max)) else {
        let message = "Value for parameter MaxResults is invalid. Reason: Must be between 1 and 10.";
        return Err(ApiError::new(Code::InvalidParameterValue, message));
    };
    let tasks: Vec<Value> = broker.moves(source)?.into_iter().take(max).map(task).collect();
    Ok(json!({"Results": tasks}))
}

fn task(task: &MoveTask) -> Value {
    let (status, failure) = match task.status {
        Status::Running => ("RUNNING", None),
        Status::Completed => ("COMPLETED", None),
        Status::Cancelled => ("CANCELLED", None),
        Status::Failed(reason) => ("FAILED", Some(reason)),
    };
    let mut body = json!({
        "Status": status,
        "SourceArn": names::arn(&task.source),
        "StartedTimestamp": task.started.as_millis() as u64,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
    });
    let optional = [
        ("DestinationArn", task.destination.as_ref().map(|name| json!(names::arn(name)))),
        ("FailureReason", failure.map(|reason| json!(reason))),
        ("MaxNumberOfMessagesPerSecond", task.rate.map(|rate| json!(rate))),
        // Only a running task can be cancelled, so only it has a handle.
        ("TaskHandle", failure.is_none().then(|| json!(task.handle)).filter(|_| task.status == Status::Running)),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            body[key] = value;
        }
    }
    body
}
