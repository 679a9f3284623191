//! A proxy before an HTTP server. It can answer some requests itself, and it can stop forwarding.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::tcp_proxy::{Inspection, TcpProxy};

/// Enough for the head of every request that the proxy inspects.
const HEAD_BYTES: usize = 16 << 10;

const DESCRIBE_TABLE: &str = "x-amz-target: DynamoDB_20120810.DescribeTable";

/// The requests that the proxy answers with an error instead of forwarding them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reject {
    Nothing,
    /// Every GET over REST, with Pub/Sub's error for a missing permission. gRPC is forwarded.
    Gets,
    /// DescribeTable, with DynamoDB's error for a missing permission.
    DescribeTable,
    /// DescribeTable, with DynamoDB's error for too many requests.
    ThrottleDescribeTable,
}

impl Reject {
    /// Decides by the first request of a connection. That suffices because the rejected requests come first.
    fn inspect(self, first: &[u8]) -> Inspection {
        if !first.windows(4).any(|end| end == b"\r\n\r\n") && first.len() < HEAD_BYTES {
            return Inspection::NeedsMore;
        }
        let contains = |text: &str| first.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()));
        let (status, body) = match self {
            Reject::Gets if first.starts_with(b"GET ") => (
                "403 Forbidden",
                r#"{"error":{"code":403,"message":"User not authorized to perform this action.","status":"PERMISSION_DENIED"}}"#,
            ),
            Reject::DescribeTable if contains(DESCRIBE_TABLE) => (
                "400 Bad Request",
                r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized to perform: dynamodb:DescribeTable"}"#,
            ),
            Reject::ThrottleDescribeTable if contains(DESCRIBE_TABLE) => (
                "400 Bad Request",
                r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"Rate exceeded"}"#,
            ),
            _ => return Inspection::Forward,
        };
        respond(status, body)
    }
}

fn respond(status: &str, body: &str) -> Inspection {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}");
    Inspection::Respond(format!("{head}\r\nconnection: close\r\n\r\n{body}"))
}

/// An answer of the proxy to each connection whose first request contains a text.
pub(crate) struct Answer {
    pub(crate) to: String,
    /// The status code and its reason.
    pub(crate) status: &'static str,
    pub(crate) body: String,
}

/// The proxy, on its own port. Dropping it closes its connections.
pub(crate) struct HttpProxy {
    pub(crate) address: SocketAddr,
    proxy: TcpProxy,
    answered: Arc<AtomicUsize>,
}

impl HttpProxy {
    /// Starts a proxy before the server at `host:port`.
    pub(crate) async fn before(server: &str, reject: Reject) -> HttpProxy {
        HttpProxy::inspecting(server, move |first| reject.inspect(first))
    }

    /// Starts a proxy before the server at `host:port`. It forwards the connections that have no answer.
    pub(crate) fn answering(server: &str, answers: Vec<Answer>) -> HttpProxy {
        let inspect = move |first: &[u8]| {
            let text = String::from_utf8_lossy(first);
            if !text.contains("\r\n\r\n") && first.len() < HEAD_BYTES {
                return Inspection::NeedsMore;
            }
            let answer = answers.iter().find(|answer| text.contains(&answer.to));
            answer.map_or(Inspection::Forward, |answer| respond(answer.status, &answer.body))
        };
        HttpProxy::inspecting(server, inspect)
    }

    fn inspecting(server: &str, inspect: impl Fn(&[u8]) -> Inspection + Send + Sync + 'static) -> HttpProxy {
        let answered = Arc::<AtomicUsize>::default();
        let counter = answered.clone();
        let counting = move |first: &[u8]| {
            let inspection = inspect(first);
            counter.fetch_add(usize::from(matches!(inspection, Inspection::Respond(_))), Ordering::Relaxed);
            inspection
        };
        let proxy = TcpProxy::inspecting(server, Arc::new(counting));
        HttpProxy { address: proxy.address, proxy, answered }
    }

    /// Returns the number of requests that the proxy has answered itself so far.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Accepts connections and requests from now on, but forwards nothing in either direction.
    pub(crate) fn freeze(&self) {
        self.proxy.freeze();
    }

    /// Waits until the proxy has stalled `requests` requests.
    pub(crate) async fn wait_for_stalled(&self, requests: usize) {
        self.proxy.wait_for_stalled(requests).await;
    }

    /// Forwards the stalled requests and everything that follows.
    pub(crate) fn thaw(&self) {
        self.proxy.thaw();
    }

    pub(crate) fn url(&self) -> String {
        self.proxy.url()
    }
}
