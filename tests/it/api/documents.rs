//! The OpenAPI document and its rendered view.

use std::path::Path;

use serde_json::Value;

use super::{Api, launch};
use crate::hosts::Table;
use crate::webhook_commands::Tables;

const PAGE: &str = "docs/openapi.json";

#[test]
#[expect(clippy::disallowed_methods, reason = "the tests have no flags; `make settings` sets the variable")]
fn the_document_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let document = mini_scan::api::openapi();
    if std::env::var("MINI_SCAN_BLESS").is_ok_and(|value| !value.is_empty()) {
        std::fs::write(&path, &document).expect("the document is written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document, "{PAGE} differs from the endpoints; write it with `make settings`");
}

#[tokio::test]
async fn every_endpoint_of_the_document_is_served() {
    let table = Table::new().await;
    let tables = Tables::new().await;
    let api = Api::start(tables.with_key(launch(&table)).arguments(["--allow-writes", "--webhooks"])).await;
    let document = api.get("/openapi.json").await.ok();
    assert_eq!(
        document.to_string(),
        serde_json::from_str::<Value>(&mini_scan::api::openapi()).expect("JSON").to_string()
    );
    let mut endpoints = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{cidr}", "1.1.1.0/24").replace("{ip}", "1.1.1.7");
        let path = path.replace("{port}", "80").replace("{service}", "HTTP").replace("{id}", "wh_missing");
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase().parse().expect("a method");
            let answer = super::Answer::to(api.request(method, &path)).await;
            let is_missing = answer.status >= 400 && ["not-found", "method-not-allowed"].contains(&answer.problem());
            assert!(!is_missing, "{path}: {answer:?}");
            endpoints += 1;
        }
    }
    assert_eq!(endpoints, 20);
}

#[tokio::test]
async fn the_view_loads_nothing_from_elsewhere_and_runs_no_script() {
    let table = Table::new().await;
    let api = Api::of(&table).await;
    for path in ["/docs", "/docs/problems"] {
        let response = api.client.get(format!("{}{path}", api.url)).send().await.expect("a response");
        let policy = response.headers()["content-security-policy"].to_str().expect("text").to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let page = response.text().await.expect("a page");
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("style="), "{page}");
        assert!(page.matches("href=").count() == page.matches("href=\"/").count(), "{page}");
    }
    let style = api.client.get(format!("{}/assets/docs.css", api.url)).send().await.expect("a response");
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
}

#[tokio::test]
async fn the_type_of_every_problem_leads_to_its_section() {
    let table = Table::new().await;
    let api = Api::of(&table).await;
    let page = api.client.get(format!("{}/docs/problems", api.url)).send().await.expect("a response");
    let page = page.text().await.expect("a page");
    let documented =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).expect("a page");
    let names: Vec<_> = page.split("<h2 id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in &names {
        assert!(documented.contains(&format!("`{name}`")), "docs/api.md lacks {name}");
    }
    let answer = api.get("/v1/hosts/x").await;
    assert!(names.contains(&answer.problem()));
}
