//! A DynamoDB that keeps nothing and answers at once: HTTP/1.1, as little of it as the SDK needs, on a thread of its own.
//! It counts the PutItems, so what it is asked is known, and answers a scan by its timestamp and service alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// A write of a scan of this service is never answered.
pub(crate) const HELD_SERVICE: &str = "HOLD";

/// What PutItem is answered with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answers {
    pub(crate) latency: Option<Duration>,
    /// The table holds a scan of this timestamp under every key: what is not newer fails its condition.
    pub(crate) holds: Option<u64>,
    /// Whether scans of [`HELD_SERVICE`] are waited for.
    pub(crate) held: bool,
}

/// The server; dropping it stops it.
pub(crate) struct NullDynamo {
    address: SocketAddr,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    puts: AtomicU64,
    first: OnceLock<Instant>,
}

impl NullDynamo {
    pub(crate) fn start(answers: Answers) -> io::Result<NullDynamo> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let all = Served {
            answers,
            seen: seen.clone(),
            stored: response("200 OK", "{}").into(),
            stale: stale(answers.holds.unwrap_or_default()).into(),
            described: response("200 OK", DESCRIPTION).into(),
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
        Ok(NullDynamo { address, seen, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn puts(&self) -> u64 {
        self.seen.puts.load(Ordering::Relaxed)
    }

    pub(crate) fn first_put(&self) -> Option<Instant> {
        self.seen.first.get().copied()
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
    stored: Arc<[u8]>,
    stale: Arc<[u8]>,
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
            // The client went, as it does: nothing is told.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, all: Served) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(4 * 1024);
    while let Some(request) = read(&mut stream, &mut buffer).await? {
        let answer = match request.is_put {
            true => all.put(&buffer[request.body..request.end]).await,
            false => &all.described,
        };
        stream.write_all(answer).await?;
        buffer.advance(request.end);
    }
    Ok(())
}

struct Request {
    is_put: bool,
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
            return Ok(Some(Request { is_put: position(&buffer[..head], b"B_20120810.PutItem").is_some(), body, end }));
        }
        buffer.reserve(4 * 1024);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    const NAME: &[u8] = b"content-length: ";
    let digits = position(head, NAME).map(|at| head[at + NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit()));
    let length = digits.map(|digits| digits.fold(0, |length, digit| 10 * length + usize::from(digit - b'0')));
    length.ok_or_else(|| io::Error::other("a request without content-length"))
}

fn position(text: &[u8], sought: &[u8]) -> Option<usize> {
    text.windows(sought.len()).position(|window| window == sought)
}

impl Served {
    async fn put(&self, body: &[u8]) -> &[u8] {
        self.seen.puts.fetch_add(1, Ordering::Relaxed);
        self.seen.first.get_or_init(Instant::now);
        let Answers { latency, holds, held } = self.answers;
        if held && position(body, HELD_SERVICE.as_bytes()).is_some() {
            std::future::pending::<()>().await;
        }
        if let Some(latency) = latency {
            sleep(latency).await;
        }
        match holds {
            Some(newest) if timestamp(body).is_some_and(|timestamp| timestamp <= newest) => &self.stale,
            _ => &self.stored,
        }
    }
}

fn timestamp(body: &[u8]) -> Option<u64> {
    const NAME: &[u8] = br#"":ts":{"N":""#;
    let at = position(body, NAME)? + NAME.len();
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| 10 * number + u64::from(digit - b'0')))
}

const DESCRIPTION: &str = concat!(
    r#"{"Table":{"TableName":"scan-results","TableStatus":"ACTIVE","#,
    r#""AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"}],"#,
    r#""KeySchema":[{"AttributeName":"pk","KeyType":"HASH"}]}}"#,
);

/// A failed condition, with an item as long as a usual one.
fn stale(timestamp: u64) -> Vec<u8> {
    let body = format!(
        concat!(
            r#"{{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","#,
            r#""Message":"The conditional request failed","Item":{{"pk":{{"S":"1.1.1.115#48589#HTTP"}},"#,
            r#""ip":{{"S":"1.1.1.115"}},"port":{{"N":"48589"}},"service":{{"S":"HTTP"}},"#,
            r#""timestamp":{{"N":"{}"}},"response":{{"S":"{}"}},"data_version":{{"N":"2"}}}}}}"#
        ),
        timestamp,
        "x".repeat(64)
    );
    response("400 Bad Request", &body)
}

fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    // An answer without a request id is not DynamoDB's.
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\
         x-amzn-requestid: 00000000-0000-0000-0000-000000000000\r\n\r\n{body}"
    )
    .into_bytes()
}
