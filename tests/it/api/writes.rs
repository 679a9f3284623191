//! The endpoints that write.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, launch, payload};
use crate::hosts::{Table, scan};

async fn writable(table: &Table) -> Api {
    Api::start(launch(table).arguments(["--allow-writes"])).await
}

#[tokio::test]
async fn without_the_flag_there_is_no_endpoint_that_writes() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let api = Api::of(&table).await;
    assert_eq!(api.post("/v1/scans", payload("1.1.1.7", 1)).await.problem(), "not-found");
    let delete = api.request(Method::DELETE, "/v1/hosts/1.1.1.7/services/80/HTTP").header("if-match", "*");
    assert_eq!(Answer::to(delete).await.problem(), "method-not-allowed");
    assert_eq!(table.dynamo.count(&table.name).await, 1);
}

#[tokio::test]
async fn scans_are_stored_by_the_rules_of_the_consumer() {
    let table = Table::new().await;
    let mut api = writable(&table).await;
    let result = |result: &str| json!({ "result": result, "key": "1.1.1.7#80#HTTP" });
    let one = api.post("/v1/scans", payload("::ffff:1.1.1.7", 10)).await.ok();
    assert_eq!(one, json!({ "results": [result("stored")] }));
    let line = api.program.wait_for_line("received a scan").await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    let logged = line.to_string();
    assert!(logged.contains("anonymous") && logged.contains("1.1.1.7#80#HTTP"), "{logged}");

    let v1 = json!({
        "ip": "1.1.1.8", "port": 80, "service": "HTTP", "timestamp": 10, "data_version": 1,
        "data": { "response_bytes_utf8": "Yf8=" },
    });
    let future = payload("1.1.1.7", 4_000_000_000);
    let body = format!("[{},{v1},{{}},{future},1]", payload("1.1.1.7", 9));
    let results = api.post("/v1/scans", body).await.ok()["results"].clone();
    assert_eq!(results[0], result("stale"));
    assert_eq!(results[1]["result"], "stored");
    for (index, reason) in [(2, "missing_field"), (3, "timestamp_in_future"), (4, "malformed_json")] {
        let found = &results[index];
        assert_eq!((&found["result"], &found["reason"]), (&json!("rejected"), &json!(reason)), "{found}");
        assert!(found["detail"].is_string() && found.get("key").is_none(), "{found}");
    }
    let stored = api.get("/v1/hosts/1.1.1.8").await.ok();
    assert_eq!(stored["services"][0]["response_base64"], "Yf8=");
    assert_eq!(api.post("/v1/scans", "[]").await.problem(), "malformed-scans");
    // Only the last byte is too much, so that the server reads the whole body before it closes the connection.
    assert_eq!(api.post("/v1/scans", "x".repeat((2 << 20) + 1)).await.problem(), "too-large");
}

#[tokio::test]
async fn a_record_is_deleted_only_as_the_client_knows_it() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let mut api = writable(&table).await;
    let path = "/v1/hosts/1.1.1.7/services/80/HTTP";
    let tag = api.get(path).await.header("etag").to_owned();
    let delete = async |tag: Option<&str>| {
        let mut request = api.request(Method::DELETE, path);
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        Answer::to(request).await
    };
    let without = delete(None).await;
    assert_eq!((without.status, without.problem()), (428, "precondition-required"));
    let other = delete(Some("\"other\"")).await;
    assert_eq!((other.status, other.problem()), (412, "precondition-failed"));
    let newer = payload("1.1.1.7", 1_740_298_200);
    assert_eq!(api.post("/v1/scans", newer).await.ok()["results"][0]["result"], "stored");
    assert_eq!(delete(Some(&tag)).await.problem(), "precondition-failed");
    let tag = api.get(path).await.header("etag").to_owned();
    assert_eq!(delete(Some(&tag)).await.status, 204);
    assert_eq!(delete(Some(&tag)).await.problem(), "record-not-found");
    assert_eq!(table.dynamo.count(&table.name).await, 0);
    // A late older scan brings the record back.
    assert_eq!(api.post("/v1/scans", payload("1.1.1.7", 5)).await.ok()["results"][0]["result"], "stored");
    assert_eq!(delete(Some("*")).await.status, 204);
    let line = api.program.wait_for_line("received a deletion").await;
    assert!(line.contains("anonymous") && line.contains("1.1.1.7#80#HTTP"), "{line}");
}
