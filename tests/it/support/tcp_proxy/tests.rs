//! The proxy's effects, as a client of an echo server observes them.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::TcpProxy;
use crate::support::with_timeout;

/// Starts an echo server and a proxy before it.
async fn echo() -> (TcpProxy, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let proxy = TcpProxy::before(&listener.local_addr().expect("a bound listener").to_string());
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = client.split();
                // A copy fails when the proxy closes the connection, which some tests want.
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    (proxy, server)
}

struct Client(TcpStream);

impl Client {
    async fn connect(proxy: &TcpProxy) -> Client {
        let mut client = Client(TcpStream::connect(proxy.address).await.expect("the proxy accepts connections"));
        client.round_trip().await;
        client
    }

    async fn send(&mut self) {
        self.0.write_all(b"word").await.expect("the proxy accepts bytes");
    }

    async fn receive(&mut self) {
        let mut word = [0; 4];
        let received = with_timeout("an echo", self.0.read_exact(&mut word)).await;
        assert_eq!((received.expect("an open connection"), &word), (4, b"word"));
    }

    async fn round_trip(&mut self) {
        self.send().await;
        self.receive().await;
    }

    fn has_no_echo(&self) -> bool {
        self.0.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    async fn is_closed(&mut self) -> bool {
        with_timeout("the end of a connection", self.0.read_u8()).await.is_err()
    }
}

#[tokio::test]
async fn close_open_closes_open_connections_only() {
    let (proxy, _server) = echo().await;
    let mut old = Client::connect(&proxy).await;

    proxy.close_open();

    let mut new = Client::connect(&proxy).await;
    assert!(old.is_closed().await);
    new.round_trip().await;
}

#[tokio::test]
async fn refuse_keeps_open_connections_and_accept_ends_it() {
    let (proxy, _server) = echo().await;
    let mut old = Client::connect(&proxy).await;

    for _ in 0..2 {
        proxy.refuse().await;
        let refused = TcpStream::connect(proxy.address).await.expect_err("the proxy accepted a connection");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        old.round_trip().await;
        proxy.accept().await;
        Client::connect(&proxy).await;
    }
}

#[tokio::test]
async fn freeze_open_freezes_open_connections_only() {
    let (proxy, _server) = echo().await;
    let mut old = Client::connect(&proxy).await;

    proxy.freeze_open();

    old.send().await;
    proxy.wait_for_stalled(1).await;
    let mut new = Client::connect(&proxy).await;
    assert!(old.has_no_echo());
    proxy.thaw();
    old.receive().await;
    old.round_trip().await;
    new.round_trip().await;
}

#[tokio::test]
async fn freeze_freezes_all_connections_and_thaw_forwards_the_stalled_bytes() {
    let (proxy, _server) = echo().await;
    let mut old = Client::connect(&proxy).await;

    proxy.freeze();

    let mut new = Client(TcpStream::connect(proxy.address).await.expect("a frozen proxy accepts connections"));
    proxy.wait_for_opened(2).await;
    old.send().await;
    new.send().await;
    proxy.wait_for_stalled(2).await;
    assert!(old.has_no_echo() && new.has_no_echo());
    proxy.thaw();
    old.receive().await;
    new.receive().await;
    assert_eq!(proxy.opened(), 2);
}

#[tokio::test]
async fn delay_applies_in_each_direction() {
    const DELAY: Duration = Duration::from_millis(150);
    let (proxy, _server) = echo().await;
    let mut client = Client::connect(&proxy).await;

    proxy.delay(DELAY);

    let sent = Instant::now();
    client.round_trip().await;
    assert!(sent.elapsed() >= 2 * DELAY, "the round trip took {:?}", sent.elapsed());
}
