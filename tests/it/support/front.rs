//! A front before a server, at the level of TCP: it answers some requests itself, and can fall silent.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::within_patience;

/// Room for the head of any request that is looked at.
const HEAD_BYTES: usize = 16 << 10;

/// What the front answers in place of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refuse {
    Nothing,
    /// Every GET over REST, as Pub/Sub does to a role that may not look. gRPC is passed on.
    Looking,
    /// DescribeTable, as DynamoDB does to a role that may not.
    DescribeTable,
}

impl Refuse {
    fn answer(self, head: &[u8]) -> Option<String> {
        let contains = |text: &str| head.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()));
        let (status, body) = match self {
            Refuse::Looking if head.starts_with(b"GET ") => (
                "403 Forbidden",
                r#"{"error":{"code":403,"message":"User not authorized to perform this action.","status":"PERMISSION_DENIED"}}"#,
            ),
            Refuse::DescribeTable if contains("x-amz-target: DynamoDB_20120810.DescribeTable") => (
                "400 Bad Request",
                r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized to perform: dynamodb:DescribeTable"}"#,
            ),
            _ => return None,
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}");
        Some(format!("{head}\r\nconnection: close\r\n\r\n{body}"))
    }
}

/// A front on a port of its own. Dropping it cuts its connections.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    silence: Silence,
    _connections: JoinSet<()>,
}

impl Front {
    /// Before the server at `host:port`.
    pub(crate) async fn before(server: &str, refuse: Refuse) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let silence = Silence { silent: watch::Sender::new(false), held: watch::Sender::new(0) };
        let heard = silence.clone();
        let server = server.to_owned();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut passed = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                passed.spawn(pass(client, server.clone(), refuse, heard.clone()));
                while passed.try_join_next().is_some() {}
            }
        });
        Front { address, silence, _connections: connections }
    }

    /// From now on it accepts connections and requests, and passes nothing on in either direction.
    pub(crate) fn fall_silent(&self) {
        self.silence.silent.send_replace(true);
    }

    /// Waits until it has held back as many requests.
    pub(crate) async fn holds(&self, requests: usize) {
        let mut held = self.silence.held.subscribe();
        let enough = within_patience("requests before a silent front", held.wait_for(|held| *held >= requests)).await;
        enough.expect("the front is there");
    }

    /// Passes on again what it held back.
    pub(crate) fn speak(&self) {
        self.silence.silent.send_replace(false);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Whether the front passes anything on, and how often it did not.
#[derive(Debug, Clone)]
struct Silence {
    silent: watch::Sender<bool>,
    held: watch::Sender<usize>,
}

impl Silence {
    /// Waits until the front speaks.
    async fn is_over(&self) {
        if *self.silent.borrow() {
            self.held.send_modify(|held| *held += 1);
        }
        let mut silent = self.silent.subscribe();
        silent.wait_for(|silent| !silent).await.expect("this holds a sender");
    }
}

/// One connection. Its first request decides, which is enough where a client asks for the refused thing alone.
async fn pass(mut client: TcpStream, server: String, refuse: Refuse, silence: Silence) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_BYTES {
        match client.read_buf(&mut head).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
    silence.is_over().await;
    if let Some(answer) = refuse.answer(&head) {
        // The client that went away before its answer is no matter here.
        let _ = client.write_all(answer.as_bytes()).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = (server.set_nodelay(true), client.set_nodelay(true));
    if server.write_all(&head).await.is_err() {
        return;
    }
    let ((client_read, client_write), (server_read, server_write)) = (client.into_split(), server.into_split());
    tokio::join!(copy(client_read, server_write, &silence), copy(server_read, client_write, &silence));
}

async fn copy(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, silence: &Silence) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut chunk).await {
        silence.is_over().await;
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
