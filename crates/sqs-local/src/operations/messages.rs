//! Operations on messages.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Call, Parameters, number, required, seconds};
use crate::broker::Broker;
use crate::error::{ApiError, Code};
use crate::message::{self, Attribute, Attributes, Content, is_wanted, md5_of_attributes};
use crate::names::{self, Receipt};
use crate::queue::{Message, Time};
use crate::service::{Poll, Service};

/// The number of messages in a receive and of entries in a batch.
pub(super) const MAX_MESSAGES: i64 = 10;

const SYSTEM_ATTRIBUTES: [&str; 10] = [
    "All",
    "ApproximateFirstReceiveTimestamp",
    "ApproximateReceiveCount",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
    "MessageDeduplicationId",
    "MessageGroupId",
    "SenderId",
    "SentTimestamp",
    "SequenceNumber",
];

/// A message attribute in JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct WireAttribute {
    data_type: String,
    string_value: Option<String>,
    binary_value: Option<String>,
}

/// Returns the content of a message, which is not checked yet.
pub(super) fn content(parameters: &Parameters) -> Result<Content, ApiError> {
    if parameters.message_deduplication_id.is_some() {
        let message = "The request includes a parameter that is not valid for this queue type: MessageDeduplicationId.";
        return Err(ApiError::new(Code::InvalidParameterValue, message));
    }
    let attributes = |wire: &BTreeMap<String, WireAttribute>| -> Result<Attributes, ApiError> {
        wire.iter().map(|(name, wire)| Ok((name.clone(), attribute(name, wire)?))).collect()
    };
    Ok(Content {
        body: parameters.message_body.clone().unwrap_or_default(),
        attributes: attributes(&parameters.message_attributes)?,
        system_attributes: attributes(&parameters.message_system_attributes)?,
        group_id: parameters.message_group_id.clone(),
    })
}

fn attribute(name: &str, wire: &WireAttribute) -> Result<Attribute, ApiError> {
    let value = match (&wire.string_value, &wire.binary_value) {
        (Some(text), None) => Some(message::Value::Text(text.clone())),
        (None, Some(encoded)) => STANDARD.decode(encoded).ok().map(message::Value::Binary),
        _ => None,
    };
    let value = value.ok_or_else(|| {
        let message = format!("The message attribute '{name}' must contain one value of its type.");
        ApiError::new(Code::InvalidParameterValue, message)
    })?;
    Ok(Attribute { data_type: wire.data_type.clone(), value })
}

pub(super) fn send(broker: &mut Broker, queue: &str, parameters: &Parameters, now: Time) -> Answer {
    let reason = "DelaySeconds must be >= 0 and <= 900.";
    let delay = seconds("DelaySeconds", parameters.delay_seconds, 0..=900, reason)?;
    let content = content(parameters)?;
    let attributes = md5_of_attributes(&content.attributes);
    let system = md5_of_attributes(&content.system_attributes);
    let (id, md5) = broker.send(queue, content, delay, now)?;
    let mut body = json!({"MessageId": id, "MD5OfMessageBody": md5.as_ref()});
    for (key, md5) in [("MD5OfMessageAttributes", attributes), ("MD5OfMessageSystemAttributes", system)] {
        if let Some(md5) = md5 {
            body[key] = md5.into();
        }
    }
    Ok(body)
}

pub(super) fn delete(broker: &mut Broker, queue: &str, parameters: &Parameters) -> Answer {
    let server = broker.server;
    let messages = broker.queue(queue)?;
    messages.delete(names::of_handle(required(&parameters.receipt_handle, "ReceiptHandle")?, server, queue)?);
    Ok(json!({}))
}

pub(super) fn change_visibility(broker: &mut Broker, queue: &str, parameters: &Parameters, now: Time) -> Answer {
    let server = broker.server;
    let messages = broker.queue(queue)?;
    let handle = required(&parameters.receipt_handle, "ReceiptHandle")?;
    let timeout = visibility(parameters)?.ok_or_else(|| ApiError::missing("VisibilityTimeout"))?;
    messages.change_visibility(names::of_handle(handle, server, queue)?, handle, timeout, now)?;
    Ok(json!({}))
}

