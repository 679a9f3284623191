//! A receiver of webhooks that keeps what it receives.

use std::net::SocketAddr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use webhooks::{Clock, SIGNATURE, SIGNED_ID, Secret, SystemClock, TIMESTAMP, verify};

use crate::support::with_timeout;

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) body: Value,
    raw: Bytes,
    headers: HeaderMap,
}

pub(super) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    status: watch::Sender<u16>,
    /// The path whose requests get no answer.
    hanging: watch::Sender<Option<String>>,
    received: watch::Sender<Vec<Request>>,
}

impl Receiver {
    /// Starts a receiver that answers with this status.
    pub(super) async fn start(status: u16) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (status, hanging) = (watch::Sender::new(status), watch::Sender::default());
        let shared = Arc::new(Shared { status, hanging, received: watch::Sender::default() });
        let router = Router::new().fallback(receive).with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });
        Receiver { address, shared, _server: server }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn answer(&self, status: u16) {
        self.shared.status.send_replace(status);
    }

    /// Lets the requests of a path wait for their answers until `resume`.
    pub(super) fn hang(&self, path: &str) {
        self.shared.hanging.send_replace(Some(path.to_owned()));
    }

    pub(super) fn resume(&self) {
        self.shared.hanging.send_replace(None);
    }

    /// Returns the requests of a path.
    pub(super) fn received(&self, path: &str) -> Vec<Request> {
        self.shared.received.borrow().iter().filter(|request| request.path == path).cloned().collect()
    }

    /// Waits until this path has been requested this often. Returns the requests.
    pub(super) async fn wait_for(&self, path: &str, count: usize) -> Vec<Request> {
        with_timeout("webhooks", self.until(path, count)).await
    }

    /// Waits like [`Receiver::wait_for`], without a limit.
    pub(super) async fn until(&self, path: &str, count: usize) -> Vec<Request> {
        let mut received = self.shared.received.subscribe();
        let of_path = |requests: &Vec<Request>| requests.iter().filter(|request| request.path == path).count();
        let enough = received.wait_for(|requests| of_path(requests) >= count);
        drop(enough.await.expect("the receiver runs"));
        self.received(path)
    }
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn id(&self) -> &str {
        self.header(SIGNED_ID).expect("each webhook has an id")
    }

    pub(super) fn is_signed_by(&self, secret: &Secret) -> bool {
        let header = |name| self.header(name).unwrap_or_default();
        let headers = (self.id(), header(TIMESTAMP), header(SIGNATURE));
        verify(slice::from_ref(secret), headers, &self.raw, SystemClock.now(), Duration::from_secs(3600)).is_ok()
    }
}

async fn receive(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let value = serde_json::from_slice(&body).expect("a webhook is JSON");
    let request = Request { path: uri.path().to_owned(), body: value, raw: body, headers };
    shared.received.send_modify(|requests| requests.push(request));
    let mut hanging = shared.hanging.subscribe();
    drop(hanging.wait_for(|path| path.as_deref() != Some(uri.path())).await.expect("the receiver runs"));
    let status = *shared.status.borrow();
    StatusCode::from_u16(status).expect("a status")
}
