//! The trace that a message continues. Pure.

/// Returns the trace of a message as a W3C `traceparent`: `given` is its attribute of this name, and `aws` is SQS's
/// `AWSTraceHeader`. The first one that is valid counts.
pub fn traceparent(given: Option<&str>, aws: Option<&str>) -> Option<String> {
    given.and_then(of_w3c).or_else(|| aws.and_then(of_aws))
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>. Of a later version, it keeps the part that has not changed.
fn of_w3c(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let has_rest = parts.next().is_some();
    let is_known = version.len() == 2 && version != "ff" && is_hex(version) && !(version == "00" && has_rest);
    let is_valid = is_known && is_id(trace, 32) && is_id(parent, 16) && flags.len() == 2 && is_hex(flags);
    is_valid.then(|| format!("00-{trace}-{parent}-{flags}"))
}

/// E.g. `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.
/// <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
fn of_aws(text: &str) -> Option<String> {
    let field = |name: &str| text.split(';').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
    let (seconds, random) = field("Root")?.strip_prefix("1-")?.split_once('-')?;
    let (trace, parent) = (format!("{seconds}{random}"), field("Parent")?);
    let flags = if field("Sampled") == Some("1") { "01" } else { "00" };
    (is_id(&trace, 32) && is_id(parent, 16)).then(|| format!("00-{trace}-{parent}-{flags}"))
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

    const W3C: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const AWS: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    const OF_AWS: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";

    #[test]
    fn the_attribute_wins_over_the_header_of_aws() {
        let of = |given: Option<&str>, aws: Option<&str>| traceparent(given, aws);
        assert_eq!(of(Some(W3C), Some(AWS)).as_deref(), Some(W3C));
        assert_eq!(of(Some("other"), Some(AWS)).as_deref(), Some(OF_AWS));
        assert_eq!(of(None, Some(AWS)).as_deref(), Some(OF_AWS));
        assert_eq!(of(Some(&W3C.replacen("00", "cc", 1)), None).as_deref(), Some(W3C));
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn other_texts_are_no_traces() {
        let (zeros, upper) = (W3C.replace("b7ad6b7169203331", "0000000000000000"), W3C.to_uppercase());
        let (long, invalid) = (format!("{W3C}-00"), W3C.replacen("00", "ff", 1));
        for text in ["", "00", "00-1-2-01", &zeros, &upper, &long, &invalid] {
            assert_eq!(traceparent(Some(text), None), None, "{text}");
        }
        for text in ["", "Root=1-2-3", "Root=1-5759e988-bd862e3fe1be46a994272793", "Self=1"] {
            assert_eq!(traceparent(None, Some(text)), None, "{text}");
        }
    }
}
