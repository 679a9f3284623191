//! A DynamoDB that keeps no records and answers at once: HTTP/1.1, as little of it as the SDK needs, on a thread of its
//! own. It counts writes, their units and the bytes of both directions, so what it is asked is known.

mod answers;
mod records;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

pub(crate) use self::records::Holds;
use self::records::{Decision, Records, Verb};
use self::wire::{Batch, Put, Record, units};

/// A write of a scan of this service is never answered.
pub(crate) const HELD_SERVICE: &str = "HOLD";
/// Of the records that a table has from the start.
pub(crate) const HELD_TIMESTAMP: u64 = 1_740_000_000;

/// What a write is answered with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answers {
    /// How late, until [`NullDynamo::hurry`].
    pub(crate) latency: Option<Duration>,
    pub(crate) holds: Holds,
    /// Whether scans of [`HELD_SERVICE`] are waited for.
    pub(crate) held: bool,
}

/// The server; dropping it stops it.
pub(crate) struct NullDynamo {
    address: SocketAddr,
    seen: Arc<Seen>,
    hurry: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    writes: AtomicU64,
    units: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    first: OnceLock<Instant>,
}

/// What was asked so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// PutItems, and statements of batches.
    pub(crate) writes: u64,
    /// Write units that they cost.
    pub(crate) units: u64,
    /// Bytes of requests, with their heads.
    pub(crate) received: u64,
    /// Bytes of answers, with their heads.
    pub(crate) sent: u64,
}

impl NullDynamo {
    /// `known` are the keys of the records that it begins with.
    pub(crate) fn start(answers: Answers, known: &[String]) -> io::Result<NullDynamo> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let (hurry, hurried) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let all = Served {
            answers,
            seen: seen.clone(),
            hurried,
            records: Arc::new(Mutex::new(Records::new(answers.holds, known, HELD_TIMESTAMP))),
            stored: answers::ok("{}").into(),
            described: answers::ok(answers::DESCRIPTION).into(),
        };
        let thread = std::thread::Builder::new().name("null-dynamodb".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    result = accept(listener, all) => if let Err(error) = result {
                        eprintln!("the null DynamoDB stopped: {error}");
                    }
                }
            });
        })?;
        Ok(NullDynamo { address, seen, hurry, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Asked {
        let Seen { writes, units, received, sent, .. } = &*self.seen;
        let [writes, units, received, sent] =
            [writes, units, received, sent].map(|count| count.load(Ordering::Relaxed));
        Asked { writes, units, received, sent }
    }

    pub(crate) fn first_write(&self) -> Option<Instant> {
        self.seen.first.get().copied()
    }

    /// Answers what waits, and from now on at once.
    pub(crate) fn hurry(&self) {
        self.hurry.send_replace(true);
    }
}

impl Drop for NullDynamo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panicked if there is an error, which the panic's own message has told.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Served {
    answers: Answers,
    seen: Arc<Seen>,
    hurried: watch::Receiver<bool>,
    records: Arc<Mutex<Records>>,
    stored: Arc<[u8]>,
    described: Arc<[u8]>,
}

async fn accept(listener: std::net::TcpListener, all: Served) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = accepted?.0;
                stream.set_nodelay(true)?;
                connections.spawn(serve(stream, all.clone()));
            }
            // The client went, as it does: only of what could not be read is told.
            Some(ended) = connections.join_next() => if let Ok(Err(error)) = ended
                && matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other)
            {
                eprintln!("the null DynamoDB was asked what it cannot answer: {error}");
            }
        }
    }
}

async fn serve(mut stream: TcpStream, mut all: Served) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(4 * 1024);
    while let Some(request) = read(&mut stream, &mut buffer).await? {
        let body = &buffer[request.body..request.end];
        let answer = match request.operation {
            Operation::Put => all.put(body).await?,
            Operation::Batch => all.batch(body).await?.into(),
            Operation::Other => all.described.clone(),
        };
        all.seen.received.fetch_add(request.end as u64, Ordering::Relaxed);
        all.seen.sent.fetch_add(answer.len() as u64, Ordering::Relaxed);
        stream.write_all(&answer).await?;
        buffer.advance(request.end);
    }
    Ok(())
}

