//! One address for two ways to a Pub/Sub: connections that publish take one, all others the other.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// `/google.pubsub.v1.Publisher/` and `/google.pubsub.v1.Subscriber/` as HPACK's Huffman code writes the beginning of
/// a path: <https://www.rfc-editor.org/rfc/rfc7541#appendix-B>.
const PUBLISHER: &[u8] = b"\x62\x63\x9e\x6a\x0a\xbd\x76\xc6\x8b\x63\x5f\xb8\x57\xd7\x6c\x74\x19\x13\x96\xc6";
const SUBSCRIBER: &[u8] = b"\x62\x63\x9e\x6a\x0a\xbd\x76\xc6\x8b\x63\x5f\xb8\x57\xdd\x6c\x68\x25\x86\x8c\xb6";

/// A fork on a port of its own. Dropping it cuts its connections.
pub(crate) struct Fork {
    pub(crate) address: SocketAddr,
    _connections: JoinSet<()>,
}

impl Fork {
    pub(crate) async fn between(publishing: &str, others: &str) -> Fork {
        let (publishing, others) = (publishing.to_owned(), others.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut passed = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                passed.spawn(pass(client, publishing.clone(), others.clone()));
                while passed.try_join_next().is_some() {}
            }
        });
        Fork { address, _connections: connections }
    }
}

/// One connection: a client of gRPC has another for publishing than for reading.
async fn pass(mut client: TcpStream, publishing: String, others: String) {
    let mut first = Vec::new();
    let has = |first: &[u8], path: &[u8]| first.windows(path.len()).any(|part| part == path);
    let way = loop {
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
    let Ok(mut server) = TcpStream::connect(way).await else { return };
    let _ = (server.set_nodelay(true), client.set_nodelay(true));
    if server.write_all(&first).await.is_ok() {
        // However it ends, both ends are dropped.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
