//! A receiver of webhooks in the test: answers and keeps what it got.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use webhooks::{Clock, Secret, SystemClock};

/// A webhook as it arrived.
pub(crate) struct Received {
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Inbox = Arc<Mutex<Vec<Received>>>;

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    inbox: Inbox,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Listens on a free port and answers each webhook with this status and text.
    pub(crate) async fn start(status: u16, text: &'static str) -> Receiver {
        let inbox = Inbox::default();
        let receive = move |State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes| async move {
            inbox.lock().unwrap().push(Received { headers, body });
            (StatusCode::from_u16(status).expect("a status"), text)
        };
        let router = Router::new().fallback(post(receive)).with_state(inbox.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Receiver { address, inbox, _server: server }
    }

    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.inbox.lock().unwrap())
    }
}

impl Received {
    /// Whether this secret signed it.
    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let secret = Secret::parse(secret).expect("a secret");
        let header = |name| self.headers.get(name).and_then(|value| value.to_str().ok()).expect("a header");
        let headers = (header(webhooks::SIGNED_ID), header(webhooks::TIMESTAMP), header(webhooks::SIGNATURE));
        webhooks::verify(&[secret], headers, &self.body, SystemClock.now(), Duration::from_secs(300)).is_ok()
    }
}
