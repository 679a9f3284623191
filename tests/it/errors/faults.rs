//! A server that treats every connection in one way, and a proxy that answers some requests itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with a connection.
#[derive(Debug, Clone)]
pub(super) enum Conduct {
    /// Reads the request, writes this response, and closes the connection.
    Respond(String),
    /// Reads nothing, and keeps the connection open.
    HangUnread,
    /// Reads the request, and keeps the connection open.
    HangRead,
    /// Closes the connection without reading the request, which resets it.
    Reset,
}

/// The server, on its own port. Dropping it closes its connections.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    _connections: JoinSet<()>,
}

impl Server {
    /// Starts a server that treats all connections in the same way.
    pub(super) async fn start(conduct: Conduct) -> Server {
        Server::start_with_first(None, conduct).await
    }

    /// Starts a server that may treat its first connection in another way.
    pub(super) async fn start_with_first(first: Option<Conduct>, conduct: Conduct) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut first = first;
            let mut open = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                open.spawn(first.take().unwrap_or_else(|| conduct.clone()).apply(connection));
            }
        });
        Server { address, _connections: connections }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Conduct {
    async fn apply(self, mut connection: TcpStream) {
        match self {
            Conduct::Respond(response) => {
                read_request(&mut connection).await;
                let _ = connection.write_all(response.as_bytes()).await;
            }
            Conduct::HangUnread => std::future::pending().await,
            Conduct::HangRead => {
                read_request(&mut connection).await;
                std::future::pending().await
            }
            Conduct::Reset => {
                // Closing a connection with unread bytes resets it.
                let _ = connection.readable().await;
            }
        }
    }
}

/// Returns the proxy's own response to a request, or `None` to forward the request.
type Rule = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The proxy, on its own port. Dropping it closes its connections.
pub(super) struct Proxy {
    pub(super) url: String,
    forwards_all: Arc<AtomicBool>,
    _connections: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy before the server at `url`.
    pub(super) async fn before(url: &str, rule: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Proxy {
        let server = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener"));
        let rule: Arc<Rule> = Arc::new(rule);
        let forwards_all = Arc::new(AtomicBool::new(false));
        let forwards = forwards_all.clone();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(serve(client, server.clone(), rule.clone(), forwards.clone()));
                while open.try_join_next().is_some() {}
            }
        });
        Proxy { url, forwards_all, _connections: connections }
    }

    /// Forwards all requests from now on.
    pub(super) fn forward_all(&self) {
        self.forwards_all.store(true, Ordering::Release);
    }
}

/// Serves one request. Each request has its own connection, so that the end of the connection ends the response.
async fn serve(mut client: TcpStream, server: String, rule: Arc<Rule>, forwards_all: Arc<AtomicBool>) {
    let request = read_request(&mut client).await;
    let response = if forwards_all.load(Ordering::Acquire) { None } else { rule(&request) };
    if let Some(response) = response {
        // The client may have closed the connection already.
        let _ = client.write_all(response.as_bytes()).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    if server.write_all(request.as_bytes()).await.is_ok() {
        let _ = tokio::io::copy(&mut server, &mut client).await;
    }
}

/// Reads the head and the body of a request. Returns what it has if the client closes the connection.
async fn read_request(connection: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while let Ok(1..) = connection.read_buf(&mut request).await {
        let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        if request.len() >= end + 4 + length {
            break;
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}

/// Returns an HTTP response.
pub(super) fn http(status: u16, content_type: &str, body: &str) -> String {
    let head = format!("HTTP/1.1 {status} Any\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    let kind = if body.is_empty() { String::new() } else { format!("content-type: {content_type}\r\n") };
    format!("{head}{kind}\r\n{body}")
}

/// Returns an error response of DynamoDB. `more` has further JSON members, each after a comma.
pub(super) fn error(status: u16, code: &str, message: &str, more: &str) -> String {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"{message}"{more}}}"#);
    http(status, "application/x-amz-json-1.0", &body)
}
