//! The requests of a person with `curl`, word for word.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::Api;
use crate::support::with_timeout;

const LINES: [&str; 3] = [
    r#"curl -X POST -d '{"name": "widget1", "serial_number": "123", "ports": ["P", "R"]}' localhost:8080/widgets"#,
    r#"curl -X POST -d '{"name": "widget1", "serial_number": "321", "ports": ["P", "R"]}' localhost:8080/widgets"#,
    r#"curl -X PUT -d '{"port_type": "P", "widget_serial_num": "123", "peer_widget_serial_num": "321"}' localhost:8080/widgets/associations"#,
];

/// Tests run concurrently, so port 8080 may be in use: `curl` connects to the port of the test in its stead. The request is
/// the same.
const CONNECT_TO: &str =
    "curl() { command curl --silent --show-error --fail-with-body --connect-to localhost:8080:\"$0\" \"$@\"; }";

#[tokio::test]
async fn the_lines_of_the_issue_connect_two_widgets() {
    let api = Api::new().await;
    let address = api.url.strip_prefix("http://").expect("a URL");
    for line in LINES {
        match run(line, address).await {
            Some(text) => assert!(text.starts_with('{') && !text.contains("problems#"), "{line}: {text}"),
            None => {
                println!("NOT RUN: curl, because it is not installed; the same bytes by a raw client");
                let response = raw(line, address).await;
                assert!(response.starts_with("HTTP/1.1 20"), "{line}: {response}");
            }
        }
    }
    for (serial, peer) in [("123", "321"), ("321", "123")] {
        let widget = api.get(&format!("/widgets/{serial}")).await.is(200).body;
        assert_eq!(widget["name"], "widget1");
        assert_eq!(widget["ports"], json!(["P", "R"]));
        assert_eq!(widget["connections"], json!({"P": peer}));
    }
}

/// The lines, by a client of bytes: also where `curl` is installed, it shows what is sent.
#[tokio::test]
async fn a_form_type_does_not_hide_the_json() {
    let api = Api::new().await;
    let address = api.url.strip_prefix("http://").expect("a URL");
    for (line, status) in LINES.into_iter().zip(["201", "201", "200"]) {
        let response = raw(line, address).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {response}");
        let (_, body) = response.split_once("\r\n\r\n").expect("a body");
        assert!(serde_json::from_str::<Value>(body).is_ok(), "{response}");
    }
}

/// Runs a line in a shell. Returns its output, or nothing without `curl`.
async fn run(line: &str, address: &str) -> Option<String> {
    let exists = Command::new("sh").args(["-c", "command -v curl"]).stdout(Stdio::null()).status().await;
    if !exists.expect("sh runs").success() {
        return None;
    }
    let script = format!("{CONNECT_TO}\n{line}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, address]).env_remove("http_proxy").env_remove("HTTP_PROXY").env_remove("ALL_PROXY");
    let output = with_timeout("curl", shell.kill_on_drop(true).output()).await.expect("sh runs");
    assert!(output.status.success(), "{line}: {output:?}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// Sends what `curl` sends for a line.
async fn raw(line: &str, address: &str) -> String {
    let (head, rest) = line.split_once(" -d '").expect("a body");
    let (body, target) = rest.split_once("' localhost:8080").expect("a target");
    let method = head.strip_prefix("curl -X ").expect("a method");
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nConnection: close\r\n\
         Content-Length: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut response = String::new();
    with_timeout("a response", stream.read_to_string(&mut response)).await.expect("text");
    response
}
