//! The HTTP endpoint of an instance: `/metrics`, `/livez` and `/readyz`. It only reads what the program reports and never
//! blocks it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::metrics;

/// The port that Prometheus exporters of OpenTelemetry use.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Connections that have not sent a request within this time are closed. A probe sends its request at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections whose request and response take longer are closed.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// With one more, the oldest connection without a request is closed, so that idle connections delay no probe.
const MAX_CONNECTIONS: usize = 64;
/// The pause after a failed accept, e.g. when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What an instance reports about itself. The methods are called on the endpoint's own runtime and must not block.
pub trait Instance: Send + Sync + 'static {
    /// Returns the page of `/metrics`.
    fn metrics(&self) -> String;

    /// Returns whether all of its loops still run. If not, only a restart helps.
    fn is_alive(&self) -> bool;

    /// Returns why it is not ready, and nothing when it is.
    fn unready(&self) -> Vec<Unready>;
}

/// One reason why an instance is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unready {
    /// The name of the condition, as in the logs.
    pub condition: String,
    /// What is wrong and what to do, for a person.
    pub detail: String,
}

/// Where to listen: a socket address or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    Off,
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        match text {
            "off" => Ok(Listen::Off),
            address => address.parse().map(Listen::At).map_err(|_| {
                "expected an address and a port, e.g. 127.0.0.1:9464, 0.0.0.0:9464 or [::]:9464, or `off`".to_owned()
            }),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({setting})")]
pub struct CannotListen {
    address: SocketAddr,
    /// The name of the setting that chose it.
    setting: &'static str,
    source: io::Error,
}

/// A running endpoint. Dropping it closes it.
#[derive(Debug)]
pub struct Endpoint {
    _tasks: JoinSet<()>,
}

/// Serves the instance on the runtime that calls this. `choice` is the value of `setting`, e.g. of `--http-listen`.
///
/// If the address is in use, e.g. by another instance on this machine: an error if it was chosen, a warning and no
/// endpoint if it is the default.
pub async fn listen(
    choice: Option<Listen>,
    setting: &'static str,
    instance: Arc<dyn Instance>,
) -> Result<Option<Endpoint>, CannotListen> {
    let address = match choice {
        Some(Listen::Off) => return Ok(None),
        Some(Listen::At(address)) => address,
        None => DEFAULT,
    };
    let bound = match TcpListener::bind(address).await {
        Ok(listener) => listener.local_addr().map(|address| (listener, address)),
        Err(error) => Err(error),
    };
    let (listener, address) = match bound {
        Ok(bound) => bound,
        Err(error) if choice.is_none() => {
            warn!(
                %address,
                %error,
                setting,
                "cannot listen on the default address, so /metrics, /livez and /readyz are not served; choose another address"
            );
            return Ok(None);
        }
        Err(source) => return Err(CannotListen { address, setting, source }),
    };
    info!("serving http://{address}/metrics, /livez and /readyz");
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, instance));
    Ok(Some(Endpoint { _tasks: tasks }))
}

