//! A front before a DynamoDB, at the level of HTTP: for each request a closure says whether it is passed on, late or
//! not at all, answered in place of the server, or cut off before or after the server has acted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// No head of a request or an answer is longer.
const HEAD_BYTES: usize = 16 << 10;

/// What becomes of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// After this long, the other.
    Late(Duration, Box<Fate>),
    /// The front answers with this status and body, and the server hears nothing.
    Answer(u16, String),
    /// The connection is cut before the server hears of it.
    CutBefore,
    /// The server acts, and the connection is cut in place of its answer.
    CutAfter,
    /// The server hears nothing, and the client nothing either for as long as it waits.
    Silence,
}

impl Fate {
    /// What DynamoDB answers where a table, or a part of it, is written too fast. `reason` is one of
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ThrottlingReason.html>, or none, as older
    /// parts of the service answer.
    pub(crate) fn throttled(reason: Option<&str>) -> Fate {
        let mut body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "message": "Throughput exceeds the current capacity of your table or index.",
        });
        if let Some(reason) = reason {
            let resource = "arn:aws:dynamodb:us-east-1:000000000000:table/scans";
            body["ThrottlingReasons"] = json!([{ "reason": reason, "resource": resource }]);
        }
        Fate::Answer(400, body.to_string())
    }

    pub(crate) fn late(self, time: Duration) -> Fate {
        Fate::Late(time, Box::new(self))
    }

    /// DynamoDB's own answer when it has failed.
    pub(crate) fn failed() -> Fate {
        let body = json!({ "__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "no luck" });
        Fate::Answer(500, body.to_string())
    }

    /// What something between client and service answers.
    pub(crate) fn unavailable() -> Fate {
        Fate::Answer(503, String::new())
    }
}

/// One request, as it came.
pub(crate) struct Request {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    /// Whether it is a write of one item, which is what the consumer usually sends.
    pub(crate) fn is_put(&self) -> bool {
        self.is(".PutItem")
    }

    /// Whether it is a write of one item or of several.
    pub(crate) fn is_write(&self) -> bool {
        self.is_put() || self.is(".BatchExecuteStatement")
    }

    fn is(&self, operation: &str) -> bool {
        header(&self.head, "x-amz-target").is_some_and(|target| target.ends_with(operation))
    }

    /// The key of the item that it writes.
    pub(crate) fn key(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["Item"]["pk"]["S"].as_str()?.to_owned())
    }
}

type Decide = Arc<dyn Fn(&Request) -> Fate + Send + Sync>;

/// A front on a port of its own. Dropping it cuts its connections.
pub(crate) struct StoreFront {
    address: SocketAddr,
    server: watch::Sender<String>,
    _connections: JoinSet<()>,
}

impl StoreFront {
    /// Before the server at `host:port`. `decide` is asked once for every request.
    pub(crate) async fn before(server: &str, decide: impl Fn(&Request) -> Fate + Send + Sync + 'static) -> StoreFront {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let server = watch::Sender::new(server.to_owned());
        let (at, decide): (_, Decide) = (server.subscribe(), Arc::new(decide));
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut passed = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                passed.spawn(pass(client, at.clone(), decide.clone()));
                while passed.try_join_next().is_some() {}
            }
        });
        StoreFront { address, server, _connections: connections }
    }

    /// From the next connection on it stands before another server.
    pub(crate) fn stand_before(&self, server: &str) {
        self.server.send_replace(server.to_owned());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// One connection, until either side ends it.
async fn pass(mut client: TcpStream, server: watch::Receiver<String>, decide: Decide) {
    let mut behind = None;
    // A failure costs latency only.
    let _ = client.set_nodelay(true);
    while let Some((head, body)) = read(&mut client).await {
        let request = Request { head, body };
        let mut fate = decide(&request);
        while let Fate::Late(time, then) = fate {
            tokio::time::sleep(time).await;
            fate = *then;
        }
        let answer = match &fate {
            Fate::CutBefore => return,
            Fate::Silence => {
                // Until the client gives up.
                while client.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
                return;
            }
            Fate::Answer(status, body) => Some(answer(*status, body)),
            Fate::Pass | Fate::CutAfter | Fate::Late(..) => ask(&mut behind, &server, &request).await,
        };
        let Some(answer) = answer.filter(|_| fate != Fate::CutAfter) else { return };
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// The server's answer, over the connection to it that belongs to the client's.
async fn ask(behind: &mut Option<TcpStream>, server: &watch::Receiver<String>, request: &Request) -> Option<Vec<u8>> {
    let connection = match behind {
        Some(connection) => connection,
        None => {
            let address = server.borrow().clone();
            let connection = TcpStream::connect(address).await.ok()?;
            let _ = connection.set_nodelay(true);
            behind.insert(connection)
        }
    };
    let Request { head, body } = request;
    connection.write_all(&[head.as_slice(), body].concat()).await.ok()?;
    let (mut head, body) = read(connection).await?;
    head.extend(body);
    Some(head)
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} \r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{body}")
        .into()
}

/// The head and the body of the next message; none when the connection ends. Both sides say the length of a body.
async fn read(connection: &mut TcpStream) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::with_capacity(2 << 10);
    let end = loop {
        if let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > HEAD_BYTES || connection.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = head.split_off(end);
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while body.len() < length {
        if connection.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = std::str::from_utf8(head).ok()?.lines();
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
