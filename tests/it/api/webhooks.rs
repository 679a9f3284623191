//! The endpoints of webhooks.

use mini_scan::subscriptions::ports::DeadDeliveries;
use reqwest::Method;
use serde_json::{Value, json};
use webhooks::EndpointId;

use super::access::{token, tokens_file};
use super::{Answer, Api, launch};
use crate::hosts::Table;
use crate::support::webhook_receiver::{Behaviour, Receiver};
use crate::webhook_commands::Tables;
use crate::webhook_commands::deliveries::bury;

const URL: &str = "https://hooks.example.com/p4th?t=t0ken";

/// An API with tokens of two people.
struct Both {
    api: Api,
    ann: String,
    bob: String,
    reader: String,
}

impl Both {
    async fn start(tables: &Tables, table: &Table, flags: &[&str]) -> Both {
        let (_folder, file) = tokens_file();
        let scopes = &["read", "webhooks"];
        let (ann, bob) = (token(&file, "ann", scopes).await, token(&file, "bob", scopes).await);
        let reader = token(&file, "reader", &["webhooks"]).await;
        let launch = launch(table).arguments(["--tokens-file", &file, "--webhooks"]).arguments(flags.iter().copied());
        let api = Api::start(tables.with_key(launch)).await;
        // The program keeps the last valid tokens.
        Both { api, ann, bob, reader }
    }

    async fn send(&self, token: &str, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.api.request(method, path).bearer_auth(token).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::to(request).await
    }

    async fn ann(&self, method: Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(&self.ann, method, path, &[], &body).await
    }
}

#[tokio::test]
async fn a_token_manages_its_own_subscriptions_and_sees_no_others() {
    let (tables, table) = (Tables::new().await, Table::new().await);
    let mut both = Both::start(&tables, &table, &[]).await;
    let wanted = json!({ "url": URL, "networks": ["1.1.1.0/24"], "events": ["scan.opened"], "description": "a" });
    let created = both.ann(Method::POST, "/v1/webhooks", &wanted).await;
    assert_eq!((created.status, created.header("cache-control")), (201, "no-store"), "{created:#?}");
    let path = created.header("location").to_owned();
    let first = created.body["secret"].as_str().expect("a secret").to_owned();
    assert_eq!((&created.body["owner"], &created.body["url"]), (&json!("ann"), &json!(URL)));

    let list = both.ann(Method::GET, "/v1/webhooks", &Value::Null).await.ok();
    assert_eq!(list["subscriptions"].as_array().map(Vec::len), Some(1), "{list}");
    let shown = both.ann(Method::GET, &path, &Value::Null).await;
    let etag = shown.header("etag").to_owned();
    let shown = shown.ok();
    assert_eq!((&shown["url"], &shown["networks"]), (&json!(URL), &json!(["1.1.1.0/24"])));
    assert!(!list.to_string().contains("p4th") && !list.to_string().contains("t0ken"), "{list}");

    let patch = json!({ "networks": null, "ports": [443] }).to_string();
    let patched = both.send(&both.ann, Method::PATCH, &path, &[], &patch).await;
    assert_eq!((patched.status, patched.problem()), (428, "precondition-required"));
    let changed = both.send(&both.ann, Method::PATCH, &path, &[("if-match", &etag)], &patch).await.ok();
    assert_eq!((&changed["networks"], &changed["ports"]), (&json!([]), &json!([443])));
    let again = both.send(&both.ann, Method::PATCH, &path, &[("if-match", &etag)], &patch).await;
    assert_eq!((again.status, again.problem()), (412, "precondition-failed"));
    assert_eq!(both.ann(Method::POST, &format!("{path}/pause"), &Value::Null).await.ok()["status"], "paused");
    assert_eq!(both.ann(Method::POST, &format!("{path}/resume"), &Value::Null).await.ok()["status"], "active");
    let rotated = both.ann(Method::POST, &format!("{path}/rotate"), &json!({ "keep_seconds": 60 })).await;
    assert_eq!(rotated.header("cache-control"), "no-store");
    let second = rotated.ok()["secret"].as_str().expect("a secret").to_owned();
    assert_ne!(first, second);

    for (method, end) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::POST, "/test"),
        (Method::POST, "/pause"),
        (Method::POST, "/resume"),
        (Method::POST, "/rotate"),
        (Method::GET, "/dead"),
        (Method::POST, "/dead/redrive"),
        (Method::POST, "/dead/purge"),
    ] {
        let body = if method == Method::PATCH { "{}" } else { "" };
        let answer = both.send(&both.bob, method.clone(), &format!("{path}{end}"), &[("if-match", "*")], body).await;
        assert_eq!((answer.status, answer.problem()), (404, "subscription-not-found"), "{method} {end}");
    }
    let empty = both.send(&both.bob, Method::GET, "/v1/webhooks", &[], "").await.ok();
    assert_eq!(empty, json!({ "subscriptions": [] }));
    let forbidden = both.send(&both.reader, Method::GET, "/v1/webhooks", &[], "").await;
    assert_eq!((forbidden.status, forbidden.problem()), (403, "forbidden"));

    assert_eq!(both.ann(Method::DELETE, &path, &Value::Null).await.status, 204);
    assert_eq!(both.ann(Method::GET, &path, &Value::Null).await.problem(), "subscription-not-found");
    both.api.program.wait_for_line("removed a subscription").await;
    let log = both.api.program.log().join("\n");
    assert!(log.contains("created a subscription") && log.contains("ann"), "{log}");
    for hidden in [&first, &second, "p4th", "t0ken"] {
        assert!(!log.contains(hidden), "{log}");
    }
}

