//! `mini-scan api`: the real program on the embedded DynamoDB.

mod access;
mod documents;
mod failures;
mod fuzz;
mod pages;
mod reads;
mod traces;
mod webhooks;
mod writes;

use mini_scan::scan::Scan;
pub(crate) use pages::open;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::hosts::{Table, scan};
use crate::support::program::{Launch, Program, mini_scan};
use crate::support::with_timeout;

/// A running API.
pub(crate) struct Api {
    program: Program,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    client: reqwest::Client,
}

/// Returns `mini-scan api` for this table, on a free port.
pub(crate) fn launch(table: &Table) -> Launch {
    // A /24 takes 256 queries, which are slow on a cold DynamoDB Local.
    let patient = ["--request-timeout", "25s"];
    let launch = mini_scan(["api", "--listen", "127.0.0.1:0", "--table", &table.name]).arguments(patient);
    launch.env("AWS_ENDPOINT_URL_DYNAMODB", &table.dynamo.endpoint).env("AWS_REGION", "us-east-1")
}

impl Api {
    pub(crate) async fn start(launch: Launch) -> Api {
        let mut program = launch.start();
        let line = program.wait_for_line("serving http://127").await;
        let (_, rest) = line.split_once("http://").expect("a URL");
        let url = format!("http://{}", rest.split('/').next().expect("an address"));
        Api { program, url, client: reqwest::Client::new() }
    }

    /// Starts the API of this table with its default settings.
    pub(crate) async fn of(table: &Table) -> Api {
        Api::start(launch(table)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::to(self.request(Method::POST, path).body(body)).await
    }
}

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    /// Sends a request. Checks what every response has.
    async fn to(request: RequestBuilder) -> Answer {
        let response: Response = with_timeout("a response", request.send()).await.expect("a response");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{status} {text}");
        if status >= 400 {
            assert_eq!(headers["content-type"], "application/problem+json", "{status} {text}");
        }
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default() }
    }

    /// Returns the body of a success.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:#?}");
        self.body
    }

    /// Returns the name of the problem.
    pub(crate) fn problem(&self) -> &str {
        assert_eq!(self.body["status"], self.status, "{self:#?}");
        let kind = self.body["type"].as_str().unwrap_or_else(|| panic!("no problem: {self:#?}"));
        kind.strip_prefix("/docs/problems#").expect("the page of problems")
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("a visible header")
    }
}

/// Returns a scan of version 2 as JSON.
fn payload(ip: &str, timestamp: u64) -> String {
    crate::support::pipeline::scan(ip, timestamp, "hi")
}

/// Returns a scan whose response is not UTF-8.
fn binary(ip: &str, port: u16) -> Scan {
    Scan { response: "a\u{fffd}".to_owned(), response_bytes: Some(vec![b'a', 0xff]), ..scan(ip, port, "BIN") }
}
