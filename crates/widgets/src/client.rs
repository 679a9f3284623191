//! A client of the API, for the commands that put load on it. It repeats nothing.

use std::fmt;
use std::time::Duration;

use ops::cause;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};

use crate::operation::{IfMatch, Operation, Taken};
use crate::widget::{Name, Port, Ports, Serial};

/// Longer than the API takes for any request.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// `null` if it is empty.
    pub body: Value,
    /// It is the remembered answer to an earlier request with the same Idempotency-Key.
    pub is_repeat: bool,
}

impl Response {
    /// Returns the type of the problem, e.g. `unknown-outcome`.
    pub fn problem(&self) -> Option<&str> {
        problem(&self.body)
    }
}

/// Returns the type of a problem by its document, e.g. `unknown-outcome`.
pub fn problem(document: &Value) -> Option<&str> {
    document["type"].as_str()?.rsplit_once('#').map(|(_, name)| name)
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The server did not receive the request.
    #[error("cannot connect: {0}")]
    NotSent(String),
    /// The request may have been done.
    #[error("no answer: {0}")]
    Lost(String),
}

/// Why a client cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("{0} is not the URL of an API, e.g. http://127.0.0.1:8080")]
    Url(String),
    #[error("cannot create an HTTP client: {0}")]
    Http(String),
}

impl Client {
    pub fn new(base: &str, token: Option<String>) -> Result<Client, Invalid> {
        let url = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        Ok(Client {
            http: http.build().map_err(|error| Invalid::Http(cause(&error)))?,
            base: url.ok_or_else(|| Invalid::Url(base.to_owned()))?,
            token,
        })
    }

    pub async fn get(&self, serial: &Serial) -> Result<Response, NoAnswer> {
        self.send(self.http.get(self.url(&["widgets", serial.as_str()])), None).await
    }

    /// Asks for an operation.
    pub async fn run(&self, operation: &Operation, key: Option<&str>) -> Result<Response, NoAnswer> {
        let (method, url) = self.target(operation);
        let mut request = self.http.request(method, url);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Operation::Change { if_match: Some(wanted), .. } | Operation::Delete { if_match: Some(wanted), .. } =
            operation
        {
            request = request.header("if-match", tags(wanted));
        }
        self.send(request, body(operation)).await
    }

    /// Creates up to 100 widgets.
    pub async fn create(&self, widgets: &[Operation]) -> Result<Response, NoAnswer> {
        let widgets: Vec<Value> = widgets.iter().filter_map(body).collect();
        self.send(self.http.post(self.url(&["widgets:batch"])), Some(widgets.into())).await
    }

    fn target(&self, operation: &Operation) -> (Method, Url) {
        match operation {
            Operation::Create { .. } => (Method::POST, self.url(&["widgets"])),
            Operation::Change { serial, .. } => (Method::PATCH, self.url(&["widgets", serial.as_str()])),
            Operation::Delete { serial, .. } => (Method::DELETE, self.url(&["widgets", serial.as_str()])),
            Operation::Connect(_, taken) => {
                let mut url = self.url(&["widgets", "associations"]);
                if *taken == Taken::Replace {
                    url.set_query(Some("replace=true"));
                }
                (Method::PUT, url)
            }
            Operation::Disconnect { serial, port } => {
                (Method::DELETE, self.url(&["widgets", "associations", serial.as_str(), port.name()]))
            }
        }
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    async fn send(&self, mut request: RequestBuilder, body: Option<Value>) -> Result<Response, NoAnswer> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let no_answer = |error: reqwest::Error| match error.is_connect() {
            true => NoAnswer::NotSent(cause(&error.without_url())),
            false => NoAnswer::Lost(cause(&error.without_url())),
        };
        let response = request.send().await.map_err(no_answer)?;
        let (status, is_repeat) = (response.status().as_u16(), response.headers().contains_key("idempotent-replayed"));
        let body = response.bytes().await.map_err(no_answer)?;
        Ok(Response { status, body: serde_json::from_slice(&body).unwrap_or_default(), is_repeat })
    }
}

/// Returns the body of the request. In a batch it is that of one operation.
fn body(operation: &Operation) -> Option<Value> {
    let names = |ports: &Ports| ports.iter().map(Port::name).collect::<Vec<_>>();
    match operation {
        Operation::Create { serial, name, ports } => {
            Some(json!({ "serial_number": serial.as_str(), "name": name.as_str(), "ports": names(ports) }))
        }
        Operation::Change { name, ports, .. } => {
            let name = name.as_ref().map(|name: &Name| ("name".to_owned(), json!(name.as_str())));
            let ports = ports.as_ref().map(|ports| ("ports".to_owned(), json!(names(ports))));
            Some(Value::Object(name.into_iter().chain(ports).collect()))
        }
        Operation::Connect(association, _) => Some(json!({
            "port_type": association.port.name(),
            "widget_serial_num": association.serial.as_str(),
            "peer_widget_serial_num": association.peer.as_str(),
        })),
        Operation::Delete { .. } | Operation::Disconnect { .. } => None,
    }
}

fn tags(wanted: &IfMatch) -> String {
    match wanted {
        IfMatch::Any => "*".to_owned(),
        IfMatch::Revisions(revisions) => {
            let tags: Vec<String> = revisions.iter().map(|revision| format!("\"{revision}\"")).collect();
            tags.join(", ")
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_serial_number_can_be_part_of_a_path() {
        let client = Client::new("http://127.0.0.1:8080/", None).unwrap();
        let serial = Serial::try_from("a b?%\"".to_owned()).unwrap();
        let (_, url) = client.target(&Operation::Disconnect { serial, port: Port::P });
        assert_eq!(url.as_str(), "http://127.0.0.1:8080/widgets/associations/a%20b%3F%25%22/P");
    }

    #[test]
    fn a_url_names_an_http_server() {
        for url in ["", "127.0.0.1:8080", "ftp://127.0.0.1", "http://"] {
            assert_eq!(Client::new(url, None).unwrap_err(), Invalid::Url(url.to_owned()));
        }
    }
}
