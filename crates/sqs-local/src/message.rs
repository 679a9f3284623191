//! The content of a message: its body and attributes, their limits and their MD5. This module is pure.

use std::collections::BTreeMap;

use super::error::{ApiError, Code};

/// The most bytes in one message and in all messages of a batch.
pub(crate) const MAX_BYTES: usize = 1 << 20;
const MAX_ATTRIBUTES: usize = 10;
const MAX_NAME_BYTES: usize = 256;
const MAX_GROUP_ID_BYTES: usize = 128;

pub(crate) type Attributes = BTreeMap<String, Attribute>;

/// What a producer sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) body: String,
    pub(crate) attributes: Attributes,
    /// `AWSTraceHeader` is the only one.
    pub(crate) system_attributes: Attributes,
    pub(crate) group_id: Option<String>,
}

/// A message attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) data_type: String,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Binary(Vec<u8>),
}

impl Value {
    fn bytes(&self) -> &[u8] {
        match self {
            Value::Text(text) => text.as_bytes(),
            Value::Binary(bytes) => bytes,
        }
    }
}

impl Content {
    /// Returns the bytes that count towards the limits: the body, and names, types and values of the attributes.
    pub(crate) fn bytes(&self) -> usize {
        let attribute = |(name, it): (&String, &Attribute)| name.len() + it.data_type.len() + it.value.bytes().len();
        self.body.len() + self.attributes.iter().map(attribute).sum::<usize>()
    }

    /// Checks everything except the limit of bytes of a batch.
    pub(crate) fn check(&self, max_bytes: usize) -> Result<(), ApiError> {
        if self.body.is_empty() {
            return Err(ApiError::missing("MessageBody"));
        }
        check_characters(&self.body, "message body")?;
        if self.attributes.len() > MAX_ATTRIBUTES {
            let message = format!(
                "Number of message attributes [{}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].",
                self.attributes.len()
            );
            return Err(ApiError::new(Code::InvalidParameterValue, message));
        }
        self.attributes.iter().try_for_each(|(name, attribute)| check_attribute(name, attribute))?;
        if self.system_attributes.iter().any(|(name, it)| name != "AWSTraceHeader" || it.data_type != "String") {
            let message = "The only message system attribute is AWSTraceHeader. Its type must be String.";
            return Err(ApiError::new(Code::InvalidParameterValue, message));
        }
        if let Some(group) = &self.group_id
            && !((1..=MAX_GROUP_ID_BYTES).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let reason = "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.";
            return Err(ApiError::invalid("MessageGroupId", group, reason));
        }
        if self.bytes() > max_bytes {
            let message =
                format!("One or more parameters are invalid. Reason: Message must be shorter than {max_bytes} bytes.");
            return Err(ApiError::new(Code::InvalidParameterValue, message));
        }
        Ok(())
    }
}

fn check_attribute(name: &str, attribute: &Attribute) -> Result<(), ApiError> {
    let invalid = |reason: String| Err(ApiError::new(Code::InvalidParameterValue, reason));
    let lower = name.to_ascii_lowercase();
    let valid_name = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !(name.starts_with('.') || name.ends_with('.') || name.contains(".."))
        && !(lower.starts_with("aws.") || lower.starts_with("amazon."));
    if !valid_name {
        return invalid(format!("The message attribute name '{name}' is invalid."));
    }
    let base_type = attribute.data_type.split('.').next().unwrap_or_default();
    let value_fits = match &attribute.value {
        Value::Text(_) => matches!(base_type, "String" | "Number"),
        Value::Binary(_) => base_type == "Binary",
    };
    if !value_fits || attribute.data_type.len() > MAX_NAME_BYTES {
        return invalid(format!(
            "The type of message (user) attribute '{name}' is invalid. You must use only the following supported type \
             prefixes: Binary, Number, String."
        ));
    }
    if attribute.value.bytes().is_empty() {
        return invalid(format!(
            "Message (user) attribute '{name}' must contain a non-empty value of type '{base_type}'."
        ));
    }
    match &attribute.value {
        Value::Text(text) if base_type == "Number" && text.parse::<f64>().is_err() => {
            invalid(format!("Can't cast the value of message (user) attribute '{name}' to a number."))
        }
        Value::Text(text) => check_characters(text, "message attribute"),
        Value::Binary(_) => Ok(()),
    }
}

