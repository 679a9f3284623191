//! Traces of requests and of their calls, as a collector receives them.

use reqwest::Method;

use super::{Answer, Api, launch};
use crate::hosts::{Table, scan};
use crate::support::collector::{Collector, attribute};
use crate::support::program::Signal;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_request_continues_the_trace_of_its_client_and_its_calls_are_child_spans() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let mut collector = Collector::start().await;
    let api = Api::start(launch(&table).env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)).await;
    for sampled in ["01", "00"] {
        let traceparent = format!("00-{TRACE}-{CLIENT}-{sampled}");
        let request = api.request(Method::GET, "/v1/hosts/1.1.1.7").header("traceparent", traceparent);
        assert_eq!(Answer::to(request).await.status, 200);
    }
    assert_eq!(api.get("/v1/hosts/1.1.1.7").await.status, 200);

    api.program.signal(Signal::Terminate).await;

    assert_eq!(api.program.exit().await.code, Some(0));
    let mut spans = Vec::new();
    for _ in 0..3 {
        spans.push(collector.next().await.1);
    }
    assert!(collector.is_empty(), "a request that its client did not trace has no span");
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["Query", "BatchGetItem", "GET /v1/hosts/{ip}"]);
    let request = &spans[2];
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.to_owned(), CLIENT.to_owned()));
    assert_eq!(attribute(request, "http.response.status_code"), "200");
    for call in &spans[..2] {
        assert_eq!((hex(&call.trace_id), &call.parent_span_id), (TRACE.to_owned(), &request.span_id));
        assert_eq!(attribute(call, "db.collection.name"), table.name);
    }
    assert!(!format!("{spans:?}").contains("1.1.1.7"));
}
