//! A server that does one thing to every connection, whatever it is asked; and a proxy that answers some requests
//! itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does to a connection.
#[derive(Debug, Clone)]
pub(super) enum Conduct {
    /// Reads the request, writes this, and closes.
    Answer(String),
    /// Reads nothing, and keeps the connection.
    HangUnread,
    /// Reads the request, and keeps the connection.
    HangRead,
    /// Leaves the request unread and closes, which resets the connection.
    Reset,
}

/// On a port of its own. Dropping it cuts its connections.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    _connections: JoinSet<()>,
}

impl Server {
    /// Does the same to every connection.
    pub(super) async fn start(conduct: Conduct) -> Server {
        Server::start_after(None, conduct).await
    }

    /// One that does another thing to its first connection.
    pub(super) async fn start_after(first: Option<Conduct>, conduct: Conduct) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut first = first;
            let mut open = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                open.spawn(first.take().unwrap_or_else(|| conduct.clone()).on(connection));
            }
        });
        Server { address, _connections: connections }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Conduct {
    async fn on(self, mut connection: TcpStream) {
        match self {
            Conduct::Answer(answer) => {
                read_request(&mut connection).await;
                let _ = connection.write_all(answer.as_bytes()).await;
            }
            Conduct::HangUnread => std::future::pending().await,
            Conduct::HangRead => {
                read_request(&mut connection).await;
                std::future::pending().await
            }
            Conduct::Reset => {
                // What is there and not read turns the close into a reset.
                let _ = connection.readable().await;
            }
        }
    }
}

/// What a proxy answers to a request in place of the server, if anything.
type Rule = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Before a server, on a port of its own. Dropping it cuts its connections.
pub(super) struct Proxy {
    pub(super) url: String,
    passes: Arc<AtomicBool>,
    _connections: JoinSet<()>,
}

impl Proxy {
    /// Before the server at `url`.
    pub(super) async fn before(url: &str, rule: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Proxy {
        let server = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener"));
        let rule: Arc<Rule> = Arc::new(rule);
        let passes = Arc::new(AtomicBool::new(false));
        let passed = passes.clone();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(one_request(client, server.clone(), rule.clone(), passed.clone()));
                while open.try_join_next().is_some() {}
            }
        });
        Proxy { url, passes, _connections: connections }
    }

    /// From now on everything is passed on.
    pub(super) fn pass(&self) {
        self.passes.store(true, Ordering::Release);
    }
}

/// Each request has a connection of its own, so that what comes back ends with it.
async fn one_request(mut client: TcpStream, server: String, rule: Arc<Rule>, passes: Arc<AtomicBool>) {
    let request = read_request(&mut client).await;
    let answer = if passes.load(Ordering::Acquire) { None } else { rule(&request) };
    if let Some(answer) = answer {
        // The client that went away before its answer is no matter here.
        let _ = client.write_all(answer.as_bytes()).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    if server.write_all(request.as_bytes()).await.is_ok() {
        let _ = tokio::io::copy(&mut server, &mut client).await;
    }
}

/// Reads head and body. A client that goes away ends it too.
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

/// An answer over HTTP, whole.
pub(super) fn http(status: u16, content_type: &str, body: &str) -> String {
    let head = format!("HTTP/1.1 {status} Any\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    let kind = if body.is_empty() { String::new() } else { format!("content-type: {content_type}\r\n") };
    format!("{head}{kind}\r\n{body}")
}

/// An error as DynamoDB writes it, with what belongs to it beside code and message.
pub(super) fn error(status: u16, code: &str, message: &str, more: &str) -> String {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"{message}"{more}}}"#);
    http(status, "application/x-amz-json-1.0", &body)
}