/// Checks that every character is legal in XML 1.0, which SQS requires whatever the protocol.
fn check_characters(text: &str, place: &str) -> Result<(), ApiError> {
    let legal = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    match text.chars().find(|character| !legal(*character)) {
        None => Ok(()),
        Some(character) => {
            let message = format!(
                "Invalid binary character '#x{:X}' was found in the {place}, the set of allowed characters is #x9 | \
                 #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
                u32::from(character)
            );
            Err(ApiError::new(Code::InvalidMessageContents, message))
        }
    }
}

pub(crate) fn md5_of_body(body: &str) -> String {
    format!("{:x}", md5::compute(body))
}

/// Returns the MD5 of attributes as SDKs compute it, or `None` without attributes: for each attribute in the order of the
/// names, name, type and value with their lengths.
pub(crate) fn md5_of_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a Attribute)>,
) -> Option<String> {
    let mut context = md5::Context::new();
    let mut any = false;
    for (name, attribute) in attributes {
        any = true;
        let is_binary = matches!(attribute.value, Value::Binary(_));
        consume(&mut context, name.as_bytes());
        consume(&mut context, attribute.data_type.as_bytes());
        context.consume([if is_binary { 2 } else { 1 }]);
        consume(&mut context, attribute.value.bytes());
    }
    any.then(|| format!("{:x}", context.compute()))
}

fn consume(context: &mut md5::Context, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    context.consume(length.to_be_bytes());
    context.consume(bytes);
}

/// Returns whether a receive that asks for the attributes `wanted` gets the attribute `name`.
pub(crate) fn is_wanted(wanted: &[String], name: &str) -> bool {
    wanted.iter().any(|wanted| match wanted.strip_suffix(".*") {
        Some("") => true,
        Some(prefix) => name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        None => wanted == "All" || wanted == name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(data_type: &str, value: &str) -> Attribute {
        Attribute { data_type: data_type.to_owned(), value: Value::Text(value.to_owned()) }
    }

    fn with(name: &str, attribute: Attribute) -> Content {
        let attributes = Attributes::from([(name.to_owned(), attribute)]);
        Content { body: "b".to_owned(), attributes, ..Content::default() }
    }

    #[test]
    fn bodies_contain_only_characters_of_xml() {
        let check = |body: &str| Content { body: body.to_owned(), ..Content::default() }.check(MAX_BYTES);
        for body in ["a", "\t\r\n", "é\u{d7ff}\u{e000}\u{fffd}\u{10ffff}"] {
            assert_eq!(check(body), Ok(()));
        }
        for body in ["\0", "a\u{b}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            assert_eq!(check(body).unwrap_err().code, Code::InvalidMessageContents, "{body:?}");
        }
        assert_eq!(check("").unwrap_err().code, Code::MissingParameter);
    }

    #[test]
    fn attributes_have_limits() {
        assert_eq!(with("a.b-c_1", text("Number.int", "-1.5e3")).check(MAX_BYTES), Ok(()));
        let binary = Attribute { data_type: "Binary.png".to_owned(), value: Value::Binary(vec![0]) };
        assert_eq!(with("a", binary).check(MAX_BYTES), Ok(()));
        for name in ["", ".a", "a.", "a..b", "AWS.a", "amazon.b", "a b"] {
            assert!(with(name, text("String", "x")).check(MAX_BYTES).is_err(), "{name:?}");
        }
        for (data_type, value) in [("Number", "x"), ("String", ""), ("Binary", "x"), ("Text", "x"), ("String", "\0")] {
            assert!(with("a", text(data_type, value)).check(MAX_BYTES).is_err(), "{data_type} {value:?}");
        }
        let mut many = with("a", text("String", "x"));
        many.attributes.extend((0..10).map(|number| (format!("b{number}"), text("String", "x"))));
        assert!(many.check(MAX_BYTES).unwrap_err().message.contains("[11] exceeds the allowed maximum [10]"));
    }

    #[test]
    fn attributes_count_towards_the_size() {
        let content = with("abc", text("String", "xy"));
        assert_eq!(content.bytes(), 1 + 3 + 6 + 2);
        assert_eq!(content.check(12), Ok(()));
        assert!(content.check(11).is_err());
    }

    #[test]
    fn a_pattern_selects_attributes_by_their_prefix() {
        let wanted = |pattern: &str, name| is_wanted(&[pattern.to_owned()], name);
        assert!(wanted("All", "a") && wanted(".*", "a") && wanted("a", "a") && wanted("a.*", "a.b"));
        assert!(!wanted("a.*", "ab") && !wanted("a", "b") && !is_wanted(&[], "a"));
    }
}
