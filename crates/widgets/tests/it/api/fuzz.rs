//! Requests of any shape: no panic, and no failure of the server.

use std::io::{Read, Write};
use std::net::TcpStream;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::Api;
use crate::support::TIMEOUT;
use crate::support::program::Signal;

fn path() -> impl Strategy<Value = String> {
    let valid = prop::sample::select(vec![
        "/widgets",
        "/widgets?page_size=2",
        "/widgets/1",
        "/widgets/2",
        "/widgets/associations",
        "/widgets/associations?replace=true",
        "/widgets/associations/1/P",
        "/widgets:batch",
        "/widgets/associations:batch",
        "/docs",
    ]);
    let known = prop::sample::select(vec![
        "1",
        "2",
        "P",
        "associations",
        "associations:batch",
        "%2F",
        "%00",
        "%FF",
        "%",
        "..",
        "%2e%2e",
        "*",
        "{serial}",
        "page_size=0",
        "page_size=99999999999",
        "page_token=AQAAAA",
        "replace=true",
        "replace=1",
    ]);
    let text = || prop_oneof![3 => known.clone().prop_map(str::to_owned), 1 => "[!-~]{0,12}"];
    let parts = prop::collection::vec(text(), 0..4);
    let query = prop::collection::vec(text(), 0..3);
    let start = prop::sample::select(vec!["/widgets/", "/widgets", "/", ""]);
    let other = (start, parts, query)
        .prop_map(|(start, parts, query)| format!("{start}{}?{}", parts.join("/"), query.join("&")));
    prop_oneof![3 => valid.prop_map(str::to_owned), 2 => other]
}

fn headers() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "If-Match: *",
        "If-Match: \"a\", W/\"b\"",
        "If-Match: \"00000000-0000-0000-0000-000000000007.18446744073709551616\"",
        "If-None-Match: *",
        "Idempotency-Key: k",
        "Idempotency-Key: ",
        "Idempotency-Key: \u{7f}",
        "Authorization: Bearer a",
        "Origin: null",
        "Host: example.com",
        "Content-Length: 9999999",
        "Content-Type: text/html",
        "Content-Encoding: gzip",
    ]);
    prop::collection::vec(known, 0..3)
        .prop_map(|headers| headers.iter().map(|header| format!("{header}\r\n")).collect())
}

/// Returns JSON that is close to what the API expects.
fn value() -> impl Strategy<Value = Value> {
    let text = || {
        prop_oneof![
            prop::sample::select(vec!["1", "2", "3", "P", "Q", "", "/", "w"]).prop_map(str::to_owned),
            ".{0,70}"
        ]
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
        Just(json!(["P", "Q"])),
    ];
    let names = prop::sample::select(vec![
        "name",
        "serial_number",
        "ports",
        "port_type",
        "widget_serial_num",
        "peer_widget_serial_num",
        "operation",
        "replace",
        "",
        "a/b~",
    ]);
    let valid = prop::sample::select(vec![
        json!({"name": "w", "serial_number": "1", "ports": ["P", "Q"]}),
        json!({"name": "w", "serial_number": "2", "ports": ["P"]}),
        json!({"name": "x"}),
        json!({"port_type": "P", "widget_serial_num": "1", "peer_widget_serial_num": "2"}),
        json!({"operation": "delete", "serial_number": "1"}),
        json!({"operation": "disconnect", "port_type": "P", "widget_serial_num": "1"}),
    ]);
    let value = leaf.prop_recursive(3, 32, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop_oneof![2 => valid.clone(), 1 => valid.prop_map(|element| json!([element.clone(), element])), 2 => value]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
        1 => (1..200_000_usize).prop_map(|depth| vec![b'['; depth]),
    ]
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
    send(600);
}

#[test]
#[ignore = "minutes; run by `make check-slow`"]
fn no_request_of_many_is_a_fault_of_the_server() {
    send(40_000);
}

fn send(cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let api = runtime.block_on(Api::new());
    let address = api.url.trim_start_matches("http://").to_owned();
    let method =
        prop::sample::select(vec!["GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "X"]);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let (read, written) = (std::cell::Cell::new(0_u32), std::cell::Cell::new(0_u32));
    let property = |(method, path, headers, body): (&str, String, String, Vec<u8>)| {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        let status = status(&address, &[head.as_bytes(), &body].concat());
        let count = if method == "GET" { &read } else { &written };
        count.set(count.get() + u32::from(status.is_some_and(|status| status < 300)));
        // The embedded store answers, so that no 5xx is its own. Only a request that a full machine delays may be 503.
        prop_assert!(status.is_none_or(|status| (200..500).contains(&status) || status == 503), "{status:?}: {head}");
        Ok(())
    };
    TestRunner::new(config).run(&(method, path(), headers(), body()), property).expect("no fault");
    assert!(read.get() > 0 && written.get() > 0, "no request was valid");
    runtime.block_on(async {
        api.get("/widgets").await.is(200);
        api.program.signal(Signal::Terminate).await;
        let exit = api.program.exit().await;
        assert!(!exit.output.stderr.iter().any(|line| line.contains("panicked")), "{exit:#?}");
    });
}
