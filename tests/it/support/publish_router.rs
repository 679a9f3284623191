//! A proxy that sends connections that publish to one address, and all others to another.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The beginnings of the paths `/google.pubsub.v1.Publisher/` and `/google.pubsub.v1.Subscriber/` in HPACK's Huffman
/// code: <https://www.rfc-editor.org/rfc/rfc7541#appendix-B>.
const PUBLISHER: &[u8] = b"\x62\x63\x9e\x6a\x0a\xbd\x76\xc6\x8b\x63\x5f\xb8\x57\xd7\x6c\x74\x19\x13\x96\xc6";
const SUBSCRIBER: &[u8] = b"\x62\x63\x9e\x6a\x0a\xbd\x76\xc6\x8b\x63\x5f\xb8\x57\xdd\x6c\x68\x25\x86\x8c\xb6";

/// The proxy, on its own port. Dropping it closes its connections.
pub(crate) struct PublishRouter {
    pub(crate) address: SocketAddr,
    _connections: JoinSet<()>,
}

impl PublishRouter {
    /// Starts a proxy before `publishing` and `others`, both `host:port`.
    pub(crate) async fn start(publishing: &str, others: &str) -> PublishRouter {
        let (publishing, others) = (publishing.to_owned(), others.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(forward(client, publishing.clone(), others.clone()));
                while open.try_join_next().is_some() {}
            }
        });
        PublishRouter { address, _connections: connections }
    }
}

/// Forwards one connection. Google's client publishes and subscribes over different connections.
async fn forward(mut client: TcpStream, publishing: String, others: String) {
    let mut first = Vec::new();
    let has = |first: &[u8], path: &[u8]| first.windows(path.len()).any(|part| part == path);
    let upstream = loop {
        match client.read_buf(&mut first).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        if has(&first, PUBLISHER) {
            break publishing;
        }
        if has(&first, SUBSCRIBER) || !first.starts_with(b"PRI") {
            break others;
        }
    };
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let _ = (server.set_nodelay(true), client.set_nodelay(true));
    if server.write_all(&first).await.is_ok() {
        // Both connections are dropped afterwards, so the result does not matter.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
