//! Single widgets: created, read, changed and deleted.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api};

#[tokio::test]
async fn a_widget_is_created_once() {
    let api = Api::new().await;
    let created = api.create("123", &["R", "P"]).await.is(201);
    assert_eq!(created.header("location"), Some("/widgets/123"));
    assert_eq!(created.body["ports"], json!(["P", "R"]));
    assert_eq!((&created.body["version"], &created.body["connections"]), (&json!(1), &json!({})));

    let again = api.create("123", &["P", "R"]).await.is(200);
    assert_eq!((&again.body, again.etag()), (&created.body, created.etag()));

    let other = api.create("123", &["P"]).await.is_problem(409, "widget-exists");
    assert!(other.detail().contains("123"), "{other:?}");
    let renamed = json!({"name": "x", "serial_number": "123", "ports": ["P", "R"]});
    api.send(Method::POST, "/widgets", &renamed).await.is_problem(409, "widget-exists");
    assert_eq!(api.get("/widgets/123").await.is(200).body, created.body);
}

#[tokio::test]
async fn each_fault_of_a_widget_has_a_pointer() {
    let api = Api::new().await;
    for (ports, pointers) in [
        (json!([]), &["/ports"][..]),
        (json!(["P", "P"]), &["/ports/1"]),
        (json!(["P", "S", "T"]), &["/ports/1", "/ports/2"]),
        (json!("P"), &["/ports"]),
        (json!(null), &["/ports"]),
    ] {
        let body = json!({"name": "w", "serial_number": "1", "ports": ports});
        let answer = api.send(Method::POST, "/widgets", &body).await.is_problem(422, "invalid-widget");
        assert_eq!(answer.pointers(), pointers, "{ports}");
    }
    let body = json!({"name": "", "serial_number": "associations", "ports": [], "port": []});
    let answer = api.send(Method::POST, "/widgets", &body).await.is_problem(422, "invalid-widget");
    assert_eq!(answer.pointers(), ["/port", "/serial_number", "/name", "/ports"]);
    for body in ["", "{", "name=w", "{} {}", "\u{feff}{}"] {
        let answer = Answer::to(api.request(Method::POST, "/widgets").body(body)).await;
        answer.is_problem(400, "invalid-request");
    }
    assert_eq!(api.get("/widgets").await.is(200).body, json!({"widgets": []}), "nothing was written");
}

