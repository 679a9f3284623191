//! A proxy before DynamoDB that fails as the service and the network do. No stand-in does so by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The share of the requests that fail.
const FAILS: f64 = 0.2;
/// How late a request arrives after its connection was lost.
const LATE: std::ops::Range<u64> = 20..400;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The server never receives it.
    RequestLost,
    /// The server answers it, but the client loses the connection.
    AnswerLost,
    /// The client loses the connection, and the server receives the request some time later.
    Late,
    /// Another transaction changes one of the items.
    Conflict,
    /// The same, and conditions of the other items fail, which then shows nothing of the items.
    ConflictBesideConditions,
    /// One of the items is throttled.
    ThrottledItem,
    ThrottledTable,
    InternalError,
    /// The answer of a load balancer.
    Unavailable,
}

impl Fault {
    /// Faults of each transaction that writes.
    pub(crate) const OF_WRITES: [Fault; 9] = [
        Fault::RequestLost,
        Fault::AnswerLost,
        Fault::Late,
        Fault::Conflict,
        Fault::ConflictBesideConditions,
        Fault::ThrottledItem,
        Fault::ThrottledTable,
        Fault::InternalError,
        Fault::Unavailable,
    ];
    const OF_READS: [Fault; 4] = [Fault::RequestLost, Fault::ThrottledTable, Fault::InternalError, Fault::Unavailable];

    /// Returns the answer instead of the server's, if there is one.
    fn answer(self, items: usize, random: &mut StdRng) -> Option<String> {
        let one = random.random_range(0..items.max(1));
        let cancelled = |code: &'static str, others: &'static str| {
            let codes: Vec<&str> = (0..items).map(|item| if item == one { code } else { others }).collect();
            let reasons: Vec<Value> = codes.iter().map(|code| json!({ "Code": code, "Message": "injected" })).collect();
            let message = format!(
                "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
                codes.join(", ")
            );
            let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
            response(400, &json!({ "__type": kind, "Message": message, "CancellationReasons": reasons }).to_string())
        };
        match self {
            Fault::RequestLost | Fault::AnswerLost | Fault::Late => None,
            Fault::Conflict => Some(cancelled("TransactionConflict", "None")),
            Fault::ConflictBesideConditions => Some(cancelled("TransactionConflict", "ConditionalCheckFailed")),
            Fault::ThrottledItem => Some(cancelled("ThrottlingError", "None")),
            Fault::ThrottledTable => {
                let kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
                Some(response(400, &json!({ "__type": kind, "message": "injected" }).to_string()))
            }
            Fault::InternalError => {
                let kind = "com.amazonaws.dynamodb.v20120810#InternalServerError";
                Some(response(500, &json!({ "__type": kind, "message": "injected" }).to_string()))
            }
            Fault::Unavailable => Some(response(503, "")),
        }
    }
}

fn response(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Injected\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// The running proxy. Dropping it closes its connections.
pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

struct Shared {
    server: String,
    seed: u64,
    is_failing: AtomicBool,
    counts: Mutex<BTreeMap<Fault, u64>>,
}

impl Proxy {
    /// Starts a proxy before the server with this URL.
    pub(crate) async fn before(server: &str, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener"));
        let server = server.trim_start_matches("http://").to_owned();
        let shared = Shared { server, seed, is_failing: AtomicBool::new(false), counts: Mutex::default() };
        let shared = Arc::new(shared);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Proxy { url, shared, _accepting: accepting }
    }

    pub(crate) fn set_failing(&self, is_failing: bool) {
        self.shared.is_failing.store(is_failing, Ordering::Relaxed);
    }

    /// Returns how often each fault happened to a transaction that writes.
    pub(crate) fn counts(&self) -> BTreeMap<Fault, u64> {
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    for number in 0_u64.. {
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let random = StdRng::seed_from_u64(shared.seed.wrapping_add(number));
        connections.spawn(serve(client, Arc::clone(&shared), random));
    }
}

/// Forwards the requests of a connection until one of them loses it.
async fn serve(mut client: TcpStream, shared: Arc<Shared>, mut random: StdRng) -> Option<()> {
    let mut server = TcpStream::connect(&shared.server).await.ok()?;
    loop {
        let request = read(&mut client).await?;
        let fault = shared.fault(&request, &mut random);
        if let Some(answer) = fault.and_then(|fault| fault.answer(items(&request), &mut random)) {
            client.write_all(answer.as_bytes()).await.ok()?;
            continue;
        }
        match fault {
            Some(Fault::RequestLost) => return None,
            Some(Fault::Late) => {
                drop(client);
                sleep(Duration::from_millis(random.random_range(LATE))).await;
                server.write_all(&request).await.ok()?;
                return read(&mut server).await.map(drop);
            }
            _ => {}
        }
        server.write_all(&request).await.ok()?;
        let answer = read(&mut server).await?;
        if fault == Some(Fault::AnswerLost) {
            return None;
        }
        client.write_all(&answer).await.ok()?;
    }
}

impl Shared {
    fn fault(&self, request: &[u8], random: &mut StdRng) -> Option<Fault> {
        if !self.is_failing.load(Ordering::Relaxed) || !random.random_bool(FAILS) {
            return None;
        }
        let head = String::from_utf8_lossy(request);
        if head.contains("DynamoDB_20120810.TransactWriteItems") {
            let fault = Fault::OF_WRITES[random.random_range(0..Fault::OF_WRITES.len())];
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
            return Some(fault);
        }
        Some(Fault::OF_READS[random.random_range(0..Fault::OF_READS.len())])
    }
}

/// Returns the number of items of a transaction.
fn items(request: &[u8]) -> usize {
    let body = request.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |end| end + 4);
    let body: Value = serde_json::from_slice(&request[body..]).unwrap_or_default();
    body["TransactItems"].as_array().map_or(0, Vec::len)
}

/// Reads the next message. Both sides send `content-length` with every body.
async fn read(connection: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(4 << 10);
    let body = loop {
        if let Some(end) = message.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut message).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&message[..body]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    while message.len() < body + length.unwrap_or(0) {
        if connection.read_buf(&mut message).await.ok()? == 0 {
            return None;
        }
    }
    Some(message)
}
