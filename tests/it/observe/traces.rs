//! Traces, as a collector receives them, and the standard variables that configure them.

use std::net::TcpListener;

use google_cloud_pubsub::model::Message;

use crate::support::REFUSING;
use crate::support::collector::{Collector, attribute, hex};
use crate::support::pipeline::{Pipeline, ip, scan, valid_scans};
use crate::support::program::Signal;

#[tokio::test]
async fn a_message_continues_the_trace_of_its_publisher_and_its_write_is_a_child_span() {
    let pipeline = Pipeline::new().await;
    let mut collector = Collector::start().await;
    let consumer = pipeline.consumer().env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).start();
    let (trace, publisher) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let message = |n: usize, sampled: &str| {
        let traceparent = format!("00-{trace}-{publisher}-{sampled}");
        let attributes = [("googclient_traceparent", traceparent)];
        Message::new().set_data(scan(&ip(n), 7, "secret")).set_attributes(attributes)
    };
    let plain = Message::new().set_data(scan(&ip(2), 7, "secret"));
    let sent = pipeline.pubsub.try_publish(&pipeline.topic, [message(0, "01"), message(1, "00"), plain]).await;
    let id = sent.into_iter().next().and_then(Result::ok).expect("the message is accepted");
    pipeline.rows(3).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    assert_eq!(consumer.exit().await.code, Some(0));
    let ((service, write), (_, process)) = (collector.next().await, collector.next().await);
    let service = &service["service.name"];
    assert!(collector.is_empty());
    assert_eq!(
        (service.as_str(), hex(&process.trace_id), hex(&process.parent_span_id)),
        ("mini-scan", trace.to_owned(), publisher.to_owned())
    );
    assert_eq!((hex(&write.trace_id), hex(&write.parent_span_id)), (trace.to_owned(), hex(&process.span_id)));
    assert_eq!(
        (process.name.as_str(), write.name.as_str()),
        (format!("process {}", pipeline.subscription.rsplit('/').next().expect("a name")).as_str(), "PutItem")
    );
    assert_eq!(
        (attribute(&process, "messaging.message.id"), attribute(&process, "outcome")),
        (id, "stored".to_owned())
    );
    assert_eq!(attribute(&write, "db.collection.name"), pipeline.table);
    let spans = format!("{process:?} {write:?}");
    assert!(!spans.contains("secret") && !spans.contains(&ip(0)), "{spans}");
}

#[tokio::test]
async fn the_standard_variables_configure_sampling_and_the_service() {
    let pipeline = Pipeline::new().await;
    let mut collector = Collector::start().await;
    let launch = pipeline.consumer().env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    let launch = launch.env("OTEL_TRACES_SAMPLER", "traceidratio").env("OTEL_TRACES_SAMPLER_ARG", "1.0");
    let launch = launch.env("OTEL_SERVICE_NAME", "scans-of-europe").env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let consumer = launch.env("OTEL_RESOURCE_ATTRIBUTES", "service.name=hidden,deployment.environment=test").start();
    // The publisher does not trace this message.
    pipeline.publish(valid_scans(0..1)).await;
    pipeline.rows(1).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    assert_eq!(consumer.exit().await.code, Some(0));
    let ((resource, write), (_, process)) = (collector.next().await, collector.next().await);
    assert_eq!(write.parent_span_id, process.span_id);
    assert_eq!(
        ["service.name", "deployment.environment"].map(|name| resource[name].as_str()),
        ["scans-of-europe", "test"]
    );
}

#[tokio::test]
async fn disabled_and_unsampled_traces_are_not_sent() {
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_TRACES_SAMPLER", ""),
    ] {
        let pipeline = Pipeline::new().await;
        let collector = Collector::start().await;
        let launch = pipeline.consumer().env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
        let consumer = launch.env(name, value).start();
        pipeline.publish(valid_scans(0..1)).await;
        pipeline.rows(1).await;
        pipeline.drained().await;
        consumer.signal(Signal::Terminate).await;
        assert_eq!(consumer.exit().await.code, Some(0), "{name}={value}");
        assert!(collector.is_empty(), "{name}={value}");
    }
}

#[tokio::test]
async fn an_unsupported_protocol_is_an_error_at_the_start() {
    let pipeline = Pipeline::new().await;
    let launch = pipeline.consumer().env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    let exit = launch.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let last = exit.output.stderr.last().map(String::as_str).unwrap_or_default();
    assert!(["OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "grpc"].iter().all(|text| last.contains(text)), "{last}");
}

#[tokio::test]
async fn a_collector_that_hangs_loses_only_traces() {
    let pipeline = Pipeline::new().await;
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", hanging.local_addr().expect("a bound listener"));
    let launch = pipeline.consumer().env("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    let consumer = launch.env("OTEL_TRACES_SAMPLER", "always_on").start();
    pipeline.publish(valid_scans(0..100)).await;
    pipeline.rows(100).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let closing = exit.output.stdout.last().map(String::as_str);
    assert_eq!(closing, Some("Consumer stopped. Final stats - Processed: 100, Failed: 0"), "{exit:#?}");
    assert!(exit.output.stderr.iter().any(|line| line.contains("the last traces were not sent")), "{exit:#?}");
}

#[tokio::test]
async fn an_unreachable_collector_is_logged_once() {
    let pipeline = Pipeline::new().await;
    let launch = pipeline.consumer().env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("http://{REFUSING}"));
    let launch = launch.env("OTEL_TRACES_SAMPLER", "always_on").env("OTEL_BSP_SCHEDULE_DELAY", "20");
    let mut consumer = launch.start();
    pipeline.publish(valid_scans(0..1)).await;

    let line = consumer.wait_for_line("the collector does not accept them").await;

    assert!(line.contains("WARNING"), "{line}");
    pipeline.publish(valid_scans(1..2)).await;
    pipeline.rows(2).await;
    pipeline.drained().await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(exit.output.stderr.iter().filter(|line| line.contains("does not accept them")).count(), 1, "{exit:#?}");
}
