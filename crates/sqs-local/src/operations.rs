//! The operations of the API: their parameters, the limits of numbers, and their results as JSON.

mod batch;
mod messages;
mod queues;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::broker::Broker;
use super::error::ApiError;
use super::faults::Operation;
use super::names;
use super::queue::Time;
use super::service::Service;

/// The parameters of all operations. An entry of a batch has those of the single operation. Others are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Parameters {
    attribute_names: Vec<String>,
    attributes: BTreeMap<String, String>,
    delay_seconds: Option<i64>,
    destination_arn: Option<String>,
    entries: Vec<Parameters>,
    id: String,
    max_number_of_messages: Option<i64>,
    max_number_of_messages_per_second: Option<i64>,
    max_results: Option<i64>,
    message_attribute_names: Vec<String>,
    message_attributes: BTreeMap<String, messages::WireAttribute>,
    message_body: Option<String>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
    message_system_attribute_names: Vec<String>,
    message_system_attributes: BTreeMap<String, messages::WireAttribute>,
    next_token: Option<String>,
    queue_name: Option<String>,
    queue_name_prefix: String,
    queue_url: Option<String>,
    receipt_handle: Option<String>,
    source_arn: Option<String>,
    task_handle: Option<String>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
}

/// The result of an operation as JSON.
type Answer = Result<Value, ApiError>;

/// A request, or one entry of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) parameters: &'a Parameters,
    /// How the client names this server. URLs of queues start with it.
    pub(crate) host: &'a str,
    pub(crate) fail_first_entry: bool,
}

impl<'a> Call<'a> {
    fn url(&self, queue: &str) -> String {
        format!("http://{}/{}/{queue}", self.host, names::ACCOUNT)
    }

    /// Returns the name of the queue in the parameter `QueueUrl`.
    fn queue(&self) -> Result<&'a str, ApiError> {
        names::of_url(required(&self.parameters.queue_url, "QueueUrl")?)
    }
}

pub(crate) async fn run(service: &Service, operation: Operation, call: Call<'_>) -> Answer {
    if operation == Operation::ReceiveMessage {
        return messages::receive(service, call).await;
    }
    service.apply(|broker, now| run_at(broker, operation, call, now))
}

fn run_at(broker: &mut Broker, operation: Operation, call: Call<'_>, now: Time) -> Answer {
    match operation {
        Operation::CreateQueue => queues::create(broker, call, now),
        Operation::GetQueueUrl => queues::url(broker, call),
        Operation::ListQueues => queues::list(broker, call),
        Operation::ListDeadLetterSourceQueues => queues::sources(broker, call),
        Operation::GetQueueAttributes => queues::attributes(broker, call),
        Operation::SetQueueAttributes => {
            broker.set_attributes(call.queue()?, &call.parameters.attributes, now).map(|()| json!({}))
        }
        Operation::DeleteQueue => broker.delete(call.queue()?).map(|()| json!({})),
        Operation::PurgeQueue => {
            let name = call.queue()?;
            broker.queue(name)?.purge(name, now).map(|()| json!({}))
        }
        Operation::StartMessageMoveTask => queues::start_move(broker, call, now),
        Operation::ListMessageMoveTasks => queues::moves(broker, call),
        Operation::CancelMessageMoveTask => {
            let moved = broker.cancel_move(required(&call.parameters.task_handle, "TaskHandle")?)?;
            Ok(json!({"ApproximateNumberOfMessagesMoved": moved}))
        }
        Operation::SendMessage => messages::send(broker, call.queue()?, call.parameters, now),
        Operation::DeleteMessage => messages::delete(broker, call.queue()?, call.parameters),
        Operation::ChangeMessageVisibility => messages::change_visibility(broker, call.queue()?, call.parameters, now),
        Operation::SendMessageBatch => batch::send(broker, call, now),
        Operation::DeleteMessageBatch => batch::delete(broker, call),
        Operation::ChangeMessageVisibilityBatch => batch::change_visibility(broker, call, now),
        Operation::ReceiveMessage => unreachable!("`run` handles it, because it can wait"),
    }
}

fn required<'a>(parameter: &'a Option<String>, name: &str) -> Result<&'a str, ApiError> {
    parameter.as_deref().ok_or_else(|| ApiError::missing(name))
}

fn number(name: &str, value: Option<i64>, range: RangeInclusive<i64>, reason: &str) -> Result<Option<u32>, ApiError> {
    match value {
        Some(value) if !range.contains(&value) => Err(ApiError::invalid(name, value, reason)),
        value => Ok(value.and_then(|value| u32::try_from(value).ok())),
    }
}

fn seconds(
    name: &str,
    value: Option<i64>,
    range: RangeInclusive<i64>,
    reason: &str,
) -> Result<Option<Duration>, ApiError> {
    Ok(number(name, value, range, reason)?.map(|seconds| Duration::from_secs(seconds.into())))
}
