//! What the dead letters of the queue of events have beside their bodies: the attributes of SQS. Pure.

use crate::event::Invalid;

/// The names of the attributes.
pub const REASON: &str = "reason";
pub const POINTER: &str = "pointer";
pub const DETAIL: &str = "detail";
pub const EVENT_ID: &str = "event_id";
pub const EVENT_TIME: &str = "event_time";
pub const RECEIVES: &str = "receives";
pub const TRACEPARENT: &str = "traceparent";
/// Only of deliveries, as the next four.
pub const CLIENT_ID: &str = "client_id";
pub const EVENT_TYPE: &str = "event_type";
pub const WEBHOOK_ID: &str = "webhook_id";
pub const TARGET: &str = "target";

/// The reason of a message without one: SQS has moved it, after it was received too often.
pub const RECEIVED_TOO_OFTEN: &str = "received_too_often";

/// SQS counts the body, and the name, the type and the value of each attribute.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// The type of each attribute.
const TYPE: &str = "String";
/// The most characters of a value. Our own ids are shorter.
const MAX_CHARACTERS: usize = 1024;

/// The attributes of a message, by name.
pub type Attributes = Vec<(&'static str, String)>;

/// Returns the attributes of a message that is no event: those that fit beside a body of this size, the most important first.
pub fn attributes(invalid: &Invalid, body_bytes: usize, receives: u32, trace: Option<&str>) -> Attributes {
    let mut attributes = vec![(REASON, invalid.reason.name().to_owned())];
    if let Some((id, time)) = &invalid.identity {
        attributes.push((EVENT_ID, id.clone()));
        attributes.push((EVENT_TIME, time.to_string()));
    }
    attributes.extend(invalid.pointer.iter().map(|pointer| (POINTER, pointer.clone())));
    attributes.push((RECEIVES, receives.to_string()));
    attributes.push((DETAIL, invalid.detail.clone()));
    attributes.extend(trace.map(|trace| (TRACEPARENT, trace.to_owned())));
    fitting(attributes, body_bytes)
}

/// Makes the values acceptable to SQS, and drops from the end what does not fit beside a body of this size. Drops empty values,
/// because SQS refuses them.
pub fn fitting(attributes: Attributes, body_bytes: usize) -> Attributes {
    let mut left = MAX_MESSAGE_BYTES.saturating_sub(body_bytes);
    let legal = attributes.into_iter().map(|(name, value)| (name, legal(&value)));
    let filled = legal.filter(|(_, value)| !value.is_empty());
    filled
        .take_while(|(name, value)| {
            let size = name.len() + TYPE.len() + value.len();
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        })
        .collect()
}

/// Returns a text without the characters that SQS refuses, of at most 1,024 characters.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub fn legal(text: &str) -> String {
    text.chars().filter(|c| is_legal(*c)).take(MAX_CHARACTERS).collect()
}

/// Whether SQS accepts a character.
pub fn is_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Reason;
    use crate::moment::Moment;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn invalid(pointer: &str, detail: &str) -> Invalid {
        let identity = Some(("id".to_owned(), Moment::from_unix_millis(1).unwrap()));
        Invalid { identity, detail: detail.to_owned(), ..Invalid::at(Reason::SchemaViolation, pointer, "") }
    }

    #[test]
    fn a_dead_letter_names_its_reason_and_its_event() {
        let written = attributes(&invalid("/data", "\"text\" is not an object"), 10, 2, Some(TRACE));
        let expected = [
            (REASON, "schema_violation"),
            (EVENT_ID, "id"),
            (EVENT_TIME, "1970-01-01T00:00:00.001Z"),
            (POINTER, "/data"),
            (RECEIVES, "2"),
            (DETAIL, "\"text\" is not an object"),
            (TRACEPARENT, TRACE),
        ];
        assert_eq!(written, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn the_pointer_of_the_whole_body_is_absent() {
        assert!(attributes(&invalid("", "x"), 10, 1, None).iter().all(|(name, _)| *name != POINTER));
    }

    #[test]
    fn the_reason_is_the_last_to_be_dropped() {
        let of = |body_bytes| attributes(&invalid("/data", "text"), body_bytes, 1, Some(TRACE));
        assert_eq!(of(MAX_MESSAGE_BYTES), []);
        assert_eq!(of(MAX_MESSAGE_BYTES - 40), [(REASON, "schema_violation".to_owned())]);
        assert_eq!(of(MAX_MESSAGE_BYTES - 1024).len(), 7);
    }

    proptest! {
        #[test]
        fn sqs_accepts_every_attribute(pointer in any::<String>(), detail in "\\PC{0,2000}|[\\x00-\\x1f\u{fffe}]{0,9}", left in 0..400_usize) {
            let written = attributes(&invalid(&pointer, &detail), MAX_MESSAGE_BYTES - left, 1, Some(TRACE));
            let size: usize = written.iter().map(|(name, value)| name.len() + TYPE.len() + value.len()).sum();
            prop_assert!(size <= left && written.len() <= 10);
            for (_, value) in written {
                prop_assert!(!value.is_empty() && legal(&value) == value);
            }
        }
    }
}
