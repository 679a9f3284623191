//! A receiver of webhooks for trying, with the flags of its command. Prints what arrives, verifies signatures, and fails on
//! demand.

mod behaviour;
mod flags;
mod inspection;
mod journal;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
pub use axum::http::StatusCode;
use axum::routing::post;
use http_api::Server;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use webhooks::{Clock, Secret, SystemClock};

pub use self::behaviour::Behaviour;
use self::behaviour::{Plan, Reaction};
pub use self::flags::{Names, SinkArgs};
use self::inspection::inspect;
use self::journal::{Entry, Journal};
pub use self::journal::{Format, Summary};

/// The longest body. Standard Webhooks recommends less than 20 kB.
const MAX_BODY: usize = 256 << 10;
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in progress may take after the stop.
const GRACE: Duration = Duration::from_secs(1);

/// The settings of a sink.
#[derive(Debug, Clone)]
pub struct Settings {
    pub listen: SocketAddr,
    /// One of them must verify each request. Without secrets, nothing is verified.
    pub secrets: Vec<Secret>,
    pub behaviour: Behaviour,
    pub format: Format,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} (--listen)")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// What the handlers share.
struct Sink {
    secrets: Vec<Secret>,
    plan: Plan,
    journal: Journal,
    /// The output failed.
    failed: Notify,
}

/// Receives webhooks until `stop`. Each one is written to `out` before its answer.
pub async fn run(
    settings: Settings,
    stop: impl Future<Output = ()>,
    out: impl Write + Send + 'static,
    messages: &mut impl Write,
) -> Result<Summary, Error> {
    let address = settings.listen;
    let server = Server::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let verification = match settings.secrets.len() {
        0 => "does not verify signatures, because it has no secret".to_owned(),
        1 => "verifies signatures with 1 secret".to_owned(),
        count => format!("verifies signatures with {count} secrets"),
    };
    writeln!(messages, "The sink listens on http://{} and {verification}.", server.address())?;
    let sink = Arc::new(Sink {
        secrets: settings.secrets,
        plan: Plan::new(settings.behaviour),
        journal: Journal::new(settings.format, Box::new(out)),
        failed: Notify::new(),
    });
    let router = Router::new().fallback_service(post(receive).with_state(sink.clone()));
    let ended = async {
        tokio::select! {
            () = stop => {}
            () = sink.failed.notified() => {}
        }
    };
    server.serve(router, ended, GRACE).await;
    Ok(sink.journal.finish()?)
}

async fn receive(State(sink): State<Arc<Sink>>, request: Request) -> StatusCode {
    let (head, body) = request.into_parts();
    let body = match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => return StatusCode::REQUEST_TIMEOUT,
    };
    let now = SystemClock.now();
    let inspected = inspect(&head.headers, &body, &sink.secrets, now);
    let reaction = match inspected.is_rejected() {
        true => Reaction::Answer(StatusCode::BAD_REQUEST),
        false => sink.plan.next(Instant::now(), rand::random()),
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    if sink.journal.note(&Entry { received: now, path, inspected: &inspected, body: &body, reaction }).is_err() {
        sink.failed.notify_one();
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    match reaction {
        Reaction::Answer(status) => status,
        Reaction::Hang => std::future::pending().await,
    }
}
