//! The answers of the endpoints that read.

use std::collections::BTreeSet;

use mini_scan::scan::{Key, Scan};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, binary, launch};
use crate::hosts::{Table, scan};
use crate::support::program::{Signal, mini_scan};

#[tokio::test]
async fn a_host_has_its_services_by_port() {
    let table = Table::new().await;
    table.store([binary("1.1.1.7", 443), Scan { timestamp: 1_740_298_126, ..scan("1.1.1.7", 80, "HTTP") }]).await;
    let api = Api::of(&table).await;
    let http = json!({
        "port": 80, "service": "HTTP", "timestamp": 1_740_298_126, "response": "HTTP on 80", "data_version": 2, "stale": true,
    });
    let bin = json!({
        "port": 443, "service": "BIN", "timestamp": 1_740_298_125, "response": "a\u{fffd}", "response_base64": "Yf8=",
        "data_version": 2, "stale": true,
    });
    let host = json!({ "ip": "1.1.1.7", "last_seen": 1_740_298_126, "services": [http, bin] });
    assert_eq!(api.get("/v1/hosts/1.1.1.7").await.ok(), host);
    assert_eq!(api.get("/v1/hosts/::ffff:1.1.1.7").await.ok(), host);
    for filter in ["port=80", "service=HTTP", "since=1740298126", "port=80&service=HTTP&since=0"] {
        let filtered = api.get(&format!("/v1/hosts/1.1.1.7?{filter}")).await.ok();
        assert_eq!(filtered["services"], json!([http]), "{filter}");
    }
    let minified = api.get("/v1/hosts/1.1.1.7?minify=true").await.ok();
    let services = json!([{ "port": 80, "service": "HTTP" }, { "port": 443, "service": "BIN" }]);
    assert_eq!(minified, json!({ "ip": "1.1.1.7", "services": services }));
    for path in ["/v1/hosts/1.1.1.8", "/v1/hosts/1.1.1.7?port=81", "/v1/hosts/1.1.1.7?since=1740298127"] {
        assert_eq!(api.get(path).await.problem(), "host-not-found", "{path}");
    }
}

#[tokio::test]
async fn a_record_is_read_by_any_service_that_a_scan_may_have() {
    let table = Table::new().await;
    let services = ["HTTP", "a/b c%", "#?&=+", "SSH é", "..", ".", "%2F"];
    table.store(services.map(|service| scan("2001:db8::7", 22, service))).await;
    let api = Api::of(&table).await;
    for service in services {
        let encoded: String = service.bytes().map(|byte| format!("%{byte:02X}")).collect();
        // Clients remove the segments `.` and `..`, even if they are encoded.
        if service.starts_with('.') {
            continue;
        }
        let record = api.get(&format!("/v1/hosts/2001:db8::7/services/22/{encoded}")).await.ok();
        let found = (&record["ip"], &record["port"], &record["service"]);
        assert_eq!(found, (&json!("2001:db8::7"), &json!(22), &json!(service)));
    }
    assert_eq!(api.get("/v1/hosts/2001:db8::7/services/23/HTTP").await.problem(), "record-not-found");
}

#[tokio::test]
async fn a_fresh_record_is_not_stale() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let api = Api::start(launch(&table).arguments(["--stale-after", "90years"])).await;
    assert_eq!(api.get("/v1/hosts/1.1.1.7").await.ok()["services"][0]["stale"], false);
}

#[tokio::test]
async fn a_lookup_returns_every_address_in_its_order() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP"), scan("2001:db8::7", 80, "HTTP")]).await;
    let api = Api::of(&table).await;
    let addresses = json!({ "addresses": ["2001:DB8::7", "1.1.1.9", "::ffff:1.1.1.7", "1.1.1.7"] });
    let hosts = api.post("/v1/hosts/lookup?minify=true", addresses.to_string()).await.ok();
    let services = json!([{ "port": 80, "service": "HTTP" }]);
    let expected = json!([
        { "ip": "2001:db8::7", "services": services },
        { "ip": "1.1.1.9", "services": [] },
        { "ip": "1.1.1.7", "services": services },
    ]);
    assert_eq!(hosts, json!({ "hosts": expected }));
    assert_eq!(api.post("/v1/hosts/lookup", "{}").await.problem(), "invalid-request");
}

