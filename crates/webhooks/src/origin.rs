//! Where an event comes from: what its deliveries keep of it, beside the body.

use std::time::SystemTime;

/// Where an event comes from, as far as it is known. A store keeps it with the delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// When the event was sent to the program. Reports of successes contain it, so that a program can measure the whole way.
    pub sent: Option<SystemTime>,
    /// The trace that each attempt continues.
    pub trace: Option<TraceParent>,
}

/// A valid `traceparent` of version 00. <https://www.w3.org/TR/trace-context/#traceparent-header>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// Reads the value of a header. Of a later version, it keeps the part that has not changed.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let mut parts = text.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let has_rest = parts.next().is_some();
        let is_known = version.len() == 2 && version != "ff" && is_hex(version) && !(version == "00" && has_rest);
        let is_valid = is_known && is_id(trace, 32) && is_id(parent, 16) && flags.len() == 2 && is_hex(flags);
        is_valid.then(|| TraceParent(format!("00-{trace}-{parent}-{flags}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_id(text: &str, length: usize) -> bool {
    text.len() == length && is_hex(text) && text.bytes().any(|byte| byte != b'0')
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_later_version_is_read_as_the_first_one() {
        let parsed = |text: &str| TraceParent::parse(text).map(|trace| trace.as_str().to_owned());
        assert_eq!(parsed(VALID).as_deref(), Some(VALID));
        assert_eq!(parsed(&VALID.replacen("00", "cc", 1)).as_deref(), Some(VALID));
        assert_eq!(parsed(&format!("{}-more", VALID.replacen("00", "cc", 1))).as_deref(), Some(VALID));
    }

    #[test]
    fn other_texts_are_no_traces() {
        let (zeros, upper) = (VALID.replace("b7ad6b7169203331", "0000000000000000"), VALID.to_uppercase());
        let (long, invalid) = (format!("{VALID}-00"), VALID.replacen("00", "ff", 1));
        for text in ["", "00", "00-1-2-01", &zeros, &upper, &long, &invalid, &format!("{VALID}\r\nx: y")] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
