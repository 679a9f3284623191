//! A receiver of webhooks that keeps what it receives.

use std::net::SocketAddr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use webhooks::{Clock, SIGNATURE, SIGNED_ID, Secret, SystemClock, TIMESTAMP, verify};

use super::with_timeout;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Answers with this status and text.
    Answer(u16, &'static str),
    /// Never answers.
    Hang,
}

pub(crate) const OK: Behaviour = Behaviour::Answer(200, "");

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) body: Bytes,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    behaviour: watch::Sender<Behaviour>,
    received: watch::Sender<Vec<Request>>,
}

impl Receiver {
    pub(crate) async fn start(behaviour: Behaviour) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (behaviour, received) = (watch::Sender::new(behaviour), watch::Sender::default());
        let shared = Arc::new(Shared { behaviour, received });
        let router = Router::new().fallback(receive).with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });
        Receiver { address, shared, _server: server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.shared.behaviour.send_replace(behaviour);
    }

    pub(crate) fn received(&self) -> Vec<Request> {
        self.shared.received.borrow().clone()
    }

    /// Waits until this path has been requested this often.
    pub(crate) async fn wait_for(&self, path: &str, count: usize) {
        let mut received = self.shared.received.subscribe();
        let enough =
            received.wait_for(|requests| requests.iter().filter(|request| request.path == path).count() >= count);
        with_timeout("webhooks", enough).await.expect("the receiver runs");
    }
}

impl Request {
    /// Whether this secret signed it.
    pub(crate) fn is_signed_by(&self, secret: &Secret) -> bool {
        let headers = (self.id.as_str(), self.timestamp.as_str(), self.signature.as_str());
        verify(slice::from_ref(secret), headers, &self.body, SystemClock.now(), Duration::from_secs(3600)).is_ok()
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let header = |name: &str| headers[name].to_str().expect("a text").to_owned();
    let [id, timestamp, signature] = [SIGNED_ID, TIMESTAMP, SIGNATURE].map(header);
    let request = Request { path: uri.path().to_owned(), id, timestamp, signature, body };
    let behaviour = *shared.behaviour.borrow();
    shared.received.send_modify(|requests| requests.push(request));
    match behaviour {
        Behaviour::Answer(status, text) => (StatusCode::from_u16(status).expect("a status"), text),
        Behaviour::Hang => std::future::pending().await,
    }
}
