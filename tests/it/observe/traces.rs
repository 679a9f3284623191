//! Traces, as a collector gets them, and the standard variables that choose them.

use std::net::TcpListener;

use google_cloud_pubsub::model::Message;

use super::collector::{Collector, attribute};
use crate::support::pipeline::{Pipeline, good, ip, scan};
use crate::support::program::Signal;

#[tokio::test]
async fn the_message_that_its_publisher_traced_is_one_trace_with_its_write_inside() {
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
    let id = sent.into_iter().next().and_then(Result::ok).expect("it is accepted");
    pipeline.rows(3).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    assert_eq!(consumer.exit().await.code, Some(0));
    let ((service, write), (_, process)) = (collector.next().await, collector.next().await);
    let service = &service["service.name"];
    assert!(collector.is_empty());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
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
    let everything = format!("{process:?} {write:?}");
    assert!(!everything.contains("secret") && !everything.contains(&ip(0)), "{everything}");
}

#[tokio::test]
async fn the_standard_variables_choose_what_is_traced_and_as_whose() {
    let pipeline = Pipeline::new().await;
    let mut collector = Collector::start().await;
    let launch = pipeline.consumer().env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    let launch = launch.env("OTEL_TRACES_SAMPLER", "traceidratio").env("OTEL_TRACES_SAMPLER_ARG", "1.0");
    let launch = launch.env("OTEL_SERVICE_NAME", "scans-of-europe").env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let consumer = launch.env("OTEL_RESOURCE_ATTRIBUTES", "service.name=hidden,deployment.environment=test").start();
    // Nobody traced this one.
    pipeline.publish(good(0..1)).await;
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
async fn traces_that_are_turned_off_or_sampled_away_are_not_sent() {
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
        pipeline.publish(good(0..1)).await;
        pipeline.rows(1).await;
        pipeline.drained().await;
        consumer.signal(Signal::Terminate).await;
        assert_eq!(consumer.exit().await.code, Some(0), "{name}={value}");
        assert!(collector.is_empty(), "{name}={value}");
    }
}

#[tokio::test]
async fn a_way_to_the_collector_that_is_not_there_is_said_before_anything_is_read() {
    let pipeline = Pipeline::new().await;
    let launch = pipeline.consumer().env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    let exit = launch.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let last = exit.said.stderr.last().map(String::as_str).unwrap_or_default();
    assert!(["OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "grpc"].iter().all(|text| last.contains(text)), "{last}");
}

#[tokio::test]
async fn a_collector_that_does_not_answer_costs_only_traces() {
    let pipeline = Pipeline::new().await;
    let away = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", away.local_addr().expect("a bound listener"));
    let launch = pipeline.consumer().env("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    let consumer = launch.env("OTEL_TRACES_SAMPLER", "always_on").start();
    pipeline.publish(good(0..100)).await;
    pipeline.rows(100).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let closing = exit.said.stdout.last().map(String::as_str);
    assert_eq!(closing, Some("Consumer stopped. Final stats - Processed: 100, Failed: 0"), "{exit:#?}");
    assert!(exit.said.stderr.iter().any(|line| line.contains("the last traces were not sent")), "{exit:#?}");
}

#[tokio::test]
async fn a_collector_that_refuses_is_said_once() {
    let pipeline = Pipeline::new().await;
    let refusing = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("a bound listener");
    let launch = pipeline.consumer().env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("http://{refusing}"));
    let launch = launch.env("OTEL_TRACES_SAMPLER", "always_on").env("OTEL_BSP_SCHEDULE_DELAY", "20");
    let mut consumer = launch.start();
    pipeline.publish(good(0..1)).await;

    let line = consumer.line("the collector does not accept them").await;

    assert!(line.contains("WARNING"), "{line}");
    pipeline.publish(good(1..2)).await;
    pipeline.rows(2).await;
    pipeline.drained().await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(exit.said.stderr.iter().filter(|line| line.contains("does not accept them")).count(), 1, "{exit:#?}");
}
