//! An HTTP proxy in front of an AWS server that refuses the requests that a test chooses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::with_timeout;

/// A request to a table or a queue.
pub(crate) struct Call {
    /// Its name in the API, e.g. `PutItem`.
    pub(crate) operation: String,
    /// The table or the queue, by name.
    pub(crate) resource: String,
    pub(crate) body: Value,
}

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The service has an internal error.
    Unavailable,
    /// The partition gets more requests than it can take.
    Throttled,
    /// There is no such table.
    Missing,
    /// The caller lacks the permission.
    Denied,
}

impl Refusal {
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Unavailable => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
            Refusal::Throttled => (StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException"),
            Refusal::Missing => (StatusCode::BAD_REQUEST, "ResourceNotFoundException"),
            Refusal::Denied => (StatusCode::BAD_REQUEST, "AccessDeniedException"),
        }
    }
}

type Rule = Box<dyn Fn(&Call) -> Option<Refusal> + Send>;

/// The running proxy. At first it refuses nothing.
pub(crate) struct Refusals {
    /// The URL of the server behind it.
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    server: String,
    rule: Mutex<Rule>,
    refused: watch::Sender<usize>,
}

impl Refusals {
    pub(crate) async fn start(server: &str) -> Refusals {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("a bound listener");
        let server = server.trim_start_matches("http://").to_owned();
        let rule: Rule = Box::new(|_| None);
        let shared = Arc::new(Shared { server, rule: Mutex::new(rule), refused: watch::Sender::new(0) });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("the proxy runs") });
        Refusals { endpoint: format!("http://{address}"), shared, _server: tasks }
    }

    /// Refuses the requests for which `rule` returns a refusal, and counts them anew.
    pub(crate) fn refuse(&self, rule: impl Fn(&Call) -> Option<Refusal> + Send + 'static) {
        let mut current = self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Box::new(rule);
        self.shared.refused.send_replace(0);
    }

    /// Refuses all requests to a table or a queue.
    pub(crate) fn refuse_all_of(&self, resource: &'static str, refusal: Refusal) {
        self.refuse(move |call| (call.resource == resource).then_some(refusal));
    }

    pub(crate) fn refuse_nothing(&self) {
        self.refuse(|_| None);
    }

    /// Waits until this many requests were refused.
    pub(crate) async fn until_refused(&self, count: usize) {
        let mut refused = self.shared.refused.subscribe();
        drop(with_timeout("refused requests", refused.wait_for(|refused| *refused >= count)).await);
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let call = call(&headers, &body);
    let refusal = {
        let rule = shared.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = rule(&call);
        if refusal.is_some() {
            shared.refused.send_modify(|refused| *refused += 1);
        }
        refusal
    };
    match refusal {
        None => forward(&shared.server, &headers, &body).await,
        Some(refusal) => {
            let (status, code) = refusal.answer();
            let error = json!({ "__type": format!("com.amazonaws#{code}"), "message": "a fault of the test" });
            response(status, [("content-type", "application/x-amz-json-1.0")], error.to_string().into())
        }
    }
}

fn call(headers: &HeaderMap, body: &Bytes) -> Call {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let named = ["TableName", "QueueName", "QueueUrl"].iter().find_map(|name| body[*name].as_str());
    let resource = named.and_then(|named| named.rsplit('/').next()).unwrap_or_default().to_owned();
    Call { operation: target.rsplit('.').next().unwrap_or_default().to_owned(), resource, body }
}

/// Sends a request on a connection of its own, and reads the answer to its end.
async fn forward(server: &str, headers: &HeaderMap, body: &Bytes) -> Response<Body> {
    match exchange(server, headers, body).await {
        Ok(answer) => parse(&answer),
        Err(error) => response(StatusCode::BAD_GATEWAY, [], error.to_string().into()),
    }
}

async fn exchange(server: &str, headers: &HeaderMap, body: &Bytes) -> std::io::Result<Vec<u8>> {
    let mut request =
        format!("POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers.iter().filter(|(name, _)| !["connection", "content-length"].contains(&name.as_str())) {
        request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&request).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Response<Body> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let body = Bytes::copy_from_slice(&answer[end + 4..]);
    response(StatusCode::from_u16(status).expect("a status"), headers, body)
}

/// Returns a response with those of the headers that are not about its connection.
fn response<'a>(
    status: StatusCode,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: Bytes,
) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        assert_ne!(name, "transfer-encoding", "the embedded servers send whole bodies");
        if !["connection", "content-length"].contains(&name) {
            response = response.header(name, value);
        }
    }
    response.body(Body::from(body)).expect("a valid response")
}
