//! Connections: made, replaced and ended, always on both sides.

use reqwest::Method;
use serde_json::json;

use super::{Answer, Api, pair};

#[tokio::test]
async fn a_connection_has_two_sides_and_is_written_once() {
    let api = Api::new().await.with(&["1", "2"]).await;
    let connected = api.connect("P", "1", "2").await.is(200);
    assert_eq!(connected.body, pair("P", "1", "2"));
    assert_eq!((api.connections("1").await, api.connections("2").await), (json!({"P": "2"}), json!({"P": "1"})));
    let before = api.get("/widgets/1").await.is(200);
    for (serial, peer) in [("1", "2"), ("2", "1")] {
        assert_eq!(api.connect("P", serial, peer).await.is(200).body, pair("P", serial, peer));
        assert_eq!(api.replace("P", serial, peer).await.is(200).body, pair("P", serial, peer));
    }
    assert_eq!(api.get("/widgets/1").await.is(200).etag(), before.etag(), "nothing was written");
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_changes_nothing() {
    let api = Api::new().await.with(&["1", "2", "3"]).await;
    api.create("q", &["Q"]).await.is(201);
    api.connect("P", "1", "2").await.is(200);
    for (serial, peer) in [("1", "9"), ("9", "1"), ("9", "8"), ("q", "9")] {
        for answer in [api.connect("P", serial, peer).await, api.replace("P", serial, peer).await] {
            let answer = answer.has_problem(404, "widget-not-found");
            assert!(answer.detail().ends_with('9'), "{answer:?}");
        }
    }
    for (serial, peer) in [("3", "q"), ("q", "3")] {
        for answer in [api.connect("P", serial, peer).await, api.replace("P", serial, peer).await] {
            let answer = answer.has_problem(422, "no-such-port");
            assert!(answer.detail().contains("widget q has no port P"), "{answer:?}");
        }
    }
    for (serial, peer, taken, by) in [("1", "3", "1", "2"), ("3", "2", "2", "1")] {
        let answer = api.connect("P", serial, peer).await.has_problem(409, "port-taken");
        assert_eq!(answer.detail(), format!("the port P of the widget {taken} is connected to {by}"));
        assert_eq!(answer.body["connected_to"], by);
    }
    for serial in ["3", "q"] {
        assert_eq!(api.connections(serial).await, json!({}));
    }
    assert_eq!((api.connections("1").await, api.connections("2").await), (json!({"P": "2"}), json!({"P": "1"})));
}

#[tokio::test]
async fn each_fault_of_an_association_has_a_pointer() {
    let api = Api::new().await;
    for (body, pointers) in [
        (pair("P", "1", "1"), &["/peer_widget_serial_num"][..]),
        (pair("p", "1", "2"), &["/port_type"]),
        (pair("S", "", "a/b"), &["/port_type", "/widget_serial_num", "/peer_widget_serial_num"]),
        (json!({"port_type": "P", "widget_serial_num": 1}), &["/widget_serial_num", "/peer_widget_serial_num"]),
        (json!([]), &[""]),
    ] {
        let answer = api.send(Method::PUT, "/widgets/associations", &body).await;
        assert_eq!(answer.has_problem(422, "invalid-association").pointers(), pointers, "{body}");
    }
    let answer = Answer::to(api.request(Method::PUT, "/widgets/associations").body("port_type=P")).await;
    answer.has_problem(400, "invalid-request");
    for query in ["replace=yes", "replace", "replaces=true"] {
        let path = format!("/widgets/associations?{query}");
        api.send(Method::PUT, &path, &pair("P", "1", "2")).await.has_problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn a_replacement_frees_both_old_peers() {
    let api = Api::new().await.with(&["1", "2", "3", "4"]).await;
    api.connect("R", "1", "3").await.is(200);
    api.connect("R", "2", "4").await.is(200);
    api.connect("R", "1", "2").await.has_problem(409, "port-taken");
    assert_eq!(api.replace("R", "1", "2").await.is(200).body, pair("R", "1", "2"));
    assert_eq!((api.connections("1").await, api.connections("2").await), (json!({"R": "2"}), json!({"R": "1"})));
    assert_eq!((api.connections("3").await, api.connections("4").await), (json!({}), json!({})));
    api.replace("R", "3", "4").await.is(200);
    assert_eq!(api.connections("4").await, json!({"R": "3"}), "also if both were free");
}

#[tokio::test]
async fn a_disconnection_frees_both_sides_by_the_name_of_either() {
    let api = Api::new().await.with(&["1", "2"]).await;
    for serial in ["1", "2"] {
        api.connect("Q", "1", "2").await.is(200);
        api.delete(&format!("/widgets/associations/{serial}/Q")).await.is(204);
        assert_eq!((api.connections("1").await, api.connections("2").await), (json!({}), json!({})));
        api.delete(&format!("/widgets/associations/{serial}/Q")).await.has_problem(404, "not-connected");
    }
    api.create("p", &["P"]).await.is(201);
    for (path, status, problem) in [
        ("9/Q", 404, "widget-not-found"),
        ("%ff/Q", 404, "widget-not-found"),
        ("p/Q", 422, "no-such-port"),
        ("1/q", 422, "no-such-port"),
        ("1/%ff", 404, "widget-not-found"),
    ] {
        api.delete(&format!("/widgets/associations/{path}")).await.has_problem(status, problem);
    }
}

#[tokio::test]
async fn conditions_and_parameters_that_an_endpoint_lacks_are_refused() {
    let api = Api::new().await.with(&["1", "2"]).await;
    let body = pair("P", "1", "2");
    let request = api.request(Method::PUT, "/widgets/associations").header("if-match", "*");
    Answer::to(request.body(body.to_string())).await.has_problem(400, "invalid-request");
    let batch = json!([body]);
    api.send(Method::POST, "/widgets/associations:batch?replace=true", &batch)
        .await
        .has_problem(400, "invalid-request");
    api.delete("/widgets/1?force=true").await.has_problem(400, "invalid-request");
    assert_eq!(api.connections("1").await, json!({}));

    api.connect("P", "1", "2").await.is(200);
    let request = api.request(Method::DELETE, "/widgets/associations/1/P").header("if-match", "*");
    Answer::to(request).await.has_problem(400, "invalid-request");
    api.delete("/widgets/associations/1/P?force=true").await.has_problem(400, "invalid-request");
    assert_eq!(api.connections("1").await, json!({"P": "2"}));
}
