//! The endpoints of the clients: one server with a path for each client, of which one path can be away.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use webhooks::SIGNED_ID;

/// The path that can be away.
const UNRELIABLE: &str = "/client-0";

pub(super) struct Endpoints {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    latency: Duration,
    is_away: AtomicBool,
    notes: Mutex<Notes>,
}

/// What the endpoints received.
#[derive(Default)]
pub(super) struct Notes {
    /// What was accepted first, by the number of its event.
    pub(super) accepted: HashMap<usize, Receipt>,
    /// Webhooks without a number, and those that differ from an earlier one of the same event.
    pub(super) strange: Vec<String>,
    pub(super) duplicates: usize,
    pub(super) refused: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) path: String,
    pub(super) webhook_id: String,
    pub(super) body: Bytes,
}

impl Endpoints {
    /// Starts endpoints that take this long for each webhook.
    pub(super) async fn start(latency: Duration) -> Endpoints {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let shared = Arc::new(Shared { latency, is_away: AtomicBool::new(false), notes: Mutex::default() });
        let router = Router::new().fallback(receive).with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });
        Endpoints { address, shared, _server: server }
    }

    pub(super) fn set_away(&self, is_away: bool) {
        self.shared.is_away.store(is_away, Ordering::Relaxed);
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.shared.notes()
    }
}

impl Shared {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes a webhook before it is answered. If its sender is killed meanwhile, it may be lost.
async fn receive(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !shared.latency.is_zero() {
        sleep(shared.latency).await;
    }
    let mut notes = shared.notes();
    if uri.path() == UNRELIABLE && shared.is_away.load(Ordering::Relaxed) {
        notes.refused += 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let webhook_id = headers.get(SIGNED_ID).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let receipt = Receipt { path: uri.path().to_owned(), webhook_id, body };
    let value: Value = serde_json::from_slice(&receipt.body).unwrap_or_default();
    let number = value["data"]["number"].as_u64().and_then(|number| usize::try_from(number).ok());
    let Some(number) = number else {
        notes.strange.push(format!("{receipt:?}"));
        return StatusCode::NO_CONTENT;
    };
    match notes.accepted.get(&number) {
        None => _ = notes.accepted.insert(number, receipt),
        Some(earlier) if *earlier == receipt => notes.duplicates += 1,
        Some(earlier) => {
            let difference = format!("{earlier:?} and {receipt:?}");
            notes.strange.push(difference);
        }
    }
    StatusCode::NO_CONTENT
}
