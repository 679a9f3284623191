//! The HTTP endpoint of an instance: `/metrics`, `/livez` and `/readyz`. It only reads what the program reports and never
//! blocks it.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

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

use crate::metrics;

/// The port that Prometheus exporters of OpenTelemetry use.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Connections whose request and response take longer are closed.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Further connections wait.
const MAX_CONNECTIONS: usize = 32;
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
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((connection, _)) => {
                    connections.spawn(serve(connection, instance.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one request of one connection.
async fn serve(connection: TcpStream, instance: Arc<dyn Instance>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(&*instance, request.method(), request.uri().path());
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(connection), service);
    // Nobody waits for the error of a client that left or sent no HTTP.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
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
}