#[tokio::test]
async fn a_network_lists_its_hosts_and_large_ones_are_refused() {
    let table = Table::new().await;
    table.store(["1.1.0.255", "1.1.1.10", "1.1.1.9", "1.1.2.0"].map(|ip| scan(ip, 80, "HTTP"))).await;
    let api = Api::of(&table).await;
    for path in ["/v1/networks/1.1.1.0/24", "/v1/networks/1.1.1.7%2F24", "/v1/networks/::ffff:1.1.1.0/120"] {
        let hosts = api.get(path).await.ok()["hosts"].clone();
        let ips: Vec<_> = hosts.as_array().expect("hosts").iter().map(|host| host["ip"].clone()).collect();
        assert_eq!(ips, ["1.1.1.9", "1.1.1.10"], "{path}");
    }
    assert_eq!(api.get("/v1/networks/1.1.3.0/24").await.ok(), json!({ "hosts": [] }));
    let large = api.get("/v1/networks/1.1.0.0/23").await;
    assert_eq!(large.problem(), "network-too-large");
    assert!(large.body["detail"].as_str().is_some_and(|detail| detail.contains("mini-scan export")), "{large:?}");
    assert_eq!(api.get("/v1/networks/1.1.1.0").await.problem(), "invalid-request");
}

#[tokio::test]
async fn the_hosts_of_a_service_come_from_the_opt_in_index() {
    let table = Table::new().await;
    if table.lacks_services() {
        return;
    }
    table.store([scan("1.1.1.7", 3389, "RDP"), scan("1.1.1.8", 3389, "RDP"), scan("1.1.1.8", 80, "HTTP")]).await;
    let api = Api::of(&table).await;
    let hosts = api.get("/v1/services?port=3389&service=RDP&minify=true").await.ok();
    let service = json!([{ "port": 3389, "service": "RDP" }]);
    let expected = ["1.1.1.7", "1.1.1.8"].map(|ip| json!({ "ip": ip, "services": service }));
    assert_eq!(hosts, json!({ "hosts": expected }));
    assert_eq!(api.get("/v1/services?port=3389").await.problem(), "invalid-request");
}

#[tokio::test]
async fn an_etag_saves_the_body_until_the_record_changes() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    let api = Api::of(&table).await;
    for path in ["/v1/hosts/1.1.1.7", "/v1/hosts/1.1.1.7/services/80/HTTP", "/v1/networks/1.1.1.0/24"] {
        let first = api.get(path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"'), "{tag}");
        let again = Answer::to(api.request(Method::GET, path).header("if-none-match", &tag)).await;
        assert_eq!((again.status, again.header("etag"), &again.body), (304, tag.as_str(), &Value::Null));
    }
    let path = "/v1/hosts/1.1.1.7/services/80/HTTP";
    let before = api.get(path).await;
    table.store([Scan { timestamp: 1_740_298_200, ..scan("1.1.1.7", 80, "HTTP") }]).await;
    let after = Answer::to(api.request(Method::GET, path).header("if-none-match", before.header("etag"))).await;
    assert_eq!(after.status, 200);
}

/// Follows the pages of a query. Returns the keys on them, in order.
async fn pages(api: &Api, path: &str, body: Option<&str>) -> Vec<String> {
    let mut keys = Vec::new();
    let mut token = String::new();
    loop {
        let page = match body {
            None => api.get(&format!("{path}{token}")).await.ok(),
            Some(body) => api.post(&format!("{path}{token}"), body.to_owned()).await.ok(),
        };
        let hosts = page["hosts"].as_array().cloned().unwrap_or_else(|| vec![page.clone()]);
        for host in &hosts {
            for service in host["services"].as_array().expect("services") {
                let (ip, name) =
                    (host["ip"].as_str().expect("an address"), service["service"].as_str().expect("a name"));
                keys.push(format!("{ip}#{}#{name}", service["port"]));
            }
        }
        match page["next_page_token"].as_str() {
            Some(next) => token = format!("&page_token={next}"),
            None => return keys,
        }
    }
}