pub(super) async fn receive(service: &Service, call: Call<'_>) -> Answer {
    let (queue, parameters) = (call.queue()?, call.parameters);
    let reason = "Must be between 1 and 10, if provided.";
    let max = number("MaxNumberOfMessages", parameters.max_number_of_messages, 1..=MAX_MESSAGES, reason)?;
    let reason = "Must be >= 0 and <= 20, if provided.";
    let wait = seconds("WaitTimeSeconds", parameters.wait_time_seconds, 0..=20, reason)?;
    let poll = Poll { max: max.unwrap_or(1) as usize, visibility: visibility(parameters)?, wait };
    // `AttributeNames` is the former name of `MessageSystemAttributeNames`.
    let system = [&*parameters.attribute_names, &parameters.message_system_attribute_names].concat();
    if let Some(unknown) = system.iter().find(|name| !SYSTEM_ATTRIBUTES.contains(&name.as_str())) {
        return Err(ApiError::unknown_attribute(unknown));
    }
    let received = service.receive(queue, poll).await?;
    if received.is_empty() {
        return Ok(json!({}));
    }
    let server = service.apply(|broker, _| broker.server);
    let wanted = &parameters.message_attribute_names;
    let messages: Vec<Value> = received
        .into_iter()
        .map(|(receipt, message)| view(server, queue, receipt, &message, &system, wanted))
        .collect();
    Ok(json!({"Messages": messages}))
}

fn visibility(parameters: &Parameters) -> Result<Option<Duration>, ApiError> {
    let reason = "Must be between 0 and 43200, if provided.";
    seconds("VisibilityTimeout", parameters.visibility_timeout, 0..=43_200, reason)
}

/// Returns a message as a client receives it, with the attributes that the client wants.
fn view(server: u64, queue: &str, receipt: Receipt, message: &Message, system: &[String], wanted: &[String]) -> Value {
    let content = &message.content;
    let mut body = json!({
        "MessageId": names::message_id(server, receipt.message),
        "ReceiptHandle": names::handle(server, queue, receipt),
        "MD5OfBody": message.md5.as_ref(),
        "Body": content.body,
    });
    let attributes: Vec<_> = content.attributes.iter().filter(|(name, _)| is_wanted(wanted, name)).collect();
    if let Some(md5) = md5_of_attributes(attributes.iter().copied()) {
        body["MD5OfMessageAttributes"] = md5.into();
        body["MessageAttributes"] = attributes
            .into_iter()
            .map(|(name, attribute)| (name.clone(), wire(attribute)))
            .collect::<Map<_, _>>()
            .into();
    }
    let system: Map<String, Value> = system_attributes(message)
        .into_iter()
        .filter(|(name, _)| system.iter().any(|wanted| wanted == "All" || wanted == name))
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    if !system.is_empty() {
        body["Attributes"] = system.into();
    }
    body
}

fn system_attributes(message: &Message) -> [(&'static str, Option<String>); 7] {
    let milliseconds = |time: Time| time.as_millis().to_string();
    let trace = message.content.system_attributes.get("AWSTraceHeader").and_then(|trace| match &trace.value {
        message::Value::Text(text) => Some(text.clone()),
        message::Value::Binary(_) => None,
    });
    [
        ("ApproximateFirstReceiveTimestamp", message.first_received.map(milliseconds)),
        ("ApproximateReceiveCount", Some(message.receives.to_string())),
        ("AWSTraceHeader", trace),
        ("DeadLetterQueueSourceArn", message.source.as_deref().map(names::arn)),
        ("MessageGroupId", message.content.group_id.clone()),
        ("SenderId", Some(names::ACCOUNT.to_owned())),
        ("SentTimestamp", Some(milliseconds(message.sent))),
    ]
}

fn wire(attribute: &Attribute) -> Value {
    match &attribute.value {
        message::Value::Text(text) => json!({"DataType": attribute.data_type, "StringValue": text}),
        message::Value::Binary(bytes) => {
            json!({"DataType": attribute.data_type, "BinaryValue": STANDARD.encode(bytes)})
        }
    }
}
