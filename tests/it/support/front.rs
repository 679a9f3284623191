//! A front before a server: a wire that answers some HTTP requests itself, and can fall silent.

use std::net::SocketAddr;
use std::sync::Arc;

use super::wire::{Looked, Wire};

/// Room for the head of any request that is looked at.
const HEAD_BYTES: usize = 16 << 10;

const DESCRIBE_TABLE: &str = "x-amz-target: DynamoDB_20120810.DescribeTable";

/// What the front answers in place of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refuse {
    Nothing,
    /// Every GET over REST, as Pub/Sub does to a role that may not look. gRPC is passed on.
    Looking,
    /// DescribeTable, as DynamoDB does to a role that may not.
    DescribeTable,
    /// DescribeTable, as DynamoDB does where too many ask at once.
    DescribeTableForNow,
}

impl Refuse {
    /// Decides by a connection's first request, which is enough where a client asks for the refused thing alone.
    fn look(self, first: &[u8]) -> Looked {
        if !first.windows(4).any(|end| end == b"\r\n\r\n") && first.len() < HEAD_BYTES {
            return Looked::Unsure;
        }
        let contains = |text: &str| first.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()));
        let (status, body) = match self {
            Refuse::Looking if first.starts_with(b"GET ") => (
                "403 Forbidden",
                r#"{"error":{"code":403,"message":"User not authorized to perform this action.","status":"PERMISSION_DENIED"}}"#,
            ),
            Refuse::DescribeTable if contains(DESCRIBE_TABLE) => (
                "400 Bad Request",
                r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized to perform: dynamodb:DescribeTable"}"#,
            ),
            Refuse::DescribeTableForNow if contains(DESCRIBE_TABLE) => (
                "400 Bad Request",
                r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"Rate exceeded"}"#,
            ),
            _ => return Looked::Pass,
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}");
        Looked::Answer(format!("{head}\r\nconnection: close\r\n\r\n{body}"))
    }
}

/// A front on a port of its own. Dropping it cuts its connections.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    wire: Wire,
}

impl Front {
    /// Before the server at `host:port`.
    pub(crate) async fn before(server: &str, refuse: Refuse) -> Front {
        let wire = Wire::screening(server, Arc::new(move |first| refuse.look(first)));
        Front { address: wire.address, wire }
    }

    /// From now on it accepts connections and requests, and passes nothing on in either direction.
    pub(crate) fn fall_silent(&self) {
        self.wire.freeze();
    }

    /// Waits until it has held back as many requests.
    pub(crate) async fn holds(&self, requests: usize) {
        self.wire.holds(requests).await;
    }

    /// Passes on again what it held back.
    pub(crate) fn speak(&self) {
        self.wire.thaw();
    }

    pub(crate) fn url(&self) -> String {
        self.wire.url()
    }
}