enum Operation {
    Put,
    Batch,
    Other,
}

struct Request {
    operation: Operation,
    body: usize,
    end: usize,
}

/// The next request, whole; the client never sends another before the answer.
async fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<Request>> {
    loop {
        if let Some(head) = position(buffer, b"\r\n\r\n") {
            let body = head + 4;
            let end = body + content_length(&buffer[..head])?;
            while buffer.len() < end {
                buffer.reserve(end - buffer.len());
                if stream.read_buf(buffer).await? == 0 {
                    return Ok(None);
                }
            }
            return Ok(Some(Request { operation: operation(&buffer[..head]), body, end }));
        }
        buffer.reserve(4 * 1024);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn operation(head: &[u8]) -> Operation {
    const VERSION: &[u8] = b"B_20120810.";
    match position(head, VERSION).map(|at| &head[at + VERSION.len()..]) {
        Some(name) if name.starts_with(b"PutItem") => Operation::Put,
        Some(name) if name.starts_with(b"BatchExecuteStatement") => Operation::Batch,
        _ => Operation::Other,
    }
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    const NAME: &[u8] = b"content-length: ";
    let digits = position(head, NAME).map(|at| head[at + NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit()));
    let length = digits.map(|digits| digits.fold(0, |length, digit| 10 * length + usize::from(digit - b'0')));
    length.ok_or_else(|| io::Error::other("a request without content-length"))
}

/// By its first byte, which is faster than by windows: what this takes, it takes from the consumer's cores.
fn position(text: &[u8], sought: &[u8]) -> Option<usize> {
    let (first, rest) = sought.split_first()?;
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.iter().position(|byte| byte == first)?;
        from = at + 1;
        if text[from..].starts_with(rest) {
            return Some(at);
        }
    }
}

impl Served {
    /// Notes writes that came, and waits for as long as they are to wait.
    async fn wait(&mut self, body: &[u8], writes: usize) {
        self.seen.writes.fetch_add(writes as u64, Ordering::Relaxed);
        self.seen.first.get_or_init(Instant::now);
        if self.answers.held && position(body, HELD_SERVICE.as_bytes()).is_some() {
            std::future::pending::<()>().await;
        }
        if let Some(latency) = self.answers.latency {
            // Only a server that is stopped has no sender.
            let _ = timeout(latency, self.hurried.wait_for(|is_hurried| *is_hurried)).await;
        }
    }

    async fn put(&mut self, body: &[u8]) -> io::Result<Arc<[u8]>> {
        self.wait(body, 1).await;
        // A record is smaller than the request that brings it: most need not be read.
        if units(body.len()) == 1 && !lock(&self.records).are_asked() {
            self.seen.units.fetch_add(1, Ordering::Relaxed);
            return Ok(self.stored.clone());
        }
        let put: Put<'_> = serde_json::from_slice(body)?;
        Ok(match self.classify(Verb::Put, put.record())? {
            Decision::Stale(timestamp) => answers::stale(timestamp).into(),
            _ => self.stored.clone(),
        })
    }

    async fn batch(&mut self, body: &[u8]) -> io::Result<Vec<u8>> {
        let batch: Batch<'_> = serde_json::from_slice(body)?;
        self.wait(body, batch.statements.len()).await;
        let mut verdicts = Vec::with_capacity(batch.statements.len());
        for statement in &batch.statements {
            let verb = if statement.is_insert() { Verb::Insert } else { Verb::Update };
            verdicts.push(self.classify(verb, statement.record())?);
        }
        Ok(answers::batch(&verdicts))
    }

    fn classify(&self, verb: Verb, record: Option<Record<'_>>) -> io::Result<Decision> {
        let Record { key, timestamp, units } = record.ok_or_else(|| io::Error::other("a write without a record"))?;
        let verdict = lock(&self.records).write(verb, key, timestamp);
        // What fails its condition costs by the record that is there, and these are below 1 KB.
        self.seen.units.fetch_add(if verdict == Decision::Stored { units } else { 1 }, Ordering::Relaxed);
        Ok(verdict)
    }
}

fn lock(records: &Mutex<Records>) -> std::sync::MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}
