//! The OpenAPI document and its rendered view.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use super::{Answer, Api};

const PAGE: &str = "docs/widgets-openapi.json";

#[test]
#[expect(clippy::disallowed_methods, reason = "the tests have no flags; `make settings` sets the variable")]
fn the_document_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    let document = widget_registry::api::openapi();
    if std::env::var("MINI_SCAN_BLESS").is_ok_and(|value| !value.is_empty()) {
        std::fs::write(&path, &document).expect("the document is written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document, "{PAGE} differs from the endpoints; write it with `make settings`");
}

#[tokio::test]
async fn every_endpoint_of_the_document_is_served() {
    let api = Api::new().await;
    let document = api.get("/openapi.json").await.is(200).body;
    assert_eq!(document, serde_json::from_str::<Value>(&widget_registry::api::openapi()).expect("JSON"));
    let mut endpoints = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{serial}", "1").replace("{port}", "P");
        for method in methods.as_object().expect("methods").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let answer = Answer::to(api.request(method, &path)).await;
            let is_missing = answer.status >= 400 && ["not-found", "method-not-allowed"].contains(&answer.problem());
            assert!(!is_missing, "{path}: {answer:?}");
            endpoints += 1;
        }
    }
    assert_eq!(endpoints, 9);
}

#[tokio::test]
async fn the_view_loads_nothing_from_elsewhere_and_describes_every_problem() {
    let api = Api::new().await;
    for path in ["/docs", "/docs/problems"] {
        let response = api.client.get(format!("{}{path}", api.url)).send().await.expect("a response");
        let policy = response.headers()["content-security-policy"].to_str().expect("text").to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let page = response.text().await.expect("a page");
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("style="), "{page}");
        assert!(path == "/docs" || page.contains("id=\"port-taken\""), "{page}");
    }
}
