//! The spans of a processor, as a collector receives them.

use super::world::{World, text};
use super::{TIME, event};
use crate::support::collector::{Collector, attribute, hex};
use crate::support::program::Signal;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PRODUCER: &str = "b7ad6b7169203331";

#[tokio::test]
async fn a_message_has_a_span_in_the_trace_of_its_producer_and_its_put_is_a_child() {
    let world = World::start().await;
    let mut collector = Collector::start().await;
    let processor = world.processor(&[]).env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).start();
    let sampled = format!("00-{TRACE}-{PRODUCER}-01");
    world.send(&event("1"), &[("traceparent", &sampled)]).await;
    world.send(&event("2"), &[("traceparent", &format!("00-{TRACE}-{PRODUCER}-00"))]).await;
    world.send(&event("3"), &[]).await;
    world.until_empty().await;
    processor.signal(Signal::Terminate).await;
    assert_eq!(processor.exit().await.code, Some(0));

    let ((service, put), (_, process)) = (collector.next().await, collector.next().await);
    assert!(collector.is_empty(), "what the producer does not trace has no span");
    assert_eq!(service["service.name"], "event-pipeline");
    assert_eq!((process.name.as_str(), hex(&process.trace_id)), ("process events", TRACE.to_owned()));
    assert_eq!(hex(&process.parent_span_id), PRODUCER);
    assert_eq!(
        (put.name.as_str(), &put.trace_id, &put.parent_span_id),
        ("PutItem", &process.trace_id, &process.span_id)
    );
    assert_eq!(
        (attribute(&process, "outcome"), attribute(&put, "db.collection.name")),
        ("stored".into(), "Events".into())
    );
    let of_first = format!("{TIME}#1");
    let items = world.items().await;
    let first = items.iter().find(|item| text(item, "event_key") == of_first).expect("the event is stored");
    assert_eq!(text(first, "trace"), sampled, "the trace of an event is that of its producer");
}

#[tokio::test]
async fn a_dead_letter_is_a_span_with_its_reason() {
    let world = World::start().await;
    let mut collector = Collector::start().await;
    let processor = world.processor(&[]).env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).start();
    world.send("{", &[("traceparent", &format!("00-{TRACE}-{PRODUCER}-01"))]).await;
    world.until_empty().await;
    processor.signal(Signal::Terminate).await;
    assert_eq!(processor.exit().await.code, Some(0));
    let ((_, send), (_, process)) = (collector.next().await, collector.next().await);
    assert_eq!((send.name.as_str(), &send.parent_span_id), ("send events-dlq", &process.span_id));
    assert_eq!(attribute(&process, "outcome"), "dead_letter");
    assert_eq!(attribute(&process, "error.type"), "malformed_json");
}

#[tokio::test]
async fn an_event_without_a_producer_that_traces_continues_the_trace_that_its_processor_begins() {
    let world = World::start().await;
    let mut collector = Collector::start().await;
    let launch = world.processor(&[]).env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    let processor = launch.env("OTEL_TRACES_SAMPLER", "always_on").start();
    world.send(&event("1"), &[]).await;
    world.until_empty().await;
    processor.signal(Signal::Terminate).await;
    assert_eq!(processor.exit().await.code, Some(0));
    let (_, put) = collector.next().await;
    let (_, process) = collector.next().await;
    assert_eq!(put.parent_span_id, process.span_id);
    let expected = format!("00-{}-{}-01", hex(&process.trace_id), hex(&process.span_id));
    assert_eq!(text(&world.items().await[0], "trace"), expected);
}