#[tokio::test]
async fn a_refused_url_and_a_wrong_body_are_problems() {
    let (tables, table) = (Tables::new().await, Table::new().await);
    let both = Both::start(&tables, &table, &[]).await;
    for (body, problem) in [
        (json!({ "url": "http://169.254.169.254/" }), "url-refused"),
        (json!({ "url": "https://[::ffff:10.0.0.1]/" }), "url-refused"),
        (json!({ "url": "https://user:hunter2@example.com/" }), "url-refused"),
        (json!({ "url": URL, "networks": ["x"] }), "invalid-request"),
        (json!({ "url": URL, "secret": "x" }), "invalid-request"),
        (json!({ "url": URL, "max_concurrency": 0 }), "invalid-request"),
        (json!({}), "invalid-request"),
    ] {
        let answer = both.ann(Method::POST, "/v1/webhooks", &body).await;
        assert_eq!((answer.status, answer.problem()), (400, problem), "{body}");
        assert!(!answer.body.to_string().contains("hunter2"), "{answer:#?}");
    }
    let missing = both.ann(Method::GET, "/v1/webhooks/wh_missing", &Value::Null).await;
    assert_eq!(missing.problem(), "subscription-not-found");
    let foreign = both.ann(Method::GET, "/v1/webhooks?page_token=x", &Value::Null).await;
    assert_eq!(foreign.problem(), "invalid-page-token");
}

#[tokio::test]
async fn a_list_has_pages_and_dead_deliveries_are_redriven_without_answers_of_private_hosts() {
    let (tables, table) = (Tables::new().await, Table::new().await);
    let receiver = Receiver::start(Behaviour::Answer(200, "internal words")).await;
    let (url, target) = (receiver.url("/"), receiver.host());
    let both = Both::start(&tables, &table, &["--allow-http", "--allow-target", &target]).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let created = both.ann(Method::POST, "/v1/webhooks", &json!({ "url": url })).await;
        ids.push(created.body["id"].as_str().expect("an id").to_owned());
    }
    ids.sort();
    let (mut listed, mut path) = (Vec::new(), "/v1/webhooks?page_size=2".to_owned());
    loop {
        let page = both.ann(Method::GET, &path, &Value::Null).await.ok();
        let subscriptions = page["subscriptions"].as_array().expect("a list");
        listed.extend(subscriptions.iter().map(|it| it["id"].as_str().expect("an id").to_owned()));
        let Some(token) = page["next_page_token"].as_str() else { break };
        path = format!("/v1/webhooks?page_size=2&page_token={token}");
    }
    assert_eq!(listed, ids);

    let path = format!("/v1/webhooks/{}", ids[0]);
    let tested = both.ann(Method::POST, &format!("{path}/test"), &Value::Null).await.ok();
    assert_eq!((&tested["accepted"], &tested["status"], tested.get("answer")), (&json!(true), &json!(200), None));
    assert_eq!(receiver.received().len(), 1);

    let (store, endpoint) = (tables.store().await, EndpointId::parse(&*ids[0]).expect("an id"));
    for event in ["1", "2", "3"] {
        bury(&store, &endpoint, event, webhooks::DeadReason::Exhausted).await;
    }
    let dead = both.ann(Method::GET, &format!("{path}/dead"), &Value::Null).await.ok();
    let first = &dead["deliveries"][0];
    assert_eq!(dead["deliveries"].as_array().map(Vec::len), Some(3), "{dead}");
    assert_eq!((&first["reason"], &first["last"]["status"]), (&json!("exhausted"), &json!(500)));
    assert!(!dead.to_string().contains("sorry"), "{dead}");
    let one = json!({ "deliveries": [first["id"]] });
    let redriven = both.ann(Method::POST, &format!("{path}/dead/redrive"), &one).await.ok();
    assert_eq!(redriven, json!({ "settled": 1, "skipped": 0 }));
    let purged = both.ann(Method::POST, &format!("{path}/dead/purge"), &Value::Null).await.ok();
    assert_eq!(purged, json!({ "settled": 2, "skipped": 0 }));
    assert_eq!(store.dead(&endpoint, None, 10).await.expect("the table answers").deliveries.len(), 0);
}
