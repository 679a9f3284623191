//! Settings and counts of a queue, from and to its attributes. Pure.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};

use super::Problem;

/// What a new queue is created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub retention: Duration,
    pub visibility: Duration,
    /// The most bytes of a message.
    pub max_bytes: u64,
    pub redrive: Option<Redrive>,
}

/// Where SQS moves a message that was received too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The ARN of the dead-letter queue.
    pub target: String,
    pub max_receives: u32,
}

/// What an existing queue has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub arn: String,
    /// `None` if the server does not report it. Not every server does.
    pub retention: Option<Duration>,
    pub redrive: Option<Redrive>,
    /// The most bytes of a message, if the server reports it.
    pub max_bytes: Option<u64>,
    pub is_encrypted: bool,
    /// The policy that lists who else may use the queue, as JSON.
    pub policy: Option<String>,
    pub counts: Counts,
}

/// About how many messages a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub visible: u64,
    /// Received, and neither deleted nor visible again.
    pub in_flight: u64,
    pub delayed: u64,
}

impl Wanted {
    pub(super) fn attributes(&self) -> HashMap<QueueAttributeName, String> {
        let seconds = |time: Duration| time.as_secs().to_string();
        let mut attributes = HashMap::from([
            (QueueAttributeName::MessageRetentionPeriod, seconds(self.retention)),
            (QueueAttributeName::VisibilityTimeout, seconds(self.visibility)),
            (QueueAttributeName::MaximumMessageSize, self.max_bytes.to_string()),
        ]);
        let redrive = self.redrive.as_ref().map(|redrive| (QueueAttributeName::RedrivePolicy, redrive.to_json()));
        attributes.extend(redrive);
        attributes
    }
}

impl Redrive {
    pub(super) fn to_json(&self) -> String {
        json!({ "deadLetterTargetArn": self.target, "maxReceiveCount": self.max_receives }).to_string()
    }

    /// AWS returns the count as a number, and other servers return it as a string.
    fn parse(text: &str) -> Option<Redrive> {
        let policy: Value = serde_json::from_str(text).ok()?;
        let count = &policy["maxReceiveCount"];
        let max_receives = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
        let target = policy["deadLetterTargetArn"].as_str()?.to_owned();
        Some(Redrive { target, max_receives: u32::try_from(max_receives).ok()? })
    }
}

impl Settings {
    pub(super) fn parse(attributes: &HashMap<QueueAttributeName, String>) -> Result<Settings, Problem> {
        let text = |name: QueueAttributeName| attributes.get(&name).filter(|text| !text.is_empty());
        let missing = |name: &str| Problem::Other(format!("SQS returned no {name} of it"));
        let number = |name: QueueAttributeName| {
            let number = text(name.clone()).and_then(|text| text.parse::<u64>().ok());
            number.ok_or_else(|| missing(name.as_str()))
        };
        let is_encrypted = text(QueueAttributeName::SqsManagedSseEnabled).is_some_and(|text| text == "true")
            || text(QueueAttributeName::KmsMasterKeyId).is_some();
        Ok(Settings {
            arn: text(QueueAttributeName::QueueArn).ok_or_else(|| missing("QueueArn"))?.clone(),
            retention: number(QueueAttributeName::MessageRetentionPeriod).ok().map(Duration::from_secs),
            redrive: text(QueueAttributeName::RedrivePolicy).and_then(|text| Redrive::parse(text)),
            max_bytes: number(QueueAttributeName::MaximumMessageSize).ok(),
            is_encrypted,
            policy: text(QueueAttributeName::Policy).cloned(),
            counts: Counts {
                visible: number(QueueAttributeName::ApproximateNumberOfMessages)?,
                in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)?,
                delayed: number(QueueAttributeName::ApproximateNumberOfMessagesDelayed)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrive_policy_is_read_with_its_count_as_a_number_or_a_string() {
        let redrive = Redrive { target: "arn:aws:sqs:us-east-1:1:events-dlq".to_owned(), max_receives: 5 };
        assert_eq!(Redrive::parse(&redrive.to_json()), Some(redrive.clone()));
        let text = r#"{"maxReceiveCount":"5","deadLetterTargetArn":"arn:aws:sqs:us-east-1:1:events-dlq"}"#;
        assert_eq!(Redrive::parse(text), Some(redrive));
        for other in ["", "{}", r#"{"maxReceiveCount":5}"#, r#"{"maxReceiveCount":-1,"deadLetterTargetArn":"a"}"#] {
            assert_eq!(Redrive::parse(other), None, "{other}");
        }
    }
}
