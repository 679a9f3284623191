//! An HTTP proxy before a DynamoDB. For each request a closure decides whether to forward it, delay it, answer it
//! instead of the server, fail some statements of a batch, or close the connection before or after the server has acted.
//! Another closure sees each forwarded request with the server's own response.

mod rows;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::TIMEOUT;
pub(crate) use rows::Row;

/// The longest head of a request or a response.
const HEAD_BYTES: usize = 16 << 10;

/// What the proxy does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Forward,
    /// Performs the other action after this time.
    Delay(Duration, Box<Action>),
    /// Responds with this status and body. The server does not receive the request.
    Respond(u16, String),
    /// Closes the connection before the server receives the request.
    CloseBefore,
    /// Forwards the request, and closes the connection instead of returning the response.
    CloseAfter,
    /// Neither forwards the request nor responds.
    Hang,
    /// Forwards the request when the barrier is open.
    Hold(Barrier),
    /// Forwards a batch. These statements of it, in ascending order, get an error instead of their response.
    FailStatements(Vec<StatementError>),
    /// Forwards a BatchGetItem without the last keys beyond this number, which the response then returns as unprocessed.
    /// DynamoDB does so if it is throttled, or if the response would be too large.
    ProcessKeys(usize),
}

/// Holds requests until a number of them wait at the same time. Then it stays open.
#[derive(Debug, Clone)]
pub(crate) struct Barrier {
    state: watch::Sender<BarrierState>,
}

#[derive(Debug, Clone, Copy)]
struct BarrierState {
    size: usize,
    waiting: usize,
    is_open: bool,
}

/// One request that waits. Dropping it leaves the barrier.
struct Waiting<'a>(&'a Barrier);

impl Barrier {
    pub(crate) fn new(size: usize) -> Barrier {
        Barrier { state: watch::Sender::new(BarrierState { size, waiting: 0, is_open: false }) }
    }

    /// Returns a barrier that only [`Barrier::open`] opens.
    pub(crate) fn closed() -> Barrier {
        Barrier::new(usize::MAX)
    }

    /// Waits until a request waits.
    pub(crate) async fn reached(&self) {
        let mut state = self.state.subscribe();
        let reached = timeout(TIMEOUT, state.wait_for(|state| state.waiting > 0)).await;
        assert!(reached.is_ok(), "no request waits after {TIMEOUT:?}");
    }

    pub(crate) fn open(&self) {
        self.state.send_modify(|state| state.is_open = true);
    }

    /// Waits until enough requests have waited at the same time.
    pub(crate) async fn opened(&self) {
        let opened = timeout(TIMEOUT, self.wait_until_open()).await;
        assert!(
            opened.is_ok(),
            "still waiting after {TIMEOUT:?} for requests at the same time: {:?}",
            *self.state.borrow()
        );
    }

    async fn hold(&self) {
        let _waiting = Waiting::at(self);
        self.wait_until_open().await;
    }

    async fn wait_until_open(&self) {
        let mut state = self.state.subscribe();
        state.wait_for(|state| state.is_open).await.expect("`self` has a sender");
    }
}

impl Waiting<'_> {
    fn at(barrier: &Barrier) -> Waiting<'_> {
        barrier.state.send_modify(|state| {
            state.waiting += 1;
            state.is_open |= state.waiting >= state.size;
        });
        Waiting(barrier)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.waiting -= 1);
    }
}

/// An error of one statement of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatementError {
    pub(crate) index: usize,
    /// One of <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchStatementError.html>.
    pub(crate) code: &'static str,
    /// Whether the server executes the statement all the same.
    pub(crate) executed: bool,
}

