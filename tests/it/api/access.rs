//! Who may use the API: tokens, scopes, foreign sites, and addresses that others reach.

use reqwest::Method;
use tempfile::TempDir;

use super::{Answer, Api, launch, payload};
use crate::hosts::{Table, scan};
use crate::support::program::mini_scan;

/// Creates a token with these scopes in the file, by the program.
pub(super) async fn token(file: &str, name: &str, scopes: &[&str]) -> String {
    let mut launch = mini_scan(["api", "token", name, "--tokens-file", file]);
    for scope in scopes {
        launch = launch.arguments(["--scope", scope]);
    }
    let exit = launch.run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    exit.output.stdout[0].clone()
}

pub(super) fn tokens_file() -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("tokens").to_str().expect("UTF-8").to_owned();
    (directory, file)
}

async fn with_token(api: &Api, method: Method, path: &str, token: &str) -> Answer {
    let request = api.request(method, path).header("authorization", format!("Bearer {token}"));
    Answer::to(request.body(payload("1.1.1.7", 1))).await
}

#[tokio::test]
async fn a_token_must_be_known_and_have_the_scope() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let (_directory, file) = tokens_file();
    let reader = token(&file, "reader", &["read"]).await;
    let writer = token(&file, "writer", &["write"]).await;
    let mut api = Api::start(launch(&table).arguments(["--tokens-file", &file, "--allow-writes"])).await;

    let without = api.get("/v1/hosts/1.1.1.7").await;
    assert_eq!(
        (without.status, without.problem(), without.header("www-authenticate")),
        (401, "unauthorized", "Bearer")
    );
    let wrong = with_token(&api, Method::GET, "/v1/hosts/1.1.1.7", "mini_scan_wrong").await;
    assert_eq!(wrong.problem(), "unauthorized");
    assert_eq!(with_token(&api, Method::GET, "/v1/hosts/1.1.1.7", &reader).await.status, 200);
    let forbidden = with_token(&api, Method::GET, "/v1/hosts/1.1.1.7", &writer).await;
    assert_eq!((forbidden.status, forbidden.problem()), (403, "forbidden"));
    assert_eq!(with_token(&api, Method::POST, "/v1/scans", &reader).await.problem(), "forbidden");
    assert_eq!(with_token(&api, Method::POST, "/v1/scans", &writer).await.status, 200);
    let line = api.program.wait_for_line("received a scan").await;
    assert!(line.contains("\"writer\"") && !line.contains(&writer), "{line}");
    // A token protects from other sites, so a foreign host is no danger.
    let foreign = api.request(Method::GET, "/v1/hosts/1.1.1.7").header("host", "api.example.com");
    assert_eq!(Answer::to(foreign.bearer_auth(&reader)).await.status, 200);
    for path in ["/openapi.json", "/docs", "/docs/problems"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_change_of_the_tokens_takes_effect_without_a_restart() {
    let table = Table::new().await;
    let (_directory, file) = tokens_file();
    let old = token(&file, "old", &["read"]).await;
    let mut api = Api::start(launch(&table).arguments(["--tokens-file", &file])).await;
    std::fs::remove_file(&file).expect("the file is removed");
    let new = token(&file, "new", &["read"]).await;
    assert_eq!(with_token(&api, Method::GET, "/v1/hosts/1.1.1.7", &new).await.problem(), "host-not-found");
    assert_eq!(with_token(&api, Method::GET, "/v1/hosts/1.1.1.7", &old).await.problem(), "unauthorized");
    std::fs::write(&file, "broken").expect("the file is written");
    assert_eq!(with_token(&api, Method::GET, "/v1/hosts/1.1.1.7", &new).await.problem(), "host-not-found");
    api.program.wait_for_line("the changed tokens are invalid").await;
}

#[tokio::test]
async fn without_tokens_requests_of_other_sites_are_refused() {
    let table = Table::new().await;
    let api = Api::of(&table).await;
    for (name, value) in [
        ("host", "example.com"),
        ("host", "127.0.0.1.nip.io"),
        ("origin", "http://example.com"),
        ("origin", "http://localhost:3000"),
        ("origin", "null"),
    ] {
        let request = api.request(Method::GET, "/v1/hosts/1.1.1.7").header(name, value);
        let refused = Answer::to(request).await;
        assert_eq!((refused.status, refused.problem()), (403, "foreign-origin"), "{name}: {value}");
        assert!(!refused.headers.contains_key("access-control-allow-origin"));
    }
    let own = api.request(Method::GET, "/v1/hosts/1.1.1.7").header("origin", &api.url);
    assert_eq!(Answer::to(own).await.problem(), "host-not-found");
}

#[tokio::test]
async fn an_address_that_others_reach_needs_tokens() {
    let table = Table::new().await;
    let on_other = |flags: &[&'static str]| {
        // An address for documentation, which no machine has: so that the test serves nothing to others.
        let words = ["api", "--listen", "192.0.2.1:0", "--table", &table.name].into_iter().chain(flags.iter().copied());
        mini_scan(words).env("AWS_ENDPOINT_URL_DYNAMODB", &table.dynamo.endpoint)
    };
    let exit = on_other(&[]).run().await;
    assert_eq!(exit.code, Some(2), "{exit:#?}");
    let refusal = exit.output.stderr.join("\n");
    assert!(["192.0.2.1:0", "mini-scan api token", "--insecure-no-auth"].iter().all(|part| refusal.contains(part)));
    let insecure = on_other(&["--insecure-no-auth"]).run().await;
    let log = insecure.output.stderr.join("\n");
    assert!(log.contains("everyone who can reach the address can use the API"), "{log}");
    assert!(log.contains("cannot listen on 192.0.2.1:0"), "{log}");
}

/// Asks as a browser does before a page of another site may send a request with a token.
async fn preflight(api: &Api, origin: &str) -> Answer {
    let request = api.request(Method::OPTIONS, "/v1/hosts/1.1.1.7").header("origin", origin);
    let request = request.header("access-control-request-method", "GET");
    Answer::to(request.header("access-control-request-headers", "authorization")).await
}

#[tokio::test]
async fn pages_of_a_configured_site_may_use_the_api() {
    let (ours, other) = ("https://scans.example.com", "https://example.com");
    let table = Table::new().await;
    let (_directory, file) = tokens_file();
    let reader = token(&file, "reader", &["read"]).await;
    let api = Api::start(launch(&table).arguments(["--tokens-file", &file, "--cors-origin", ours])).await;

    let allowed = preflight(&api, ours).await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, ours));
    assert!(allowed.header("access-control-allow-headers").contains("authorization"));
    let request = |origin| api.request(Method::GET, "/v1/hosts/1.1.1.7").header("origin", origin);
    let read = Answer::to(request(ours).bearer_auth(&reader)).await;
    assert_eq!((read.problem(), read.header("access-control-allow-origin")), ("host-not-found", ours));
    let without_token = Answer::to(request(ours)).await;
    assert_eq!(
        (without_token.problem(), without_token.header("access-control-allow-origin")),
        ("unauthorized", ours),
        "the page can read why"
    );
    for answer in [preflight(&api, other).await, Answer::to(request(other).bearer_auth(&reader)).await] {
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    assert!(!allowed.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn without_tokens_only_pages_of_a_configured_site_may_use_the_api() {
    let table = Table::new().await;
    let api = Api::start(launch(&table).arguments(["--cors-origin", "http://localhost:3000"])).await;
    let request = |origin| api.request(Method::GET, "/v1/hosts/1.1.1.7").header("origin", origin);
    let read = Answer::to(request("http://localhost:3000")).await;
    assert_eq!(read.header("access-control-allow-origin"), "http://localhost:3000");
    assert_eq!(read.problem(), "host-not-found");
    assert_eq!(Answer::to(request("http://localhost:3001")).await.problem(), "foreign-origin");
}
