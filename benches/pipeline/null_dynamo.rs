//! A DynamoDB that stores no records and responds at once, over the subset of HTTP/1.1 that the SDK needs, on its own
//! thread. It counts writes, their units, and the bytes in both directions.

mod records;
mod responses;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

pub(crate) use self::records::Contents;
use self::records::{Decision, Records, Verb};
use self::wire::{Batch, Put, Record, units};
use crate::http::{self, position};
use crate::record::STORED_TIMESTAMP;

/// A write of a scan of this service never gets a response.
pub(crate) const UNANSWERED_SERVICE: &str = "HOLD";

/// How the table responds to a write.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Behaviour {
    /// The latency, until [`NullDynamo::respond_at_once`].
    pub(crate) latency: Option<Duration>,
    pub(crate) contents: Contents,
    /// Whether scans of [`UNANSWERED_SERVICE`] occur.
    pub(crate) has_unanswered: bool,
}

/// The server. Dropping it stops it.
pub(crate) struct NullDynamo {
    address: SocketAddr,
    counters: Arc<Counters>,
    at_once: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counters {
    writes: AtomicU64,
    units: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    stale: AtomicU64,
    connections: AtomicU64,
    first: OnceLock<Instant>,
}

/// The requests so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// PutItems, and statements of batches.
    pub(crate) writes: u64,
    /// The write units that they consumed.
    pub(crate) units: u64,
    /// Bytes of requests, including headers.
    pub(crate) received: u64,
    /// Bytes of responses, including headers.
    pub(crate) sent: u64,
    /// The writes whose condition failed because the record was up to date.
    pub(crate) stale: u64,
    /// The most connections that were open at the same time.
    pub(crate) connections: u64,
}

impl NullDynamo {
    /// Starts the server; `known` are the keys of its initial records.
    pub(crate) fn start(behaviour: Behaviour, known: &[String]) -> io::Result<NullDynamo> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let (at_once, is_at_once) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let server = Server {
            behaviour,
            counters: counters.clone(),
            is_at_once,
            records: Arc::new(Mutex::new(Records::new(behaviour.contents, known, STORED_TIMESTAMP))),
            stored: responses::ok("{}").into(),
            described: responses::ok(responses::DESCRIPTION).into(),
        };
        let thread = std::thread::Builder::new().name("null-dynamodb".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    result = accept(listener, server) => if let Err(error) = result {
                        eprintln!("the null DynamoDB stopped: {error}");
                    }
                }
            });
        })?;
        Ok(NullDynamo { address, counters, at_once, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let Counters { writes, units, received, sent, stale, connections, .. } = &*self.counters;
        let [writes, units, received, sent, stale, connections] =
            [writes, units, received, sent, stale, connections].map(|count| count.load(Ordering::Relaxed));
        Traffic { writes, units, received, sent, stale, connections }
    }

    pub(crate) fn first_write(&self) -> Option<Instant> {
        self.counters.first.get().copied()
    }

    /// Responds at once to the requests that wait, and to all later ones.
    pub(crate) fn respond_at_once(&self) {
        self.at_once.send_replace(true);
    }
}

impl Drop for NullDynamo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error means that the thread panicked, and the panic printed its message.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Server {
    behaviour: Behaviour,
    counters: Arc<Counters>,
    is_at_once: watch::Receiver<bool>,
    records: Arc<Mutex<Records>>,
    stored: Arc<[u8]>,
    described: Arc<[u8]>,
}

async fn accept(listener: std::net::TcpListener, server: Server) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = accepted?.0;
                stream.set_nodelay(true)?;
                connections.spawn(serve(stream, server.clone()));
                server.counters.connections.fetch_max(connections.len() as u64, Ordering::Relaxed);
            }
            // Clients may disconnect at any time. Only requests that cannot be parsed are reported.
            Some(ended) = connections.join_next() => if let Ok(Err(error)) = ended
                && matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other)
            {
                eprintln!("the null DynamoDB received an invalid request: {error}");
            }
        }
    }
}

async fn serve(mut stream: TcpStream, mut server: Server) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(4 * 1024);
    while let Some(request) = http::read(&mut stream, &mut buffer).await? {
        let body = &buffer[request.body..request.end];
        let response = match operation(&buffer[..request.body]) {
            Operation::Put => server.put(body).await?,
            Operation::Batch => server.batch(body).await?.into(),
            Operation::Other => server.described.clone(),
        };
        server.counters.received.fetch_add(request.end as u64, Ordering::Relaxed);
        server.counters.sent.fetch_add(response.len() as u64, Ordering::Relaxed);
        stream.write_all(&response).await?;
        buffer.advance(request.end);
    }
    Ok(())
}

enum Operation {
    Put,
    Batch,
    Other,
}

fn operation(head: &[u8]) -> Operation {
    const VERSION: &[u8] = b"B_20120810.";
    match position(head, VERSION).map(|at| &head[at + VERSION.len()..]) {
        Some(name) if name.starts_with(b"PutItem") => Operation::Put,
        Some(name) if name.starts_with(b"BatchExecuteStatement") => Operation::Batch,
        _ => Operation::Other,
    }
}

impl Server {
    /// Counts writes, and waits for the configured latency.
    async fn wait(&mut self, body: &[u8], writes: usize) {
        self.counters.writes.fetch_add(writes as u64, Ordering::Relaxed);
        self.counters.first.get_or_init(Instant::now);
        if self.behaviour.has_unanswered && position(body, UNANSWERED_SERVICE.as_bytes()).is_some() {
            std::future::pending::<()>().await;
        }
        if let Some(latency) = self.behaviour.latency {
            // An error means that the sender is gone, because the server stops.
            let _ = timeout(latency, self.is_at_once.wait_for(|is_at_once| *is_at_once)).await;
        }
    }

    async fn put(&mut self, body: &[u8]) -> io::Result<Arc<[u8]>> {
        self.wait(body, 1).await;
        // A record is smaller than its request, so most requests need no parsing.
        if units(body.len()) == 1 && lock(&self.records).are_none() {
            self.counters.units.fetch_add(1, Ordering::Relaxed);
            return Ok(self.stored.clone());
        }
        let put: Put<'_> = serde_json::from_slice(body)?;
        Ok(match self.classify(Verb::Put, put.record())? {
            Decision::Stale(timestamp) => responses::stale(timestamp).into(),
            _ => self.stored.clone(),
        })
    }

    async fn batch(&mut self, body: &[u8]) -> io::Result<Vec<u8>> {
        let batch: Batch<'_> = serde_json::from_slice(body)?;
        self.wait(body, batch.statements.len()).await;
        let mut decisions = Vec::with_capacity(batch.statements.len());
        for statement in &batch.statements {
            let verb = if statement.is_insert() { Verb::Insert } else { Verb::Update };
            decisions.push(self.classify(verb, statement.record())?);
        }
        Ok(responses::batch(&decisions))
    }

    fn classify(&self, verb: Verb, record: Option<Record<'_>>) -> io::Result<Decision> {
        let Record { key, timestamp, units } = record.ok_or_else(|| io::Error::other("the write has no record"))?;
        let decision = lock(&self.records).write(verb, key, timestamp);
        // A failed condition consumes units by the size of the existing record, which is below 1 KB.
        if matches!(decision, Decision::Stale(_)) {
            self.counters.stale.fetch_add(1, Ordering::Relaxed);
        }
        self.counters.units.fetch_add(if decision == Decision::Stored { units } else { 1 }, Ordering::Relaxed);
        Ok(decision)
    }
}

fn lock(records: &Mutex<Records>) -> std::sync::MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}
