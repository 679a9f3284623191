//! A proxy before an HTTP server. It can answer some requests itself, and it can stop forwarding.

use std::net::SocketAddr;
use std::sync::Arc;

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
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}");
        Inspection::Respond(format!("{head}\r\nconnection: close\r\n\r\n{body}"))
    }
}

/// The proxy, on its own port. Dropping it closes its connections.
pub(crate) struct HttpProxy {
    pub(crate) address: SocketAddr,
    proxy: TcpProxy,
}

impl HttpProxy {
    /// Starts a proxy before the server at `host:port`.
    pub(crate) async fn before(server: &str, reject: Reject) -> HttpProxy {
        let proxy = TcpProxy::inspecting(server, Arc::new(move |first| reject.inspect(first)));
        HttpProxy { address: proxy.address, proxy }
    }

    /// Accepts connections and requests from now on, but forwards nothing in either direction.
    pub(crate) fn freeze(&self) {
        self.proxy.freeze();
    }

    /// Waits until the proxy holds back `requests` requests.
    pub(crate) async fn wait_for_held(&self, requests: usize) {
        self.proxy.wait_for_held(requests).await;
    }

    /// Forwards everything that the proxy held back, and all that follows.
    pub(crate) fn thaw(&self) {
        self.proxy.thaw();
    }

    pub(crate) fn url(&self) -> String {
        self.proxy.url()
    }
}
