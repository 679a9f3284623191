//! The attributes of a queue that clients set. This module is pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::{ApiError, Code};
use super::names;

/// An attribute with a number, and its position in [`NUMBERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Delay,
    MaxBytes,
    Retention,
    Wait,
    Visibility,
}

/// The name, the default, the minimum and the maximum of each number.
const NUMBERS: [(&str, u64, u64, u64); 5] = [
    ("DelaySeconds", 0, 0, 900),
    ("MaximumMessageSize", 1 << 20, 1024, 1 << 20),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
    ("VisibilityTimeout", 30, 0, 43_200),
];

/// Attributes that are stored and returned, without another effect.
const STORED: [&str; 5] =
    ["KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "Policy", "RedriveAllowPolicy", "SqsManagedSseEnabled"];

/// Where messages go after too many receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redrive {
    /// The name of the dead-letter queue.
    pub(crate) target: String,
    pub(crate) max_receives: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    numbers: [u64; 5],
    pub(crate) redrive: Option<Redrive>,
    stored: BTreeMap<&'static str, String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { numbers: NUMBERS.map(|(_, default, ..)| default), redrive: None, stored: BTreeMap::new() }
    }
}

impl Settings {
    pub(crate) fn number(&self, number: Number) -> u64 {
        self.numbers[number as usize]
    }

    /// Sets one attribute. `exists` tells whether a queue exists.
    pub(crate) fn set(&mut self, name: &str, value: &str, exists: impl Fn(&str) -> bool) -> Result<(), ApiError> {
        if let Some(position) = NUMBERS.iter().position(|(number, ..)| *number == name) {
            let (.., min, max) = NUMBERS[position];
            let number = value.parse().ok().filter(|number| (min..=max).contains(number));
            self.numbers[position] = number.ok_or_else(|| invalid_value(name))?;
        } else if name == "RedrivePolicy" {
            self.redrive = if value.is_empty() { None } else { Some(parse_redrive(value, exists)?) };
        } else if let Some(name) = STORED.into_iter().find(|stored| *stored == name) {
            if name.ends_with("Policy")
                && !value.is_empty()
                && serde_json::from_str::<Map<String, Value>>(value).is_err()
            {
                return Err(invalid_value(name));
            }
            if value.is_empty() {
                self.stored.remove(name)
            } else {
                self.stored.insert(name, value.to_owned())
            };
        } else if name.contains("Fifo") || matches!(name, "ContentBasedDeduplication" | "DeduplicationScope") {
            return Err(ApiError::unsupported("FIFO queues"));
        } else {
            return Err(ApiError::unknown_attribute(name));
        }
        Ok(())
    }

    /// Returns the attributes with their values.
    pub(crate) fn attributes(&self) -> BTreeMap<&'static str, String> {
        let numbers = NUMBERS.iter().zip(self.numbers).map(|((name, ..), number)| (*name, number.to_string()));
        let redrive = self.redrive.iter().map(|redrive| {
            let policy =
                json!({"deadLetterTargetArn": names::arn(&redrive.target), "maxReceiveCount": redrive.max_receives});
            ("RedrivePolicy", policy.to_string())
        });
        let mut attributes = BTreeMap::from([("SqsManagedSseEnabled", "true".to_owned())]);
        attributes.extend(numbers.chain(redrive).chain(self.stored.iter().map(|(name, value)| (*name, value.clone()))));
        attributes
    }
}

fn invalid_value(name: &str) -> ApiError {
    ApiError::new(Code::InvalidAttributeValue, format_args!("Invalid value for the parameter {name}."))
}

fn parse_redrive(policy: &str, exists: impl Fn(&str) -> bool) -> Result<Redrive, ApiError> {
    let invalid = |reason: &str| ApiError::invalid("RedrivePolicy", policy, reason);
    let parsed: Value = serde_json::from_str(policy).map_err(|_| invalid("Redrive policy is not a valid JSON map."))?;
    // Terraform and CloudFormation write the number as a string.
    let count = match &parsed["maxReceiveCount"] {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => return Err(invalid("Redrive policy does not contain mandatory attribute: maxReceiveCount.")),
    };
    let max_receives = count
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| (1..=1000).contains(count))
        .ok_or_else(|| invalid("Invalid value for maxReceiveCount, valid values are from 1 to 1000 both inclusive."))?;
    let Value::String(arn) = &parsed["deadLetterTargetArn"] else {
        return Err(invalid("Redrive policy does not contain mandatory attribute: deadLetterTargetArn."));
    };
    match names::of_arn(arn).filter(|target| exists(target)) {
        Some(target) => Ok(Redrive { target: target.to_owned(), max_receives }),
        None => Err(invalid("Dead letter target does not exist.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_ranges() {
        for (name, _, min, max) in NUMBERS {
            let set = |value: u64| Settings::default().set(name, &value.to_string(), |_| false);
            assert_eq!((set(min), set(max)), (Ok(()), Ok(())), "{name}");
            assert_eq!(set(max + 1).unwrap_err().code, Code::InvalidAttributeValue, "{name}");
            assert!(min == 0 || set(min - 1).is_err(), "{name}");
        }
        assert!(Settings::default().set("VisibilityTimeout", "-1", |_| false).is_err());
    }

    #[test]
    fn a_redrive_policy_names_an_existing_queue_and_a_count() {
        let mut settings = Settings::default();
        let policy = |arn: &str, count: &str| format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{count}}}"#);
        let dead = names::arn("dead");
        for count in ["1", "1000", r#""5""#] {
            assert_eq!(settings.set("RedrivePolicy", &policy(&dead, count), |name| name == "dead"), Ok(()));
        }
        let expected = Redrive { target: "dead".to_owned(), max_receives: 5 };
        assert_eq!(settings.redrive, Some(expected));
        let other = names::arn("other");
        for invalid in
            [policy(&other, "5"), policy("dead", "5"), policy(&dead, "0"), policy(&dead, "1001"), "[]".into()]
        {
            assert!(settings.set("RedrivePolicy", &invalid, |name| name == "dead").is_err(), "{invalid}");
        }
        assert_eq!(settings.set("RedrivePolicy", "", |_| true), Ok(()));
        assert_eq!(settings.redrive, None);
    }

    #[test]
    fn an_unknown_attribute_is_an_error() {
        let set = |name| Settings::default().set(name, "true", |_| false).unwrap_err().code;
        assert_eq!(set("Colour"), Code::InvalidAttributeName);
        assert_eq!(set("FifoQueue"), Code::UnsupportedOperation);
        assert_eq!(set("Policy"), Code::InvalidAttributeValue);
    }
}