#[test]
fn paging_over_http_returns_each_record_exactly_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (table, api) = runtime.block_on(async {
        let table = Table::new().await;
        let api = Api::of(&table).await;
        (table, api)
    });
    let config = Config { cases: 16, failure_persistence: None, ..Config::default() };
    let scans = prop::collection::btree_set((0..6_u8, 0..3_u16, 0..2_usize), 0..25);
    let strategy = (scans, 1..7_usize, any::<bool>());
    let case = std::cell::Cell::new(0_u8);
    let property = |(parts, size, minify): (BTreeSet<(u8, u16, usize)>, usize, bool)| {
        // Each case has a network and a service of its own.
        let n = case.get();
        case.set(n.wrapping_add(1));
        let make = |(host, port, service): &(u8, u16, usize)| {
            scan(
                &format!("10.0.{n}.{}", [3_u8, 20, 100, 101, 200, 255][usize::from(*host)]),
                *port,
                &format!("S{service} {n}"),
            )
        };
        let scans: Vec<Scan> = parts.iter().map(make).collect();
        runtime.block_on(async {
            table.store(scans.clone()).await;
            let params = format!("page_size={size}&minify={minify}");
            let ips: BTreeSet<&str> = scans.iter().map(|scan| scan.key.ip()).collect();
            let all: BTreeSet<&str> = scans.iter().map(|scan| scan.key.as_str()).collect();
            let mut queries = vec![(format!("/v1/networks/10.0.{n}.0/24?{params}"), None, all.clone())];
            if !ips.is_empty() {
                let body = json!({ "addresses": ips }).to_string();
                queries.push((format!("/v1/hosts/lookup?{params}"), Some(body), all.clone()));
                let of_one = |key: &&str| key.split('#').next() == ips.first().copied();
                let one = all.iter().copied().filter(of_one).collect();
                queries.push((format!("/v1/hosts/{}?{params}", ips.first().expect("one")), None, one));
            }
            let is_exposing = |scan: &&Scan| scan.key.port() == "1" && scan.key.service() == format!("S1 {n}");
            let exposing = scans.iter().filter(is_exposing).map(|scan| scan.key.as_str()).collect();
            if !table.lacks_services() {
                queries.push((format!("/v1/services?port=1&service=S1%20{n}&{params}"), None, exposing));
            }
            for (path, body, expected) in queries {
                let found = pages(&api, &path, body.as_deref()).await;
                let once: BTreeSet<&str> = found.iter().map(String::as_str).collect();
                prop_assert_eq!((found.len(), &once), (expected.len(), &expected), "{}", path);
            }
            Ok(())
        })
    };
    TestRunner::new(config).run(&strategy, property).expect("the property holds");
}

#[tokio::test]
async fn large_responses_end_a_page_early() {
    let table = Table::new().await;
    let large = |port| Scan { response: "x".repeat(399_000), ..scan("1.1.1.7", port, "HTTP") };
    table.store((1..=13).map(large)).await;
    let api = Api::of(&table).await;
    let first = api.get("/v1/hosts/1.1.1.7?page_size=100").await.ok();
    assert_eq!(first["services"].as_array().map(Vec::len), Some(11), "the eleventh response reaches 4 MiB");
    let keys = pages(&api, "/v1/hosts/1.1.1.7?page_size=100", None).await;
    assert_eq!(keys.len(), 13);
    assert_eq!(Key::parse(&keys[12]).map(|key| key.port().to_owned()), Some("13".to_owned()));
}

#[tokio::test]
async fn sigterm_ends_the_api_and_a_missing_table_prevents_its_start() {
    let table = Table::new().await;
    let api = Api::of(&table).await;
    api.program.signal(Signal::Terminate).await;
    let exit = api.program.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(exit.output.stdout, ["API stopped. Aborted requests: 0"]);
    let missing = mini_scan(["api", "--listen", "127.0.0.1:0", "--table", "missing"]);
    let exit = missing.env("AWS_ENDPOINT_URL_DYNAMODB", &table.dynamo.endpoint).run().await;
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    assert!(exit.output.stderr.join("\n").contains("mini-scan setup table"), "{exit:#?}");
}
