//! Who may use the API: tokens, scopes, and the pages of other sites.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, launch, pair};
use crate::support::program::widget_registry;

/// Every endpoint that writes, with a body that would be accepted.
fn writes() -> [(Method, &'static str, Value); 7] {
    let widget = json!({"name": "w", "serial_number": "1", "ports": ["P"]});
    [
        (Method::POST, "/widgets", widget.clone()),
        (Method::POST, "/widgets:batch", json!([widget])),
        (Method::PATCH, "/widgets/1", json!({"name": "x"})),
        (Method::PUT, "/widgets/associations", pair("P", "1", "2")),
        (Method::POST, "/widgets/associations:batch", json!([pair("P", "1", "2")])),
        (Method::DELETE, "/widgets/associations/1/P", Value::Null),
        (Method::DELETE, "/widgets/1", Value::Null),
    ]
}

async fn token(file: &str, name: &str, scope: &str) -> String {
    let launch = widget_registry(["token", name, "--tokens-file", file, "--scope", scope]);
    launch.succeed().await.stdout[0].clone()
}

#[tokio::test]
async fn a_token_must_be_known_and_have_the_scope() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tokens").to_str().expect("text").to_owned();
    let (reader, writer) = (token(&file, "reader", "read").await, token(&file, "writer", "write").await);
    let api = Api::start(launch().await.arguments(["--tokens-file", &file])).await;
    let send = async |method: Method, path: &str, body: &Value, token: &str| {
        Answer::to(api.request(method, path).bearer_auth(token).body(body.to_string())).await
    };
    for (method, path, body) in writes() {
        let without = api.send(method.clone(), path, &body).await.is_problem(401, "unauthorized");
        assert_eq!(without.header("www-authenticate"), Some("Bearer"));
        send(method.clone(), path, &body, "unknown").await.is_problem(401, "unauthorized");
        send(method.clone(), path, &body, &reader).await.is_problem(403, "forbidden");
        let allowed = send(method, path, &body, &writer).await;
        assert!(![401, 403].contains(&allowed.status), "{path}: {allowed:?}");
    }
    for path in ["/widgets", "/widgets/1"] {
        api.get(path).await.is_problem(401, "unauthorized");
        send(Method::GET, path, &Value::Null, &writer).await.is_problem(403, "forbidden");
        let allowed = send(Method::GET, path, &Value::Null, &reader).await;
        assert!([200, 404].contains(&allowed.status), "{path}: {allowed:?}");
    }
    for path in ["/openapi.json", "/docs", "/docs/problems"] {
        api.get(path).await.is(200);
    }
}

/// A form needs no preflight, so only the header `Origin` shows that a page of another site has sent it.
#[tokio::test]
async fn a_form_of_another_site_writes_nothing() {
    let other = launch().await.arguments(["--listen", "0.0.0.0:0", "--insecure-no-auth"]);
    for launch in [launch().await, other] {
        let mut program = launch.start();
        let line = program.wait_for_line("serving http://").await;
        let port = line.rsplit_once("/widgets").and_then(|(url, _)| url.rsplit_once(':')).expect("a port").1.to_owned();
        let url = format!("http://127.0.0.1:{port}");
        let api = Api { program, url, client: reqwest::Client::new() };
        for (method, path, body) in writes() {
            for origin in ["https://example.com", "null"] {
                let form = api.request(method.clone(), path).header("origin", origin).body(body.to_string());
                let form = form.header("content-type", "application/x-www-form-urlencoded");
                Answer::to(form).await.is_problem(403, "foreign-origin");
            }
        }
        assert_eq!(api.get("/widgets").await.is(200).body, json!({"widgets": []}));
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_site_may_connect_widgets() {
    let api =
        Api::start(launch().await.arguments(["--cors-origin", "https://example.com"])).await.with(&["1", "2"]).await;
    let preflight = api.request(Method::OPTIONS, "/widgets/associations").header("origin", "https://example.com");
    let preflight = preflight.header("access-control-request-method", "PUT");
    let preflight = Answer::to(preflight.header("access-control-request-headers", "idempotency-key")).await.is(200);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://example.com"));
    let connect = api.request(Method::PUT, "/widgets/associations").header("origin", "https://example.com");
    Answer::to(connect.body(pair("P", "1", "2").to_string())).await.is(200);
}
