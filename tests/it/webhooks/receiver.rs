//! A receiver of webhooks that keeps what it receives.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::with_timeout;

#[derive(Debug, Clone, Copy)]
pub(super) enum Behaviour {
    Status(u16),
    /// Never answers.
    Hang,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) timestamp: String,
    pub(super) signature: String,
    pub(super) body: Bytes,
}

pub(super) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    behaviour: watch::Sender<Behaviour>,
    received: watch::Sender<Vec<Request>>,
}

impl Receiver {
    pub(super) async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (behaviour, received) = (watch::Sender::new(Behaviour::Status(200)), watch::Sender::default());
        let shared = Arc::new(Shared { behaviour, received });
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

    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.shared.behaviour.send_replace(behaviour);
    }

    pub(super) fn received(&self) -> Vec<Request> {
        self.shared.received.borrow().clone()
    }

    /// Waits until this path has been requested this often.
    pub(super) async fn wait_for(&self, path: &str, count: usize) {
        let mut received = self.shared.received.subscribe();
        let enough =
            received.wait_for(|requests| requests.iter().filter(|request| request.path == path).count() >= count);
        with_timeout("webhooks", enough).await.expect("the receiver runs");
    }
}

async fn receive(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().expect("a text").to_owned();
    let [id, timestamp, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
    let request = Request { path: uri.path().to_owned(), id, timestamp, signature, body };
    let behaviour = *shared.behaviour.borrow();
    shared.received.send_modify(|requests| requests.push(request));
    match behaviour {
        Behaviour::Status(status) => StatusCode::from_u16(status).expect("a status"),
        Behaviour::Hang => std::future::pending().await,
    }
}
