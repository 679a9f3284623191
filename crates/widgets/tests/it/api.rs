//! `widget-registry serve`: the real program on the embedded DynamoDB, through HTTP.

mod access;
mod batches;
mod connections;
mod curl;
mod documents;
mod failures;
mod fuzz;
mod keys;
mod pages;
mod widgets;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::program::{Launch, Program, widget_registry};
use crate::support::with_timeout;
use crate::tables::{TestTables, endpoint};

/// A running API with tables of its own.
pub(crate) struct Api {
    program: Program,
    /// `http://127.0.0.1:PORT`
    url: String,
    client: reqwest::Client,
}

/// Returns `widget-registry serve` for new tables, on a free port.
async fn launch() -> Launch {
    launch_on(&TestTables::create().await).await
}

async fn launch_on(tables: &TestTables) -> Launch {
    // As variables, so that a test can choose others by flags.
    widget_registry(["serve"])
        .env("WIDGET_REGISTRY_LISTEN", "127.0.0.1:0")
        .env("WIDGET_REGISTRY_WIDGETS_TABLE", &tables.names.widgets)
        .env("WIDGET_REGISTRY_REQUESTS_TABLE", &tables.names.requests)
        .env("AWS_ENDPOINT_URL_DYNAMODB", &endpoint().await)
        .env("AWS_REGION", "us-east-1")
}

impl Api {
    async fn new() -> Api {
        Api::start(launch().await).await
    }

    async fn start(launch: Launch) -> Api {
        let mut program = launch.start();
        let line = program.wait_for_line("serving http://127").await;
        let (_, rest) = line.split_once("http://").expect("a URL");
        let url = format!("http://{}", rest.split('/').next().expect("an address"));
        Api { program, url, client: reqwest::Client::new() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(method, path).body(body.to_string())).await
    }

    async fn delete(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::DELETE, path)).await
    }

    async fn create(&self, serial: &str, ports: &[&str]) -> Answer {
        self.send(Method::POST, "/widgets", &json!({"name": "w", "serial_number": serial, "ports": ports})).await
    }

    /// Creates widgets with all ports.
    async fn with(self, serials: &[&str]) -> Api {
        for serial in serials {
            self.create(serial, &["P", "Q", "R"]).await.is(201);
        }
        self
    }

    async fn connect(&self, port: &str, serial: &str, peer: &str) -> Answer {
        self.send(Method::PUT, "/widgets/associations", &pair(port, serial, peer)).await
    }

    async fn replace(&self, port: &str, serial: &str, peer: &str) -> Answer {
        self.send(Method::PUT, "/widgets/associations?replace=true", &pair(port, serial, peer)).await
    }

    /// Returns the connections of a widget.
    async fn connections(&self, serial: &str) -> Value {
        self.get(&format!("/widgets/{serial}")).await.is(200).body["connections"].clone()
    }
}

fn pair(port: &str, serial: &str, peer: &str) -> Value {
    json!({"port_type": port, "widget_serial_num": serial, "peer_widget_serial_num": peer})
}

/// A response with its whole body.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    /// Sends a request. Checks what every response has.
    async fn to(request: RequestBuilder) -> Answer {
        let response = with_timeout("a response", request.send()).await.expect("a response");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{status} {text}");
        if status >= 400 {
            assert_eq!(headers["content-type"], "application/problem+json", "{status} {text}");
        }
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default() }
    }

    fn is(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    /// Checks the status and the name of a problem.
    fn is_problem(self, status: u16, name: &str) -> Answer {
        assert_eq!((self.status, self.problem()), (status, name), "{self:#?}");
        self
    }

    /// Returns the name of the problem.
    fn problem(&self) -> &str {
        problem(&self.body)
    }

    /// Returns the pointers of the parts that are wrong.
    fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().expect("a pointer")).collect()
    }

    fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a visible header"))
    }

    fn etag(&self) -> String {
        self.header("etag").unwrap_or_else(|| panic!("no tag: {self:#?}")).to_owned()
    }
}

fn problem(body: &Value) -> &str {
    body["type"].as_str().and_then(|kind| kind.strip_prefix("/docs/problems#")).unwrap_or_default()
}