impl Action {
    /// Returns DynamoDB's response when a table, or a part of it, is written too fast. `reason` is one of
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ThrottlingReason.html>. Older parts of the
    /// service give no reason.
    pub(crate) fn throttled(reason: Option<&str>) -> Action {
        let mut body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "message": "Throughput exceeds the current capacity of your table or index.",
        });
        if let Some(reason) = reason {
            let resource = "arn:aws:dynamodb:us-east-1:000000000000:table/scans";
            body["ThrottlingReasons"] = json!([{ "reason": reason, "resource": resource }]);
        }
        Action::Respond(400, body.to_string())
    }

    pub(crate) fn after(self, delay: Duration) -> Action {
        Action::Delay(delay, Box::new(self))
    }

    /// Returns DynamoDB's response to an internal error.
    pub(crate) fn internal_error() -> Action {
        let body = json!({ "__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "injected" });
        Action::Respond(500, body.to_string())
    }

    /// Returns DynamoDB's response to a query of an index that the table lacks.
    pub(crate) fn missing_index(name: &str) -> Action {
        let message = format!("The table does not have the specified index: {name}");
        let body = json!({ "__type": "com.amazon.coral.validate#ValidationException", "message": message });
        Action::Respond(400, body.to_string())
    }

    /// Returns DynamoDB's response when the role may not do this.
    pub(crate) fn access_denied() -> Action {
        let message = "User is not authorized to perform this action on resource: table/scans";
        let body = json!({ "__type": "com.amazon.coral.service#AccessDeniedException", "Message": message });
        Action::Respond(400, body.to_string())
    }

    /// Returns DynamoDB's response to an item that it does not accept.
    pub(crate) fn invalid_item() -> Action {
        let message = "One or more parameter values were invalid";
        let body = json!({ "__type": "com.amazon.coral.validate#ValidationException", "message": message });
        Action::Respond(400, body.to_string())
    }

    /// Returns the response of a load balancer or proxy in front of the service.
    pub(crate) fn unavailable() -> Action {
        Action::Respond(503, String::new())
    }
}

/// One request, as the client sent it.
pub(crate) struct Request {
    head: Vec<u8>,
    body: Vec<u8>,
    json: OnceLock<Value>,
}

impl Request {
    fn received(head: Vec<u8>, body: Vec<u8>) -> Request {
        Request { head, body, json: OnceLock::new() }
    }

    fn new(target: &str, body: &Value) -> Request {
        let body = body.to_string().into_bytes();
        Request::received(format!("POST / HTTP/1.1\r\nx-amz-target: {target}\r\n\r\n").into(), body)
    }

    /// Returns whether the request writes one item, as the consumer does by default.
    pub(crate) fn is_put(&self) -> bool {
        self.is(".PutItem")
    }

    /// Returns whether the request describes a table.
    pub(crate) fn is_describe(&self) -> bool {
        self.is(".DescribeTable")
    }

    /// Returns whether the request changes a table, e.g. adds an index.
    pub(crate) fn is_update_table(&self) -> bool {
        self.is(".UpdateTable")
    }

    /// Returns whether the request creates a table.
    pub(crate) fn is_create_table(&self) -> bool {
        self.is(".CreateTable")
    }

    /// Returns whether the request reads a page of a table.
    pub(crate) fn is_scan(&self) -> bool {
        self.is(".Scan")
    }

    /// Returns whether the request writes one item or several.
    pub(crate) fn is_write(&self) -> bool {
        self.is_put() || self.is(".BatchExecuteStatement")
    }

    /// Returns whether the request queries an index.
    pub(crate) fn is_query(&self) -> bool {
        self.is(".Query")
    }

    /// Returns whether the request reads several items by their keys.
    pub(crate) fn is_batch_get(&self) -> bool {
        self.is(".BatchGetItem")
    }

    /// Returns whether the request deletes an item.
    pub(crate) fn is_delete(&self) -> bool {
        self.is(".DeleteItem")
    }

    /// Returns whether the request is this operation, e.g. `.UpdateItem`.
    pub(crate) fn is(&self, operation: &str) -> bool {
        header(&self.head, "x-amz-target").is_some_and(|target| target.ends_with(operation))
    }

    /// Returns the body.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the key of the item that the request writes.
    pub(crate) fn key(&self) -> Option<String> {
        self.attribute("pk")
    }

    /// Returns a text of the item that the request writes.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        Some(self.json()["Item"][name]["S"].as_str()?.to_owned())
    }

    /// Returns the text or number that a placeholder of an expression stands for.
    pub(crate) fn value(&self, placeholder: &str) -> Option<String> {
        let value = &self.json()["ExpressionAttributeValues"][placeholder];
        Some(value["S"].as_str().or(value["N"].as_str())?.to_owned())
    }

    fn json(&self) -> &Value {
        self.json.get_or_init(|| serde_json::from_slice(&self.body).unwrap_or_default())
    }

    /// Returns this batch without the statements that the server must not execute, or `None` if none is left.
    fn without(&self, errors: &[StatementError]) -> Option<Request> {
        let is_left_out = |index: usize| errors.iter().any(|error| error.index == index && !error.executed);
        let statements = self.statements().iter().enumerate();
        let left: Vec<&Value> = statements.filter(|(index, _)| !is_left_out(*index)).map(|(_, it)| it).collect();
        if left.is_empty() {
            return None;
        }
        let mut batch = self.json().clone();
        batch["Statements"] = json!(left);
        let body = batch.to_string().into_bytes();
        Some(Request::received(with_length(&self.head, body.len()), body))
    }
}

