//! Requests of any shape: no panic, and no failure of the server.

use std::io::{Read, Write};
use std::net::TcpStream;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Api, launch};
use crate::hosts::{Table, scan};
use crate::support::TIMEOUT;

/// Returns parts of paths and queries: valid ones, and others.
fn text() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "1.1.1.7",
        "::1",
        "::ffff:1.1.1.7",
        "1.1.1.0/24",
        "%2F24",
        "lookup",
        "services",
        "80",
        "65536",
        "HTTP",
        "%00",
        "%FF",
        "..",
        "%2e%2e",
        "*",
        "minify=true",
        "port=80",
        "page_size=1",
        "page_token=AQAAAA",
        "since=1",
        "page_token=AQAAAABpIMb6iG0kqf6mJQIxLjEuMS43IzgwI0hUVFA",
    ]);
    prop_oneof![3 => known.prop_map(str::to_owned), 1 => "[!-~]{0,12}"]
}

fn path() -> impl Strategy<Value = String> {
    let valid = prop::sample::select(vec![
        "/v1/hosts/1.1.1.7",
        "/v1/hosts/1.1.1.7/services/80/HTTP",
        "/v1/networks/1.1.1.0/24",
        "/v1/services?port=80&service=HTTP",
        "/v1/hosts/lookup",
        "/v1/scans",
        "/docs",
    ]);
    let start = prop::sample::select(vec!["/v1/hosts/", "/v1/networks/", "/v1/services", "/", ""]);
    let parts = prop::collection::vec(text(), 0..4);
    let query = prop::collection::vec(text(), 0..3);
    let other = (start, parts, query)
        .prop_map(|(start, parts, query)| format!("{start}{}?{}", parts.join("/"), query.join("&")));
    prop_oneof![valid.prop_map(str::to_owned), other]
}

fn headers() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "If-Match: *",
        "If-Match: \"a\", W/\"b\"",
        "If-None-Match: *",
        "Authorization: Bearer a",
        "Authorization: \u{7f}",
        "Origin: null",
        "Host: example.com",
        "Content-Length: 9999999",
        "Content-Type: text/html",
        "Accept-Encoding: gzip",
        "X-Forwarded-For: 1.1.1.1",
    ]);
    prop::collection::vec(known, 0..3)
        .prop_map(|headers| headers.iter().map(|header| format!("{header}\r\n")).collect())
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        r#"{"addresses":["1.1.1.7"]}"#,
        r#"{"addresses":[1]}"#,
        "[]",
        "[{}]",
        "[[[[",
        "{",
        "null",
        r#"[{"ip":"1.1.1.7","port":80,"service":"HTTP","timestamp":1,"data_version":2,"data":{"response_str":"a"}}]"#,
    ]);
    prop_oneof![known.prop_map(|text| text.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..64)]
}

/// Sends a request as it is. Returns the status, if the server sent one.
fn status(address: &str, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    // The server may have answered and closed the connection before it has read everything.
    let _ = stream.write_all(request);
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    let text = String::from_utf8_lossy(&response);
    text.strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].parse().expect("a status"))
}

#[test]
fn no_request_is_a_fault_of_the_server() {
    send(400);
}

#[test]
#[ignore = "a minute; run by `make check-slow`"]
fn no_request_of_many_is_a_fault_of_the_server() {
    send(40_000);
}

fn send(cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (mut api, lacks_services) = runtime.block_on(async {
        let table = Table::new().await;
        table.store([scan("1.1.1.7", 80, "HTTP")]).await;
        (Api::start(launch(&table).arguments(["--allow-writes"])).await, table.lacks_services())
    });
    let address = api.url.trim_start_matches("http://").to_owned();
    let method = prop::sample::select(vec!["GET", "GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "X"]);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let answered = std::cell::Cell::new(0_u32);
    let property = |(method, path, headers, body): (&str, String, String, Vec<u8>)| {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        let status = status(&address, &[head.as_bytes(), &body].concat());
        answered.set(answered.get() + u32::from(status.is_some_and(|status| status < 300)));
        // A store on a busy machine may exceed its time limit, which is 503.
        let is_no_fault = |status| (200..500).contains(&status) || status == 503 || lacks_services && status == 501;
        prop_assert!(status.is_none_or(is_no_fault), "{:?}: {}", status, head);
        Ok(())
    };
    TestRunner::new(config).run(&(method, path(), headers(), body()), property).expect("no fault");
    // About one of twelve requests is valid.
    assert!(answered.get() > 0, "no request was valid");
    let log = api.program.log();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    let alive = runtime.block_on(api.get("/v1/hosts/1.1.1.7")).status;
    assert!([200, 404, 503].contains(&alive));
}
