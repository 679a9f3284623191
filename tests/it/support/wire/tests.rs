//! What the wire does, seen by a client before a server that says everything back.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::Wire;
use crate::support::{QUIET, within_patience};

/// A server that says everything back, and a wire before it.
async fn echo() -> (Wire, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let wire = Wire::before(&listener.local_addr().expect("a bound listener").to_string());
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = client.split();
                // The client that was cut off is no matter here.
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    (wire, server)
}

struct Client(TcpStream);

impl Client {
    async fn open(wire: &Wire) -> Client {
        let mut client = Client(TcpStream::connect(wire.address).await.expect("the wire takes connections"));
        client.echoes().await;
        client
    }

    async fn say(&mut self) {
        self.0.write_all(b"word").await.expect("the wire takes bytes");
    }

    async fn hear(&mut self) {
        let mut word = [0; 4];
        let heard = within_patience("an echo", self.0.read_exact(&mut word)).await;
        assert_eq!((heard.expect("an open connection"), &word), (4, b"word"));
    }

    async fn echoes(&mut self) {
        self.say().await;
        self.hear().await;
    }

    /// Whether it says a word and hears nothing.
    async fn is_frozen(&mut self) -> bool {
        self.say().await;
        timeout(QUIET, self.0.read_u8()).await.is_err()
    }

    async fn is_cut(&mut self) -> bool {
        within_patience("the end of a connection", self.0.read_u8()).await.is_err()
    }
}

#[tokio::test]
async fn a_cut_ends_what_is_open_and_nothing_new() {
    let (wire, _server) = echo().await;
    let mut old = Client::open(&wire).await;

    wire.cut();

    let mut new = Client::open(&wire).await;
    assert!(old.is_cut().await);
    new.echoes().await;
}

#[tokio::test]
async fn a_refusal_keeps_what_is_open_and_is_taken_back() {
    let (wire, _server) = echo().await;
    let mut old = Client::open(&wire).await;

    for _ in 0..2 {
        wire.refuse().await;
        let refused = TcpStream::connect(wire.address).await.expect_err("a connection in spite of a refusal");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        old.echoes().await;
        wire.accept().await;
        Client::open(&wire).await;
    }
}

#[tokio::test]
async fn what_is_open_can_be_frozen_while_new_connections_work() {
    let (wire, _server) = echo().await;
    let mut old = Client::open(&wire).await;

    wire.freeze_open();

    assert!(old.is_frozen().await);
    let mut new = Client::open(&wire).await;
    wire.thaw();
    old.hear().await;
    old.echoes().await;
    new.echoes().await;
}

#[tokio::test]
async fn everything_can_be_frozen_and_a_thaw_passes_on_what_was_held() {
    let (wire, _server) = echo().await;
    let mut old = Client::open(&wire).await;

    wire.freeze();

    let mut new = Client(TcpStream::connect(wire.address).await.expect("a frozen wire takes connections"));
    wire.opens(2).await;
    assert!(old.is_frozen().await && new.is_frozen().await);
    wire.holds(2).await;
    wire.thaw();
    old.hear().await;
    new.hear().await;
    assert_eq!(wire.opened(), 2);
}

#[tokio::test]
async fn a_delay_holds_every_byte_in_each_direction() {
    const DELAY: Duration = Duration::from_millis(150);
    let (wire, _server) = echo().await;
    let mut client = Client::open(&wire).await;

    wire.delay(DELAY);

    let said = Instant::now();
    client.echoes().await;
    assert!(said.elapsed() >= 2 * DELAY, "it took {:?}", said.elapsed());
}