impl Request {
    /// Returns this BatchGetItem with only its first `count` keys, or `None` if none is left, and the body of a response that
    /// returns the other keys as unprocessed.
    fn with_keys(&self, count: usize) -> (Option<Request>, Value) {
        let mut batch = self.json().clone();
        let mut unprocessed = json!({});
        for (table, keys) in batch["RequestItems"].as_object_mut().expect("a BatchGetItem names its tables") {
            let all = keys["Keys"].as_array_mut().expect("a list of keys");
            unprocessed[table] = json!({ "Keys": all.split_off(count.min(all.len())) });
        }
        let body = batch.to_string().into_bytes();
        let rest = Request::received(with_length(&self.head, body.len()), body);
        ((count > 0).then_some(rest), unprocessed)
    }
}

/// One response, as the server sent it.
#[derive(Clone)]
pub(crate) struct Response {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Response {
    fn new(status: u16, body: &str) -> Response {
        let length = body.len();
        // The request id marks the response as one of DynamoDB.
        let head = format!(
            "HTTP/1.1 {status} \r\ncontent-type: application/x-amz-json-1.0\r\nx-amzn-requestid: proxy\r\n\
             content-length: {length}\r\n\r\n"
        );
        Response { head: head.into(), body: body.into() }
    }

    pub(crate) fn status(&self) -> u16 {
        let status = self.head.split(|byte| *byte == b' ').nth(1).and_then(|status| std::str::from_utf8(status).ok());
        status.and_then(|status| status.parse().ok()).expect("a response starts with its status")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns this response to a batch with these errors. Statements that were not executed have no response in it.
    fn with(self, errors: &[StatementError]) -> Response {
        let mut body = self.json();
        let Some(responses) = body["Responses"].as_array_mut() else { return self };
        for StatementError { index, code, executed } in errors {
            let error = json!({ "Error": { "Code": code, "Message": "injected" } });
            match executed {
                true => responses[*index] = error,
                false => responses.insert(*index, error),
            }
        }
        let body = body.to_string().into_bytes();
        Response { head: with_length(&self.head, body.len()), body }
    }
}

impl Response {
    /// Returns this response to a BatchGetItem with these unprocessed keys.
    fn with_unprocessed(self, unprocessed: Value) -> Response {
        let mut body = self.json();
        body["UnprocessedKeys"] = unprocessed;
        let body = body.to_string().into_bytes();
        Response { head: with_length(&self.head, body.len()), body }
    }
}

type Decide = Arc<dyn Fn(&Request) -> Action + Send + Sync>;
type Observe = Arc<dyn Fn(&Request, Option<&Response>) + Send + Sync>;

/// The proxy, on its own port. Dropping it closes its connections.
pub(crate) struct DynamoProxy {
    address: SocketAddr,
    server: watch::Sender<String>,
    forwarding: Arc<RwLock<()>>,
    _connections: JoinSet<()>,
}

/// The way to the server, shared by all connections of the clients.
#[derive(Clone)]
struct Upstream {
    server: watch::Receiver<String>,
    observe: Observe,
    /// Locked shared by each request that the server has received and not answered.
    forwarding: Arc<RwLock<()>>,
}

impl DynamoProxy {
    /// Starts a proxy before the server at `host:port`. It calls `decide` once for every request.
    pub(crate) async fn before(
        server: &str,
        decide: impl Fn(&Request) -> Action + Send + Sync + 'static,
    ) -> DynamoProxy {
        DynamoProxy::observed(server, decide, |_, _| {}).await
    }