async fn accept(listener: TcpListener, instance: Arc<dyn Instance>) {
    let mut tasks = JoinSet::new();
    let mut connections: VecDeque<Connection> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.retain(|connection| !connection.task.is_finished());
                    if connections.len() >= MAX_CONNECTIONS {
                        close_one(&mut connections);
                    }
                    let has_request = Arc::<AtomicBool>::default();
                    let task = tasks.spawn(serve(stream, instance.clone(), has_request.clone()));
                    connections.push_back(Connection { task, has_request });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// An open connection.
struct Connection {
    task: AbortHandle,
    /// Whether its request has arrived.
    has_request: Arc<AtomicBool>,
}

/// Closes the oldest connection without a request, or the oldest of all if each has one.
fn close_one(connections: &mut VecDeque<Connection>) {
    let idle = connections.iter().position(|connection| !connection.has_request.load(Ordering::Relaxed));
    if let Some(closed) = connections.remove(idle.unwrap_or(0)) {
        closed.task.abort();
    }
}

/// Serves one request of one connection.
async fn serve(stream: TcpStream, instance: Arc<dyn Instance>, has_request: Arc<AtomicBool>) {
    let service = service_fn(|request: Request<Incoming>| {
        has_request.store(true, Ordering::Relaxed);
        let response = respond(&*instance, request.method(), request.uri().path());
        async { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT);
    // Nobody waits for the error of a client that left or sent no HTTP.
    let _ = timeout(CONNECTION_TIMEOUT, server.serve_connection(TokioIo::new(stream), service)).await;
}

fn respond(instance: &dyn Instance, method: &Method, path: &str) -> Response<String> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => response(StatusCode::OK, metrics::CONTENT_TYPE, instance.metrics()),
        "/livez" if instance.is_alive() => text(StatusCode::OK, "alive\n"),
        "/livez" => text(StatusCode::SERVICE_UNAVAILABLE, "a loop of the program has been stuck for a minute\n"),
        "/readyz" => readiness(&instance.unready()),
        _ => text(StatusCode::NOT_FOUND, "not found; there are /metrics, /livez and /readyz\n"),
    }
}

fn readiness(unready: &[Unready]) -> Response<String> {
    let status = if unready.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons: Vec<_> =
        unready.iter().map(|Unready { condition, detail }| json!({"condition": condition, "detail": detail})).collect();
    let body = json!({"ready": unready.is_empty(), "reasons": reasons});
    response(status, "application/json", format!("{body}\n"))
}

fn text(status: StatusCode, body: &str) -> Response<String> {
    response(status, "text/plain; charset=utf-8", body.to_owned())
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[derive(Default)]
    struct Fixed {
        is_stuck: bool,
        unready: Vec<Unready>,
    }

    impl Instance for Fixed {
        fn metrics(&self) -> String {
            "up 1\n".to_owned()
        }

        fn is_alive(&self) -> bool {
            !self.is_stuck
        }

        fn unready(&self) -> Vec<Unready> {
            self.unready.clone()
        }
    }

    #[test]
    fn listens_at_an_address_or_not_at_all() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("127.0.0.1:9464".parse(), Ok(Listen::At(DEFAULT)));
        assert!(["", "9464", ":9464", "localhost", "on"].iter().all(|text| text.parse::<Listen>().is_err()));
    }

    #[test]
    fn serves_known_paths_to_get_and_head_only() {
        let status = |method, path| respond(&Fixed::default(), &method, path).status().as_u16();
        assert_eq!(status(Method::GET, "/metrics"), 200);
        assert_eq!(status(Method::HEAD, "/livez"), 200);
        assert_eq!(status(Method::GET, "/"), 404);
        assert_eq!(status(Method::POST, "/metrics"), 405);
    }

    #[test]
    fn a_stuck_loop_fails_the_liveness_probe() {
        let instance = Fixed { is_stuck: true, ..Fixed::default() };
        assert_eq!(respond(&instance, &Method::GET, "/livez").status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn an_unready_instance_reports_every_reason() {
        let unready = |condition: &str, detail: &str| Unready { condition: condition.into(), detail: detail.into() };
        let unready = vec![unready("starting", "0 of 1 workers run"), unready("DynamoDB", "it is \"away\"")];
        let response = respond(&Fixed { unready, ..Fixed::default() }, &Method::GET, "/readyz");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body: serde_json::Value = serde_json::from_str(response.body()).unwrap();
        let starting = json!({"condition": "starting", "detail": "0 of 1 workers run"});
        let away = json!({"condition": "DynamoDB", "detail": "it is \"away\""});
        assert_eq!(body, json!({"ready": false, "reasons": [starting, away]}));
    }

    /// Sends a request and returns the response.
    async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok(response)
    }

    async fn serve_on_free_port() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::new(Fixed::default())));
        (address, tasks)
    }

    #[tokio::test]
    async fn a_thousand_idle_connections_delay_no_probe() {
        rlimit::increase_nofile_limit(4096).unwrap();
        let (address, _tasks) = serve_on_free_port().await;
        let mut idle = Vec::new();
        for _ in 0..1000 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }

        // 1,000 connections would take longer than this to run into their timeout, 64 at a time.
        let response = timeout(10 * REQUEST_TIMEOUT, get(address, "/livez")).await;

        assert!(response.expect("a response in time").unwrap().starts_with("HTTP/1.1 200 OK"));
    }

    #[tokio::test]
    async fn closes_the_oldest_idle_connection_before_one_with_a_request() {
        let (mut connections, mut tasks) = (VecDeque::new(), JoinSet::new());
        for has_request in [true, false, false] {
            let task = tasks.spawn(std::future::pending::<()>());
            connections.push_back(Connection { task, has_request: Arc::new(AtomicBool::new(has_request)) });
        }
        let ids: Vec<_> = connections.iter().map(|connection| connection.task.id()).collect();

        for _ in 0..2 {
            close_one(&mut connections);
        }

        assert_eq!(connections.iter().map(|connection| connection.task.id()).collect::<Vec<_>>(), ids[..1]);
    }
}
