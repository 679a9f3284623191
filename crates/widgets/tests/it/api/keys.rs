//! Requests with an `Idempotency-Key`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, launch, pair};

async fn keyed(api: &Api, key: &str, method: Method, path: &str, body: &Value) -> Answer {
    Answer::to(api.request(method, path).header("idempotency-key", key).body(body.to_string())).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

#[tokio::test]
async fn each_repeated_request_has_the_answer_of_the_first_one_and_no_second_effect() {
    let api = Api::new().await.with(&["1", "2", "3"]).await;
    let (widget, rename) = (json!({"name": "w", "serial_number": "4", "ports": ["P"]}), json!({"name": "renamed"}));
    for (key, method, path, body, status) in [
        ("create", Method::POST, "/widgets", &widget, 201),
        ("change", Method::PATCH, "/widgets/4", &rename, 200),
        ("connect", Method::PUT, "/widgets/associations", &pair("P", "1", "2"), 200),
        ("replace", Method::PUT, "/widgets/associations?replace=true", &pair("P", "1", "3"), 200),
        ("disconnect", Method::DELETE, "/widgets/associations/3/P", &Value::Null, 204),
        ("delete", Method::DELETE, "/widgets/4", &Value::Null, 204),
        ("missing", Method::DELETE, "/widgets/5", &Value::Null, 404),
    ] {
        let first = keyed(&api, key, method.clone(), path, body).await.is(status);
        assert!(!is_replayed(&first), "{first:?}");
        let state = api.get("/widgets").await.is(200).body;
        let again = keyed(&api, key, method, path, body).await.is(status);
        assert!(is_replayed(&again) && again.header("etag").is_none(), "{again:?}");
        assert_eq!(again.body, first.body, "{key}");
        assert_eq!(again.header("location"), first.header("location"), "{key}");
        assert_eq!(api.get("/widgets").await.is(200).body, state, "{key} had a second effect");
    }
}

#[tokio::test]
async fn a_repeated_request_has_no_effect_on_what_others_did_since() {
    let api = Api::new().await.with(&["1", "2"]).await;
    let connect = async || keyed(&api, "k", Method::PUT, "/widgets/associations", &pair("P", "1", "2")).await;
    assert!(!is_replayed(&connect().await.is(200)));
    api.delete("/widgets/associations/1/P").await.is(204);
    assert!(is_replayed(&connect().await.is(200)));
    assert_eq!(api.connections("1").await, json!({}));
    // A refusal is the answer as well, even after its cause has gone.
    let create = async |key: &str, name: &str| {
        keyed(&api, key, Method::POST, "/widgets", &json!({"name": name, "serial_number": "1", "ports": ["P"]})).await
    };
    create("c", "x").await.is_problem(409, "widget-exists");
    api.delete("/widgets/1").await.is(204);
    assert!(is_replayed(&create("c", "x").await.is_problem(409, "widget-exists")));
    create("d", "x").await.is(201);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_caller() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tokens");
    let scopes = [http_api::Scope::Read, http_api::Scope::Write];
    let lines = ["one", "two"].map(|name| http_api::line(name, &scopes, name).expect("a name"));
    std::fs::write(&path, lines.join("\n")).expect("the file is written");
    let api = Api::start(launch().await.arguments(["--tokens-file", path.to_str().expect("text")])).await;
    let create = async |token: &str, serial: &str, path: &str| {
        let body = json!({"name": "w", "serial_number": serial, "ports": ["P"]}).to_string();
        let request = api.request(Method::POST, path).bearer_auth(token).header("idempotency-key", "k");
        Answer::to(request.body(body)).await
    };
    create("one", "1", "/widgets").await.is(201);
    let reused = create("one", "2", "/widgets").await.is_problem(422, "idempotency-key-reused");
    assert!(reused.header("location").is_none());
    create("two", "2", "/widgets").await.is(201);
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused() {
    let api = Api::new().await;
    let long = "k".repeat(256);
    for key in ["", "a b", &long] {
        let body = json!({"name": "w", "serial_number": "1", "ports": ["P"]});
        keyed(&api, key, Method::POST, "/widgets", &body).await.is_problem(400, "invalid-request");
    }
    api.get("/widgets/1").await.is_problem(404, "widget-not-found");
}