#[tokio::test]
async fn a_widget_is_read_with_its_tag() {
    let api = Api::new().await.with(&["1", "2"]).await;
    let first = api.get("/widgets/1").await.is(200);
    let tag = first.etag();
    let unchanged = Answer::to(api.request(Method::GET, "/widgets/1").header("if-none-match", &tag)).await;
    assert_eq!((unchanged.status, unchanged.body), (304, Value::Null));
    api.connect("P", "2", "1").await.is(200);
    let connected = Answer::to(api.request(Method::GET, "/widgets/1").header("if-none-match", &tag)).await.is(200);
    assert_eq!(connected.body["connections"], json!({"P": "2"}), "a connection changes the tag of both");
    for path in ["/widgets/3", "/widgets/associations", "/widgets/%2e%2e%2f", "/widgets/%ff", "/widgets/a%23"] {
        let answer = api.get(path).await;
        let is_missing = answer.status == 404 || (answer.status, path) == (405, "/widgets/associations");
        assert!(is_missing, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_patch_renames_and_adds_and_removes_free_ports() {
    let api = Api::new().await;
    api.create("1", &["P"]).await.is(201);
    api.create("2", &["P"]).await.is(201);
    let patch = async |body: Value| api.send(Method::PATCH, "/widgets/1", &body).await;
    let renamed = patch(json!({"name": "x"})).await.is(200);
    assert_eq!((&renamed.body["name"], &renamed.body["version"]), (&json!("x"), &json!(2)));
    let added = patch(json!({"ports": ["P", "Q"]})).await.is(200);
    assert_eq!((&added.body["ports"], &added.body["name"]), (&json!(["P", "Q"]), &json!("x")));
    for body in [json!({}), json!({"name": "x", "ports": ["Q", "P"]})] {
        let same = patch(body).await.is(200);
        assert_eq!((same.body["version"].clone(), same.etag()), (json!(3), added.etag()), "nothing was written");
    }
    api.connect("P", "1", "2").await.is(200);
    let refused = patch(json!({"ports": ["Q"]})).await.is_problem(409, "port-taken");
    assert!(refused.detail().ends_with("connected to 2"), "{refused:?}");
    assert_eq!(patch(json!({"ports": ["P"]})).await.is(200).body["ports"], json!(["P"]));
    let faults = patch(json!({"name": null, "ports": ["X"], "serial_number": "9"})).await;
    assert_eq!(faults.is_problem(422, "invalid-widget").pointers(), ["/serial_number", "/name", "/ports/0"]);
    api.send(Method::PATCH, "/widgets/3", &json!({})).await.is_problem(404, "widget-not-found");
}

#[tokio::test]
async fn a_delete_frees_the_ports_of_the_peers() {
    let api = Api::new().await.with(&["1", "2", "3"]).await;
    api.connect("P", "1", "2").await.is(200);
    api.connect("Q", "2", "1").await.is(200);
    api.connect("R", "1", "3").await.is(200);
    let deleted = api.delete("/widgets/1").await.is(204);
    assert_eq!(deleted.body, Value::Null);
    api.get("/widgets/1").await.is_problem(404, "widget-not-found");
    api.delete("/widgets/1").await.is_problem(404, "widget-not-found");
    for serial in ["2", "3"] {
        assert_eq!(api.connections(serial).await, json!({}));
    }
}

#[tokio::test]
async fn a_condition_protects_what_others_have_changed() {
    let api = Api::new().await.with(&["1", "2"]).await;
    let with = async |method: Method, path: &str, tag: &str| {
        let request = api.request(method, path).header("if-match", tag);
        Answer::to(request.body(r#"{"name": "mine"}"#)).await
    };
    let old = api.get("/widgets/1").await.is(200).etag();
    api.connect("P", "2", "1").await.is(200);
    let new = api.get("/widgets/1").await.is(200).etag();
    for (method, tag) in
        [(Method::PATCH, &*old), (Method::DELETE, &old), (Method::DELETE, "\"x\""), (Method::PATCH, "")]
    {
        with(method, "/widgets/1", tag).await.is_problem(412, "precondition-failed");
    }
    let weak = format!("W/{new}");
    with(Method::DELETE, "/widgets/1", &weak).await.is_problem(412, "precondition-failed");
    let changed = with(Method::PATCH, "/widgets/1", &format!("{old}, {new}")).await.is(200);
    assert_eq!(changed.body["name"], "mine");
    with(Method::PATCH, "/widgets/1", "*").await.is(200);
    with(Method::DELETE, "/widgets/1", &changed.etag()).await.is(204);
    // A missing widget is missing, whatever the condition is.
    for tag in [&*new, "*"] {
        with(Method::DELETE, "/widgets/1", tag).await.is_problem(404, "widget-not-found");
    }
    // A new widget with the same serial number is another one, although its version is the same.
    api.create("1", &["P", "Q", "R"]).await.is(201);
    with(Method::DELETE, "/widgets/1", &old).await.is_problem(412, "precondition-failed");
}

/// Returns serial numbers of all printable characters that one may have.
fn serials() -> impl Strategy<Value = String> {
    let hostile = prop::sample::select(vec![
        "%",
        "%2F",
        "%00",
        "...",
        ".a",
        "a.",
        "~",
        "?",
        "a?b=c",
        "&",
        "+",
        " ",
        "  ",
        "a b",
        "\\",
        "..\\",
        "\"",
        "'",
        "<b>",
        ":batch",
        "associations ",
        "Associations",
        "associations:batch2",
        ";",
        "{}",
        "{serial}",
        "*",
        "$(id)",
        "`",
        "|",
        "%2e",
        "%2e%2e",
        "-",
        "--help",
        "=1+1",
        "@",
        "[::1]",
    ]);
    prop_oneof![1 => hostile.prop_map(str::to_owned), 2 => "[ -\"$-.0-~]{1,64}"]
}

#[test]
fn every_accepted_serial_number_can_be_followed_by_its_location_and_deleted() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let api = runtime.block_on(Api::new());
    let base = reqwest::Url::parse(&api.url).expect("a URL");
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let result = runner.run(&serials(), |serial| {
        prop_assume!(!["associations", "associations:batch", ".", ".."].contains(&&*serial));
        runtime.block_on(async {
            let created = api.create(&serial, &["P"]).await.is(201);
            // As a browser does it: `..` and `%2e%2e` would lead elsewhere.
            let url = base.join(created.header("location").expect("a location")).expect("a URL");
            let found = Answer::to(api.client.get(url.clone())).await.is(200);
            assert_eq!(found.body["serial_number"], serial);
            Answer::to(api.client.delete(url.clone())).await.is(204);
            Answer::to(api.client.get(url)).await.is_problem(404, "widget-not-found");
        });
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
