//! SQS behind the ports of the processor: the queue of events, and its dead-letter queue. Leaves retries to the processor.

mod dead_letters;
mod queue;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{BatchResultErrorEntry, MessageAttributeValue, QueueAttributeName};
use dynamodb::NoSdkHeaders;
use ops::cause;

use crate::dead_letter::Attributes;
use crate::observe::USER_AGENT;
use crate::ports::{Entry, Failure};
use crate::queues::Problem;

pub use dead_letters::DeadLetterQueue;
pub use queue::EventQueue;

/// The codes of messages that SQS never takes, without their prefixes and suffixes.
const REFUSALS: [&str; 3] = ["InvalidMessageContents", "InvalidParameterValue", "InvalidAttributeValue"];

/// Returns a client that does not retry. Sends no request.
pub async fn connect(endpoint: Option<&str>) -> Result<Client, Problem> {
    let config = aws_sdk_sqs::Config::from(&dynamodb::sdk_config(endpoint).await?);
    Ok(Client::from_conf(config.to_builder().interceptor(NoSdkHeaders { user_agent: USER_AGENT }).build()))
}

/// Returns the URL of a queue.
pub async fn queue_url(client: &Client, name: &str) -> Result<String, Problem> {
    let found = client.get_queue_url().queue_name(name).send().await.map_err(|error| Problem::of(&error))?;
    found.queue_url.ok_or_else(|| Problem::Unreachable("SQS returned no URL of the queue".to_owned()))
}

/// Whether SQS moves messages that were received too often.
pub async fn has_redrive_policy(client: &Client, url: &str) -> Result<bool, Problem> {
    let request = client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::RedrivePolicy);
    let found = request.send().await.map_err(|error| Problem::of(&error))?;
    Ok(found.attributes.is_some_and(|attributes| attributes.contains_key(&QueueAttributeName::RedrivePolicy)))
}

/// Sends a message. After `Ok`, it is durable. After `Unavailable` it may have been sent.
pub async fn send(client: &Client, url: &str, body: &str, attributes: &Attributes) -> Result<(), Failure> {
    let mut request = client.send_message().queue_url(url).message_body(body);
    for (name, value) in attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        request = request.message_attributes(*name, value.map_err(|error| Failure::Refused(error.to_string()))?);
    }
    match request.send().await {
        // Only SQS answers with the id of the message.
        Ok(answer) if answer.message_id.is_some() => Ok(()),
        Ok(_) => Err(Failure::Unavailable("something other than SQS answered".to_owned())),
        Err(error) => {
            let is_refused = |code: &str| REFUSALS.iter().any(|refusal| code.contains(refusal));
            let refused = error.code().is_some_and(is_refused);
            Err(if refused { Failure::Refused(detail(&error)) } else { unavailable(&error) })
        }
    }
}

/// Returns the failure of a call that may succeed later.
fn unavailable<E>(error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    Failure::Unavailable(detail(error))
}

fn detail<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.code() {
        Some(code) => format!("{code}: {}", error.message().unwrap_or("no message")),
        None => cause(error),
    }
}

/// Returns the result of each of `count` entries, whose ids are their positions. SQS names those that failed; an entry that the
/// answer does not name has failed too.
fn entries<'a>(
    count: usize,
    successful: impl Iterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
) -> Vec<Entry> {
    let mut entries = vec![Entry::Failed; count];
    let mut set = |id: &str, result| {
        if let Some(entry) = id.parse().ok().and_then(|index: usize| entries.get_mut(index)) {
            *entry = result;
        }
    };
    successful.for_each(|id| set(id, Entry::Done));
    for failed in failed {
        // The codes begin with different prefixes in different versions of the API.
        let is_throttled = failed.code().contains("Throttl");
        set(failed.id(), if failed.sender_fault() && !is_throttled { Entry::Gone } else { Entry::Failed });
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(id: &str, code: &str, sender_fault: bool) -> BatchResultErrorEntry {
        BatchResultErrorEntry::builder().id(id).code(code).sender_fault(sender_fault).build().unwrap()
    }

    #[test]
    fn each_entry_has_its_own_result() {
        let failures = [
            failed("1", "ReceiptHandleIsInvalid", true),
            failed("2", "InternalError", false),
            failed("3", "RequestThrottled", true),
        ];
        let expected = [Entry::Done, Entry::Gone, Entry::Failed, Entry::Failed, Entry::Failed];
        assert_eq!(entries(5, ["0", "9", "x"].into_iter(), &failures), expected);
    }
}
