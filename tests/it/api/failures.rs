//! What a client receives when DynamoDB fails, a page token is wrong, or the API stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;

use super::{Answer, Api, launch};
use crate::hosts::{Table, scan};
use crate::support::dynamo_proxy::{Action, Barrier, DynamoProxy, Request};
use crate::support::program::Signal;
use crate::support::with_timeout;

/// Starts the API behind a proxy that answers all reads so while the switch is on.
async fn behind(table: &Table, action: Action) -> (Api, DynamoProxy, Arc<AtomicBool>) {
    let is_on = Arc::<AtomicBool>::default();
    let is_faulty = is_on.clone();
    let decide = move |request: &Request| match is_faulty.load(Ordering::Relaxed) && !request.is_describe() {
        true => action.clone(),
        false => Action::Forward,
    };
    let proxy = DynamoProxy::before(table.dynamo.endpoint.trim_start_matches("http://"), decide).await;
    let api = Api::start(launch(table).env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url())).await;
    is_on.store(true, Ordering::Relaxed);
    (api, proxy, is_on)
}

#[tokio::test]
async fn each_failure_of_dynamodb_is_a_problem_of_its_own() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    for (action, status, problem, retry_after) in [
        (Action::throttled(None), 429, "throttled", Some("1")),
        (Action::access_denied(), 503, "store-not-authorized", None),
        (Action::missing_index("by-ip"), 501, "host-index-missing", None),
        (Action::unavailable(), 503, "store-unavailable", Some("5")),
        (Action::invalid_item(), 502, "store-refused", None),
    ] {
        let (mut api, _proxy, is_faulty) = behind(&table, action).await;
        let answer = api.get("/v1/hosts/1.1.1.7").await;
        assert_eq!((answer.status, answer.problem()), (status, problem));
        assert_eq!(answer.headers.get("retry-after").map(|value| value.to_str().expect("text")), retry_after);
        assert!(!answer.body.to_string().contains("arn:") && !answer.body.to_string().contains("table/scans"));
        api.program.wait_for_line("a request failed in DynamoDB").await;
        is_faulty.store(false, Ordering::Relaxed);
        assert_eq!(api.get("/v1/hosts/1.1.1.7").await.status, 200);
    }
}

#[tokio::test]
async fn a_table_without_indexes_still_answers_for_single_records() {
    let mut table = Table::new().await;
    table.name = table.dynamo.table().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let mut program = launch(&table).start();
    let warning = program.wait_for_line("has no index of addresses").await;
    assert!(warning.contains("mini-scan setup table"), "{warning}");
    let api = Api::of(&table).await;
    for (path, problem) in [
        ("/v1/hosts/1.1.1.7", "host-index-missing"),
        ("/v1/networks/1.1.1.0/24", "host-index-missing"),
        ("/v1/services?port=80&service=HTTP", "service-index-missing"),
    ] {
        assert_eq!(api.get(path).await.problem(), problem);
    }
    assert_eq!(api.get("/v1/hosts/1.1.1.7/services/80/HTTP").await.status, 200);
}

#[tokio::test]
async fn unprocessed_keys_and_a_lost_answer_are_invisible_to_a_client() {
    let table = Table::new().await;
    table.store((1..=5).map(|port| scan("1.1.1.7", port, "HTTP"))).await;
    for action in [Action::ProcessKeys(2), Action::ProcessKeys(0), Action::CloseAfter] {
        let left = std::sync::atomic::AtomicUsize::new(2);
        let decide = move |request: &Request| {
            let is_faulty = request.is_batch_get()
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            if is_faulty { action.clone() } else { Action::Forward }
        };
        let proxy = DynamoProxy::before(table.dynamo.endpoint.trim_start_matches("http://"), decide).await;
        let api = Api::start(launch(&table).env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url())).await;
        let host = api.get("/v1/hosts/1.1.1.7").await.ok();
        assert_eq!(host["services"].as_array().map(Vec::len), Some(5));
    }
}

