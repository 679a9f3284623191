//! Batches: independent operations, each with its own result.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, problem};

/// Returns the status and the problem of each operation.
fn results(answer: &Answer) -> Vec<(u64, &str)> {
    let results = answer.body["results"].as_array().expect("results");
    results.iter().map(|result| (result["status"].as_u64().expect("a status"), problem(&result["problem"]))).collect()
}

#[tokio::test]
async fn each_operation_on_widgets_has_its_own_result() {
    let api = Api::new().await.with(&["1", "2"]).await;
    let batch = json!([
        {"name": "w", "serial_number": "3", "ports": ["P"]},
        {"operation": "create", "name": "w", "serial_number": "1", "ports": ["P"]},
        {"operation": "delete", "serial_number": "2"},
        {"operation": "delete", "serial_number": "9"},
        {"name": "w", "serial_number": "4", "ports": ["S"]},
        {"operation": "replace"},
        7,
    ]);
    let answer = api.send(Method::POST, "/widgets:batch", &batch).await.is(200);
    let expected = [
        (201, ""),
        (409, "widget-exists"),
        (204, ""),
        (404, "widget-not-found"),
        (422, "invalid-widget"),
        (422, "invalid-widget"),
        (422, "invalid-widget"),
    ];
    assert_eq!(results(&answer), expected);
    assert_eq!(answer.body["results"][0]["widget"]["serial_number"], "3");
    assert_eq!(answer.body["results"][4]["problem"]["errors"][0]["pointer"], "/ports/0");
    api.get("/widgets/3").await.is(200);
    api.get("/widgets/2").await.is_problem(404, "widget-not-found");
}

#[tokio::test]
async fn each_operation_on_associations_has_its_own_result() {
    let api = Api::new().await.with(&["1", "2", "3", "4"]).await;
    api.connect("Q", "1", "3").await.is(200);
    api.connect("R", "1", "3").await.is(200);
    let connect = |port: &str, serial: &str, peer: &str, replace: Value| json!({"port_type": port, "widget_serial_num": serial, "peer_widget_serial_num": peer, "replace": replace});
    let batch = json!([
        connect("P", "1", "2", json!(false)),
        connect("Q", "1", "2", json!(true)),
        {"operation": "disconnect", "port_type": "R", "widget_serial_num": "3"},
        connect("P", "4", "9", json!(false)),
        connect("R", "4", "4", json!(false)),
        connect("R", "4", "2", json!("no")),
    ]);
    let answer = api.send(Method::POST, "/widgets/associations:batch", &batch).await.is(200);
    let expected = [
        (200, ""),
        (200, ""),
        (204, ""),
        (404, "widget-not-found"),
        (422, "invalid-association"),
        (422, "invalid-association"),
    ];
    assert_eq!(results(&answer), expected);
    assert_eq!(answer.body["results"][0]["association"]["peer_widget_serial_num"], "2");
    assert_eq!(api.connections("1").await, json!({"P": "2", "Q": "2"}));
    assert_eq!(api.connections("3").await, json!({}));
}

#[tokio::test]
async fn a_batch_has_up_to_100_operations() {
    let api = Api::new().await;
    let widget = |number: usize| json!({"name": "w", "serial_number": number.to_string(), "ports": ["P", "Q", "R"]});
    let batch = |count: usize| (0..count).map(widget).collect::<Value>();
    let created = api.send(Method::POST, "/widgets:batch", &batch(100)).await.is(200);
    assert_eq!(results(&created), [(201, ""); 100]);
    for body in [batch(0), batch(101), json!({}), json!(null)] {
        for path in ["/widgets:batch", "/widgets/associations:batch"] {
            api.send(Method::POST, path, &body).await.is_problem(422, "invalid-batch");
        }
    }
    let answer = Answer::to(api.request(Method::POST, "/widgets:batch").body("[{}")).await;
    answer.is_problem(400, "invalid-request");
}

#[tokio::test]
async fn a_repeated_batch_with_a_key_has_the_same_results() {
    let api = Api::new().await;
    let send = async |path: &str, body: &Value| {
        let request = api.request(Method::POST, path).header("idempotency-key", "k");
        Answer::to(request.body(body.to_string())).await
    };
    let widget = |serial: &str| json!({"name": "w", "serial_number": serial, "ports": ["P"]});
    let first = send("/widgets:batch", &json!([widget("1"), widget("2")])).await.is(200);
    assert_eq!(results(&first), [(201, ""), (201, "")]);
    api.delete("/widgets/1").await.is(204);
    let again = send("/widgets:batch", &json!([widget("1"), widget("3")])).await.is(200);
    assert_eq!(results(&again), [(201, ""), (422, "idempotency-key-reused")]);
    assert_eq!(again.body["results"][0]["replayed"], true);
    assert_eq!(again.body["results"][0]["widget"], first.body["results"][0]["widget"]);
    api.get("/widgets/1").await.is_problem(404, "widget-not-found");
    // The key of a batch is not that of a single request.
    send("/widgets", &widget("5")).await.is(201);
}
