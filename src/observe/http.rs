//! The endpoint for those who watch this instance: `/metrics`, `/livez` and `/readyz`. It asks the consumer, and never
//! makes it wait.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::exposition;
use super::page::page;
use crate::consumer::Process;

/// The port that Prometheus exporters of OpenTelemetry use.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Whoever takes longer to ask is cut off.
const LONGEST: Duration = Duration::from_secs(10);
/// Of those who ask at once; the others wait.
const MOST_CONNECTIONS: usize = 32;
/// After an error of accepting, such as no open file being left.
const PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, as `--http-listen` says.
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
                "write an address and a port, as 127.0.0.1:9464, 0.0.0.0:9464 or [::]:9464, or `off`".to_owned()
            }),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (--http-listen, MINI_SCAN_HTTP_LISTEN)")]
pub struct CannotListen {
    address: SocketAddr,
    source: io::Error,
}

/// The endpoint, until it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    _tasks: JoinSet<()>,
}

/// Listens on the runtime that calls this. Without a choice, where the usual port is taken, as by another instance on
/// this machine, it says so and there is no endpoint; a choice that cannot be had is an error.
pub async fn listen(choice: Option<Listen>, process: Arc<Process>) -> Result<Option<Endpoint>, CannotListen> {
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
            warn!("no /metrics, /livez and /readyz: cannot listen on {address}: {error}. Choose with --http-listen");
            return Ok(None);
        }
        Err(source) => return Err(CannotListen { address, source }),
    };
    info!("watch this instance at http://{address}/metrics, /livez and /readyz");
    #[expect(clippy::disallowed_methods, reason = "the start of the process, for people")]
    let watched = Arc::new(Watched { process, started: SystemTime::now() });
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, watched));
    Ok(Some(Endpoint { _tasks: tasks }))
}

async fn accept(listener: TcpListener, watched: Arc<Watched>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((connection, _)) => {
                    connections.spawn(serve(connection, watched.clone()));
                }
                Err(_) => sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request of one connection.
async fn serve(connection: TcpStream, watched: Arc<Watched>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = watched.answer(request.method(), request.uri().path());
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(connection), service);
    // Whoever asks and goes away, or asks nonsense, has nothing to be told.
    let _ = timeout(LONGEST, connection).await;
}

#[derive(Debug)]
struct Watched {
    process: Arc<Process>,
    started: SystemTime,
}

impl Watched {
    fn answer(&self, method: &Method, path: &str) -> Response<String> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/metrics" => response(StatusCode::OK, exposition::CONTENT_TYPE, page(&self.process, self.started)),
            "/livez" if self.process.liveness.is_alive() => text(StatusCode::OK, "alive\n"),
            "/livez" => text(StatusCode::SERVICE_UNAVAILABLE, "a worker's loop has not turned for a minute\n"),
            "/readyz" => self.readiness(),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
        }
    }

    fn readiness(&self) -> Response<String> {
        let unready = self.process.unready();
        let status = if unready.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let reasons: Vec<_> =
            unready.iter().map(|why| json!({"condition": why.condition, "detail": why.detail})).collect();
        let body = json!({"ready": unready.is_empty(), "reasons": reasons});
        response(status, "application/json", format!("{body}\n"))
    }
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
    use super::super::page::tests::process;
    use super::*;
    use crate::consumer::Condition;

    fn watched() -> Watched {
        Watched { process: Arc::new(process()), started: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn an_address_is_an_address_or_off() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("127.0.0.1:9464".parse(), Ok(Listen::At(DEFAULT)));
        assert!(["", "9464", ":9464", "localhost", "on"].iter().all(|text| text.parse::<Listen>().is_err()));
    }

    #[test]
    fn only_what_is_there_is_answered_and_only_to_who_reads() {
        let watched = watched();
        let status = |method, path| watched.answer(&method, path).status().as_u16();
        assert_eq!(status(Method::GET, "/metrics"), 200);
        assert_eq!(status(Method::HEAD, "/livez"), 200);
        assert_eq!(status(Method::GET, "/"), 404);
        assert_eq!(status(Method::POST, "/metrics"), 405);
    }

    #[test]
    fn who_is_not_ready_says_every_reason() {
        let watched = watched();
        watched.process.health.raise(Condition::Store, "Unavailable", "it is \"away\"");
        let answer = watched.answer(&Method::GET, "/readyz");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body: serde_json::Value = serde_json::from_str(answer.body()).unwrap();
        let starting = json!({"condition": "starting", "detail": "0 of 1 workers read"});
        let away = json!({"condition": "DynamoDB", "detail": "it is \"away\""});
        assert_eq!(body, json!({"ready": false, "reasons": [starting, away]}));
    }
}
