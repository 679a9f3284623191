//! The receiver, which notes when the webhook of each change arrives first.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::database::ip;
use super::until;
use crate::receiver::{ANSWER, end_of_request};

type Noted = Arc<Mutex<HashMap<Ipv4Addr, Instant>>>;

pub(super) struct Receipts {
    noted: Noted,
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Receipts {
    pub(super) async fn listen() -> io::Result<Receipts> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, noted) = (listener.local_addr()?, Noted::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, noted.clone()));
        Ok(Receipts { noted, address, _accepting: accepting })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when the webhook of a change arrived.
    pub(super) fn of(&self, number: u32) -> Option<Instant> {
        lock(&self.noted).get(&ip(number)).copied()
    }

    pub(super) async fn wait_for(&self, count: usize, limit: Duration) -> anyhow::Result<()> {
        until(limit, &format!("{count} webhooks"), || lock(&self.noted).len() >= count).await
    }
}

fn lock(noted: &Noted) -> MutexGuard<'_, HashMap<Ipv4Addr, Instant>> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, noted: Noted) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, noted.clone()));
    }
}

async fn serve(mut stream: TcpStream, noted: Noted) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    loop {
        while let Some(end) = end_of_request(&buffer) {
            let now = Instant::now();
            if let Some(ip) = address(&buffer[..end]) {
                lock(&noted).entry(ip).or_insert(now);
            }
            buffer.advance(end);
            stream.write_all(ANSWER).await?;
        }
        buffer.reserve(4 << 10);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Returns the address in the body of a webhook.
fn address(request: &[u8]) -> Option<Ipv4Addr> {
    const START: &[u8] = br#""ip":""#;
    let at = request.windows(START.len()).position(|window| window == START)? + START.len();
    let length = request[at..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&request[at..at + length]).ok()?.parse().ok()
}