    /// Starts a proxy that also calls `observe` for every forwarded request, with the server's response unless none
    /// came. The call precedes everything that the client can do because of the response.
    pub(crate) async fn observed(
        server: &str,
        decide: impl Fn(&Request) -> Action + Send + Sync + 'static,
        observe: impl Fn(&Request, Option<&Response>) + Send + Sync + 'static,
    ) -> DynamoProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (server, forwarding) = (watch::Sender::new(server.to_owned()), Arc::new(RwLock::new(())));
        let upstream =
            Upstream { server: server.subscribe(), observe: Arc::new(observe), forwarding: forwarding.clone() };
        let decide: Decide = Arc::new(decide);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(serve(client, upstream.clone(), decide.clone()));
                while open.try_join_next().is_some() {}
            }
        });
        DynamoProxy { address, server, forwarding, _connections: connections }
    }

    /// Forwards new connections to another server.
    pub(crate) fn redirect_to(&self, server: &str) {
        self.server.send_replace(server.to_owned());
    }

    /// Waits until the server has answered all requests, and forwards no other until the guard is dropped.
    pub(crate) async fn pause(&self) -> OwnedRwLockWriteGuard<()> {
        self.forwarding.clone().write_owned().await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Serves one connection until either side closes it.
async fn serve(mut client: TcpStream, upstream: Upstream, decide: Decide) {
    let mut connection = None;
    // A failure costs latency only.
    let _ = client.set_nodelay(true);
    while let Some((head, body)) = read(&mut client).await {
        let request = Request::received(head, body);
        let mut action = decide(&request);
        while let Action::Delay(delay, then) = action {
            tokio::time::sleep(delay).await;
            action = *then;
        }
        let response = match &action {
            Action::CloseBefore => return,
            Action::Hang => {
                // Keeps the connection open until the client closes it.
                while client.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
                return;
            }
            Action::Hold(barrier) => {
                let mut unexpected = [0];
                tokio::select! {
                    () = barrier.hold() => upstream.forward(&mut connection, &request).await,
                    // A client sends nothing while it waits for a response, so it has closed the connection.
                    _ = client.read(&mut unexpected) => return,
                }
            }
            Action::Respond(status, body) => Some(Response::new(*status, body)),
            Action::FailStatements(errors) => {
                let response = match request.without(errors) {
                    Some(rest) => upstream.forward(&mut connection, &rest).await,
                    None => Some(Response::new(200, r#"{"Responses":[]}"#)),
                };
                response.map(|response| response.with(errors))
            }
            Action::ProcessKeys(count) => {
                let (rest, unprocessed) = request.with_keys(*count);
                let response = match rest {
                    Some(rest) => upstream.forward(&mut connection, &rest).await,
                    None => Some(Response::new(200, r#"{"Responses":{},"ConsumedCapacity":[{"CapacityUnits":0}]}"#)),
                };
                response.map(|response| response.with_unprocessed(unprocessed))
            }
            Action::Forward | Action::CloseAfter | Action::Delay(..) => {
                upstream.forward(&mut connection, &request).await
            }
        };
        let Some(Response { mut head, body }) = response.filter(|_| !matches!(action, Action::CloseAfter)) else {
            return;
        };
        head.extend(body);
        if client.write_all(&head).await.is_err() {
            return;
        }
    }
}

impl Upstream {
    /// Forwards a request over `connection`, which is the client's own connection to the server, and returns the
    /// response.
    async fn forward(&self, connection: &mut Option<TcpStream>, request: &Request) -> Option<Response> {
        let _forwarding = self.forwarding.read().await;
        let server = self.server.borrow().clone();
        let response = exchange(connection, &server, request).await;
        (self.observe)(request, response.as_ref());
        response
    }
}

async fn exchange(connection: &mut Option<TcpStream>, server: &str, request: &Request) -> Option<Response> {
    let connection = match connection {
        Some(connection) => connection,
        None => {
            let opened = TcpStream::connect(server).await.ok()?;
            let _ = opened.set_nodelay(true);
            connection.insert(opened)
        }
    };
    connection.write_all(&[request.head.as_slice(), &request.body].concat()).await.ok()?;
    let (head, body) = read(connection).await?;
    Some(Response { head, body })
}

/// Returns the head for a body of another length. It has no checksum of the body.
fn with_length(head: &[u8], length: usize) -> Vec<u8> {
    let head = std::str::from_utf8(head).expect("a head is text");
    let is_kept = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        !["content-length", "x-amz-crc32"].iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
    };
    let kept: Vec<&str> = head.trim_end().split("\r\n").filter(is_kept).collect();
    format!("{}\r\ncontent-length: {length}\r\n\r\n", kept.join("\r\n")).into()
}

/// Reads the head and the body of the next message. Returns `None` at the end of the connection. Both sides send
/// `content-length` with every body.
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

#[test]
fn fails_single_statements_of_a_batch() {
    let statements: Vec<_> = (0..4).map(|n| json!({ "Statement": n.to_string() })).collect();
    let batch = Request::new("DynamoDB_20120810.BatchExecuteStatement", &json!({ "Statements": statements }));
    let error = |index, executed| StatementError { index, code: "InternalServerError", executed };
    let errors = [error(0, false), error(1, true), error(3, false)];
    let rest = batch.without(&errors).expect("two statements are left");
    assert_eq!(rest.statements(), [statements[1].clone(), statements[2].clone()]);
    assert_eq!(header(&rest.head, "content-length"), Some(rest.body.len().to_string().as_str()));
    let answer = |n: u32| json!({ "TableName": n.to_string() });
    let response = Response::new(200, &json!({ "Responses": [answer(1), answer(2)] }).to_string()).with(&errors);
    let failed = json!({ "Error": { "Code": "InternalServerError", "Message": "injected" } });
    assert_eq!(response.json()["Responses"], json!([failed, failed, answer(2), failed]));
    assert!(batch.without(&[0, 1, 2, 3].map(|index| error(index, false))).is_none());
}
