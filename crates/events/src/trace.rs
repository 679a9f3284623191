//! The trace that a message continues. Pure.

use webhooks::TraceParent;

/// Returns the trace of a message as a W3C `traceparent`: `given` is its attribute of this name, and `aws` is SQS's
/// `AWSTraceHeader`. The first one that is valid counts.
pub fn traceparent(given: Option<&str>, aws: Option<&str>) -> Option<String> {
    let trace = given.and_then(TraceParent::parse).or_else(|| aws.and_then(of_aws));
    trace.map(|trace| trace.as_str().to_owned())
}

/// E.g. `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.
/// <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
fn of_aws(text: &str) -> Option<TraceParent> {
    let field = |name: &str| text.split(';').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
    let (seconds, random) = field("Root")?.strip_prefix("1-")?.split_once('-')?;
    let parent = field("Parent")?;
    let flags = if field("Sampled") == Some("1") { "01" } else { "00" };
    TraceParent::parse(&format!("00-{seconds}{random}-{parent}-{flags}"))
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
        assert_eq!(of(None, Some(&AWS.replace("Sampled=1", "Sampled=?"))), Some(OF_AWS.replace("8-01", "8-00")));
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn other_texts_are_no_traces() {
        assert_eq!(traceparent(Some("00-1-2-01"), None), None);
        for text in ["", "Root=1-2-3", "Root=1-5759e988-bd862e3fe1be46a994272793", "Self=1"] {
            assert_eq!(traceparent(None, Some(text)), None, "{text}");
        }
        let more = AWS.replace("Parent=", "Parent=00-");
        assert_eq!(traceparent(None, Some(&more)), None);
    }
}
