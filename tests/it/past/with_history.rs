//! What `with=history` adds to services.

use mini_scan::changes::Event;
use serde_json::{Value, json};

use super::{Past, TIME, service, start};
use crate::api::{Api, launch};
use crate::hosts::scan;
use crate::support::dynamo_proxy::{Action, DynamoProxy};

/// Returns the fields of a service that come from the history.
fn past(service: &Value) -> Value {
    let names = ["first_seen", "first_seen_exact", "changed_at", "changes"];
    names.iter().filter_map(|name| Some(((*name).to_owned(), service.get(*name)?.clone()))).collect()
}

#[tokio::test]
async fn services_have_their_past_only_if_it_is_asked_for_and_known() {
    let history = Past::new().await;
    history.table.store([80, 81, 82].map(|port| scan("1.1.1.7", port, "HTTP"))).await;
    let (known, older) = (service("1.1.1.7", 80, "HTTP"), service("1.1.1.7", 81, "HTTP"));
    history.summarize(&known, 1, Event::Opened, TIME).await;
    history.summarize(&known, 2, Event::Changed, TIME + 5).await;
    // It was open before the history began.
    history.summarize(&older, 3, Event::Changed, TIME + 7).await;
    let api = start(history.api()).await;

    let host = api.get("/v1/hosts/1.1.1.7?with=history").await.ok();
    let plain = api.get("/v1/hosts/1.1.1.7").await.ok();
    let record = api.get("/v1/hosts/1.1.1.7/services/80/HTTP?with=history").await.ok();

    let exact = json!({ "first_seen": TIME, "first_seen_exact": true, "changed_at": TIME + 5, "changes": 2 });
    let by = json!({ "first_seen": TIME + 7, "first_seen_exact": false, "changed_at": TIME + 7, "changes": 1 });
    let found: Vec<_> = host["services"].as_array().expect("services").iter().map(past).collect();
    assert_eq!(found, [exact.clone(), by, json!({})]);
    assert_eq!(past(&record), exact);
    assert!(plain["services"].as_array().expect("services").iter().all(|service| past(service) == json!({})));
    for path in ["/v1/networks/1.1.1.0/24?with=history&page_size=1", "/v1/hosts/1.1.1.7?with=history&port=80"] {
        let page = api.get(path).await.ok();
        let service = page["hosts"][0]["services"].get(0).or(page["services"].get(0));
        assert_eq!(service.map(past), Some(exact.clone()), "{page}");
    }
    assert_eq!(api.get("/v1/hosts/1.1.1.7?with=history&minify=true").await.problem(), "invalid-request");
    assert_eq!(api.get("/v1/hosts/1.1.1.7?with=everything").await.problem(), "invalid-request");
}

#[tokio::test]
async fn summaries_that_the_table_did_not_look_up_are_asked_for_again() {
    let history = Past::new().await;
    history.table.store([80, 81].map(|port| scan("1.1.1.7", port, "HTTP"))).await;
    for port in [80, 81] {
        history.summarize(&service("1.1.1.7", port, "HTTP"), 1, Event::Opened, TIME).await;
    }
    let (server, name) = (history.table.dynamo.endpoint.trim_start_matches("http://"), history.name.clone());
    let proxy = DynamoProxy::before(server, move |request| {
        let is_of_history = request.is_batch_get() && request.text().contains(&name);
        if is_of_history { Action::ProcessKeys(1) } else { Action::Forward }
    })
    .await;
    let api = start(history.api().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url())).await;

    let host = api.get("/v1/hosts/1.1.1.7?with=history").await.ok();

    let services = host["services"].as_array().expect("services");
    assert!(services.len() == 2 && services.iter().all(|service| service["first_seen"] == TIME), "{host}");
}

#[tokio::test]
async fn an_api_without_a_history_answers_with_a_problem_that_names_it() {
    let history = Past::new().await;
    history.table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let without = Api::of(&history.table).await;
    let missing = start(launch(&history.table).arguments(["--history-table", "missing-history"])).await;
    for api in [&without, &missing] {
        for path in ["/v1/hosts/1.1.1.7?with=history", "/v1/hosts/1.1.1.7/services/80/HTTP?with=history"] {
            assert_eq!(api.get(path).await.problem(), "history-missing", "{path}");
        }
        let timeline = api.get("/v1/hosts/1.1.1.7/timeline").await;
        assert_eq!((timeline.status, timeline.problem()), (501, "history-missing"));
        assert_eq!(api.get("/v1/hosts/1.1.1.7").await.ok()["services"][0]["port"], 80);
    }
}