#[tokio::test]
async fn a_page_token_of_another_query_or_of_yesterday_is_refused() {
    let table = Table::new().await;
    table.store((1..=3).map(|port| scan("1.1.1.7", port, "HTTP"))).await;
    let api = Api::of(&table).await;
    let first = api.get("/v1/hosts/1.1.1.7?page_size=1").await.ok();
    let token = first["next_page_token"].as_str().expect("a token").to_owned();
    for path in ["/v1/hosts/1.1.1.8?", "/v1/hosts/1.1.1.7?port=2&", "/v1/networks/1.1.1.7/32?port=1&"] {
        let foreign = api.get(&format!("{path}page_token={token}")).await;
        assert_eq!((foreign.status, foreign.problem()), (400, "invalid-page-token"), "{path}");
    }
    let mut bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64url");
    // The seconds since 1970 follow the version.
    bytes[1..9].copy_from_slice(&1_000_u64.to_be_bytes());
    let old = api.get(&format!("/v1/hosts/1.1.1.7?page_token={}", URL_SAFE_NO_PAD.encode(bytes))).await;
    assert_eq!((old.status, old.problem()), (400, "expired-page-token"));
    for token in ["", "!", "AAAA"] {
        assert_eq!(api.get(&format!("/v1/hosts/1.1.1.7?page_token={token}")).await.problem(), "invalid-page-token");
    }
}

#[tokio::test]
async fn a_request_in_progress_is_answered_before_the_api_stops() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    // The second request to wait opens the barrier.
    let barrier = Barrier::new(2);
    let (api, _proxy, _) = behind(&table, Action::Hold(barrier.clone())).await;
    let Api { mut program, url, client } = api;
    let get = || client.request(Method::GET, format!("{url}/v1/hosts/1.1.1.7/services/80/HTTP"));
    let second = get();
    let (answer, ()) = tokio::join!(Answer::to(get()), async {
        let other = tokio::join!(Answer::to(second), async {
            barrier.opened().await;
            program.signal(Signal::Terminate).await;
        });
        assert_eq!(other.0.status, 200);
    });
    assert_eq!(answer.status, 200);
    program.wait_for_line("API stopped. Aborted requests: 0").await;
}

#[tokio::test]
async fn metrics_count_requests_calls_and_read_units_and_readiness_follows_the_permissions() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    const NONE: u8 = 0;
    const QUERIES: u8 = 1;
    const ALL: u8 = 2;
    let denied = Arc::new(AtomicU8::new(NONE));
    let denied_now = denied.clone();
    let decide = move |request: &Request| match denied_now.load(Ordering::Relaxed) {
        QUERIES if request.is_query() => Action::access_denied(),
        ALL => Action::access_denied(),
        _ => Action::Forward,
    };
    let proxy = DynamoProxy::before(table.dynamo.endpoint.trim_start_matches("http://"), decide).await;
    let launch = launch(&table).env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url());
    let mut program = launch.env("MINI_SCAN_HTTP_LISTEN", "127.0.0.1:0").start();
    let line = program.wait_for_line("/metrics, /livez and /readyz").await;
    let metrics = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address").to_owned();
    let line = program.wait_for_line("/v1 and /docs").await;
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address").to_owned();
    let mut api = Api { program, url: format!("http://{address}"), client: reqwest::Client::new() };
    let client = api.client.clone();
    let read = async |path: &str| {
        let get = client.get(format!("http://{metrics}{path}")).send();
        let response = with_timeout("a response", get).await.expect("a response");
        (response.status().as_u16(), response.text().await.expect("a text"))
    };
    assert_eq!(read("/readyz").await.0, 200);
    api.get("/v1/hosts/1.1.1.7").await.ok();
    assert_eq!(api.get("/x/y").await.status, 404);
    let (_, page) = read("/metrics").await;
    for line in [
        "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/v1/hosts/{ip}\",http_response_status_code=\"200\"} 1",
        "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"none\",http_response_status_code=\"404\"} 1",
        // One query at the start, which looks for the index, and one for the request.
        "db_client_operation_duration_seconds_count{db_operation_name=\"Query\"} 2",
        "db_client_operation_duration_seconds_count{db_operation_name=\"BatchGetItem\"} 1",
        "mini_scan_ready 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    denied.store(QUERIES, Ordering::Relaxed);
    assert_eq!(api.get("/v1/hosts/1.1.1.7").await.problem(), "store-not-authorized");
    assert_eq!(read("/readyz").await.0, 200, "one operation does not make the instance unready");
    denied.store(ALL, Ordering::Relaxed);
    api.program.wait_for_line("unhealthy").await;
    let (status, reasons) = read("/readyz").await;
    assert!(status == 503 && reasons.contains("DynamoDB"), "{reasons}");
    denied.store(NONE, Ordering::Relaxed);
    api.program.wait_for_line("recovered").await;
    assert_eq!(read("/readyz").await.0, 200);
}
