//! An HTTP proxy before a DynamoDB. For each request a closure decides whether to forward it, delay it, answer it
//! instead of the server, or close the connection before or after the server has acted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The longest head of a request or a response.
const HEAD_BYTES: usize = 16 << 10;

/// What the proxy does with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Forward,
    /// Performs the other action after this time.
    Delay(Duration, Box<Action>),
    /// Responds with this status and body. The server does not receive the request.
    Respond(u16, String),
    /// Closes the connection before the server receives the request.
    CloseBefore,
    /// Forwards the request, and closes the connection instead of returning the response.
    CloseAfter,
    /// Neither forwards the request nor responds.
    Hang,
}

impl Action {
    /// Returns DynamoDB's response when a table, or a part of it, is written too fast. `reason` is one of
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ThrottlingReason.html>. Older parts of the
    /// service give no reason.
    pub(crate) fn throttled(reason: Option<&str>) -> Action {
        let mut body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "message": "Throughput exceeds the current capacity of your table or index.",
        });
        if let Some(reason) = reason {
            let resource = "arn:aws:dynamodb:us-east-1:000000000000:table/scans";
            body["ThrottlingReasons"] = json!([{ "reason": reason, "resource": resource }]);
        }
        Action::Respond(400, body.to_string())
    }

    pub(crate) fn after(self, delay: Duration) -> Action {
        Action::Delay(delay, Box::new(self))
    }

    /// Returns DynamoDB's response to an internal error.
    pub(crate) fn internal_error() -> Action {
        let body = json!({ "__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "injected" });
        Action::Respond(500, body.to_string())
    }

    /// Returns the response of a load balancer or proxy in front of the service.
    pub(crate) fn unavailable() -> Action {
        Action::Respond(503, String::new())
    }
}

/// One request, as the client sent it.
pub(crate) struct Request {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    /// Returns whether the request writes one item, as the consumer does by default.
    pub(crate) fn is_put(&self) -> bool {
        self.is(".PutItem")
    }

    /// Returns whether the request writes one item or several.
    pub(crate) fn is_write(&self) -> bool {
        self.is_put() || self.is(".BatchExecuteStatement")
    }

    fn is(&self, operation: &str) -> bool {
        header(&self.head, "x-amz-target").is_some_and(|target| target.ends_with(operation))
    }

    /// Returns the key of the item that the request writes.
    pub(crate) fn key(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["Item"]["pk"]["S"].as_str()?.to_owned())
    }
}

type Decide = Arc<dyn Fn(&Request) -> Action + Send + Sync>;

/// The proxy, on its own port. Dropping it closes its connections.
pub(crate) struct DynamoProxy {
    address: SocketAddr,
    server: watch::Sender<String>,
    _connections: JoinSet<()>,
}

impl DynamoProxy {
    /// Starts a proxy before the server at `host:port`. It calls `decide` once for every request.
    pub(crate) async fn before(
        server: &str,
        decide: impl Fn(&Request) -> Action + Send + Sync + 'static,
    ) -> DynamoProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let server = watch::Sender::new(server.to_owned());
        let (upstream, decide): (_, Decide) = (server.subscribe(), Arc::new(decide));
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(serve(client, upstream.clone(), decide.clone()));
                while open.try_join_next().is_some() {}
            }
        });
        DynamoProxy { address, server, _connections: connections }
    }

    /// Forwards new connections to another server.
    pub(crate) fn redirect_to(&self, server: &str) {
        self.server.send_replace(server.to_owned());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Serves one connection until either side closes it.
async fn serve(mut client: TcpStream, server: watch::Receiver<String>, decide: Decide) {
    let mut upstream = None;
    // A failure costs latency only.
    let _ = client.set_nodelay(true);
    while let Some((head, body)) = read(&mut client).await {
        let request = Request { head, body };
        let mut action = decide(&request);
        while let Action::Delay(delay, then) = action {
            tokio::time::sleep(delay).await;
            action = *then;
        }
        let response = match &action {
            Action::CloseBefore => return,
            Action::Hang => {
                // Keeps the connection open until the client closes it.
                while client.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
                return;
            }
            Action::Respond(status, body) => Some(response(*status, body)),
            Action::Forward | Action::CloseAfter | Action::Delay(..) => forward(&mut upstream, &server, &request).await,
        };
        let Some(response) = response.filter(|_| action != Action::CloseAfter) else { return };
        if client.write_all(&response).await.is_err() {
            return;
        }
    }
}

/// Forwards a request over `upstream`, which is the client's own connection to the server, and returns the response.
async fn forward(
    upstream: &mut Option<TcpStream>,
    server: &watch::Receiver<String>,
    request: &Request,
) -> Option<Vec<u8>> {
    let connection = match upstream {
        Some(connection) => connection,
        None => {
            let address = server.borrow().clone();
            let connection = TcpStream::connect(address).await.ok()?;
            let _ = connection.set_nodelay(true);
            upstream.insert(connection)
        }
    };
    let Request { head, body } = request;
    connection.write_all(&[head.as_slice(), body].concat()).await.ok()?;
    let (mut head, body) = read(connection).await?;
    head.extend(body);
    Some(head)
}

fn response(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} \r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{body}")
        .into()
}

/// Reads the head and the body of the next message. Returns `None` at the end of the connection. Both sides send
/// `content-length` with every body.
async fn read(connection: &mut TcpStream) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::with_capacity(2 << 10);
    let end = loop {
        if let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > HEAD_BYTES || connection.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = head.split_off(end);
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while body.len() < length {
        if connection.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = std::str::from_utf8(head).ok()?.lines();
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
