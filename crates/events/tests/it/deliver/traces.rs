//! The trace of an event in its deliveries: the header of each POST, and the spans of a deliverer.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue};
use webhooks::{Clock, SystemClock};

use super::world::{TIME, World};
use crate::support::collector::{Collector, attribute, hex};
use crate::support::pages::{http_address, metric};
use crate::support::program::Signal;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PRODUCER: &str = "b7ad6b7169203331";

fn traceparent() -> String {
    format!("00-{TRACE}-{PRODUCER}-01")
}

/// Stores an event as the processor does, with the time of its message.
async fn put(world: &World, id: &str) {
    let text = |text: String| AttributeValue::S(text);
    let put = world.servers.dynamo.client.put_item().table_name("Events");
    let put = put.item("client_id", text("acme".to_owned())).item("event_key", text(format!("{TIME}#{id}")));
    let put = put.item("event_type", text("order".to_owned())).item("data", text("{}".to_owned()));
    let sent = AttributeValue::N(delivery_table::millis(SystemClock.now()).to_string());
    put.item("trace", text(traceparent())).item("sent_at", sent).send().await.expect("the table answers");
}

#[tokio::test]
async fn each_attempt_continues_the_trace_of_its_event_and_a_late_success_counts_from_its_message() {
    const COUNT: &str = "event_pipeline_end_to_end_seconds_count";
    let world = World::start(503).await;
    world.route("acme", "/acme").await;
    let launch = world.deliverer().env("EVENT_PIPELINE_ALLOW_TARGET", &world.receiver.host());
    let mut deliverer = launch.env("EVENT_PIPELINE_HTTP_LISTEN", "127.0.0.1:0").start();
    let address = http_address(&mut deliverer).await;
    put(&world, "1").await;
    let first = world.receiver.wait_for("/acme", 1).await;
    assert_eq!(first[0].header("traceparent"), Some(traceparent().as_str()));
    world.wait_until_waiting(1).await;
    assert_eq!(metric(&address, COUNT).await, 0.0);

    world.receiver.answer(200);
    let both = world.receiver.wait_for("/acme", 2).await;
    assert_eq!(both[1].header("traceparent"), Some(traceparent().as_str()));
    world.wait_until_waiting(0).await;
    assert_eq!(metric(&address, COUNT).await, 1.0);
    let seconds = metric(&address, "event_pipeline_end_to_end_seconds_sum").await;
    assert!(seconds >= 5.0, "the first retry comes after 5 s: {seconds}");
}

#[tokio::test]
async fn a_delivery_has_spans_in_the_trace_of_its_event_and_its_target_continues_them() {
    let world = World::start(200).await;
    world.route("acme", "/acme").await;
    let mut collector = Collector::start().await;
    let launch = world.deliverer().env("EVENT_PIPELINE_ALLOW_TARGET", &world.receiver.host());
    let deliverer = launch.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).start();
    world.put("acme", "untraced", &[]).await;
    put(&world, "1").await;
    let received = world.receiver.wait_for("/acme", 2).await;
    deliverer.signal(Signal::Terminate).await;
    assert_eq!(deliverer.exit().await.code, Some(0));

    let ((_, post), (_, deliver)) = (collector.next().await, collector.next().await);
    assert!(collector.is_empty(), "an event that is not traced has no span");
    assert_eq!((deliver.name.as_str(), hex(&deliver.trace_id)), ("deliver Events", TRACE.to_owned()));
    assert_eq!(
        (hex(&deliver.parent_span_id), attribute(&deliver, "outcome")),
        (PRODUCER.to_owned(), "delivered".into())
    );
    assert_eq!(
        (post.name.as_str(), &post.trace_id, &post.parent_span_id),
        ("POST", &deliver.trace_id, &deliver.span_id)
    );
    assert_eq!(attribute(&post, "http.response.status_code"), "200");
    let traced: Vec<_> = received.iter().filter_map(|request| request.header("traceparent")).collect();
    assert_eq!(traced, [format!("00-{TRACE}-{}-01", hex(&post.span_id))]);
    let spans = format!("{post:?} {deliver:?}");
    assert!(!spans.contains(&world.receiver.host()), "a URL may contain secrets: {spans}");
}

#[tokio::test]
async fn a_direct_dispatch_continues_the_trace_of_its_message() {
    let world = World::start(200).await;
    world.route("acme", "/acme").await;
    let flags = ["processor", "--direct-dispatch", "--allow-http"];
    let launch = crate::support::program::event_pipeline(flags).against(&world.servers);
    let _processor = launch.env("EVENT_PIPELINE_ALLOW_TARGET", &world.receiver.host()).start();
    let event = r#"{"client_id":"acme","event_type":"order","data":{}}"#;
    world.servers.sqs.send("events", event, &[("traceparent", &traceparent())]).await;
    let received = world.receiver.wait_for("/acme", 1).await;
    assert_eq!(received[0].header("traceparent"), Some(traceparent().as_str()));

    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let header = MessageSystemAttributeValue::builder().data_type("String").string_value(header).build();
    let send = world.servers.sqs.client.send_message().queue_url(world.servers.sqs.url("events").await);
    let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
    let send = send.message_body(event).message_system_attributes(name, header.expect("it has a type"));
    send.send().await.expect("the message is sent");
    let received = world.receiver.wait_for("/acme", 2).await;
    let expected = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
    assert_eq!(received[1].header("traceparent"), Some(expected));
}
