//! One HTTP request to an endpoint: bounded in time and memory, without redirects and proxies.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::connector::{ConnectError, GuardedConnector, TimedConnector};
use crate::origin::TraceParent;
use crate::ports::{Clock, SystemClock};
use crate::resolver::Resolver;
use crate::signing::{SIGNATURE, SIGNED_ID, TIMESTAMP};
use crate::target::{Policy, RefusedTarget};

const TRACEPARENT: &str = "traceparent";

/// A signed webhook.
#[derive(Clone)]
pub struct Post {
    pub url: String,
    pub id: String,
    /// The time of the attempt, in seconds.
    pub timestamp: u64,
    pub signature: Option<String>,
    /// The header `traceparent`.
    pub trace: Option<TraceParent>,
    pub body: Bytes,
}

/// What an endpoint answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The time until the header `retry-after`, which is a number of seconds or a date.
    pub retry_after: Option<Duration>,
    /// The first bytes of the body, at most [`Answer::MAX_BODY`]. They are data of a stranger.
    pub body: Bytes,
}

impl Answer {
    pub const MAX_BODY: usize = 1024;
}

/// Why there is no answer. The texts contain no URL, because URLs may contain secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    #[error("the guard refused the target: {0}")]
    Refused(#[from] RefusedTarget),
    #[error("the endpoint has no signing secret")]
    NoSecret,
    #[error("the name of the endpoint cannot be resolved")]
    Resolve,
    #[error("cannot connect to the endpoint")]
    Connect,
    #[error("the TLS handshake with the endpoint failed")]
    Tls,
    #[error("the endpoint did not answer in time")]
    TimedOut,
    #[error("the endpoint closed the connection, or its answer is not valid HTTP")]
    Broken,
}

/// Sends webhooks.
pub trait Sender: Send + Sync + 'static {
    /// Makes one request. The future must end within a bounded time; if it is dropped, the request ends.
    fn send(&self, post: Post) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// The limits of a request.
#[derive(Clone, Debug)]
pub struct SenderSettings {
    pub user_agent: String,
    /// The longest time of a request, with resolution, connection and TLS handshake.
    pub timeout: Duration,
    /// The longest time of a connection with its TLS handshake.
    pub connect_timeout: Duration,
    /// How long a connection is kept for the next request. The guard checks addresses only when it connects.
    pub idle_timeout: Duration,
    pub max_idle_per_host: usize,
}

impl Default for SenderSettings {
    fn default() -> SenderSettings {
        SenderSettings {
            user_agent: concat!("webhooks/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            max_idle_per_host: 4,
        }
    }
}

/// Why a sender cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SenderError {
    #[error("cannot read the root certificates of this system; install the package ca-certificates")]
    NoRoots(#[source] std::io::Error),
    #[error("the user agent is not a valid header")]
    UserAgent(#[source] http::header::InvalidHeaderValue),
    #[error("the cryptography provider does not support TLS 1.2 and 1.3")]
    Tls(#[source] rustls::Error),
}

/// The sender over HTTP/1.1. It has no code for redirects and proxies, and its only way to connect is the guard.
pub struct HttpSender {
    client: Client<TimedConnector, Full<Bytes>>,
    policy: Arc<Policy>,
    user_agent: HeaderValue,
    timeout: Duration,
}

impl HttpSender {
    /// The longest status line and headers that are read.
    const MAX_HEAD: usize = 16 << 10;
    /// A longer body closes the connection. A shorter one is read to its end, so that the connection can be used again.
    const MAX_DISCARDED: usize = 16 << 10;
    /// The status is known before the body, so the body may not take long.
    const BODY_TIMEOUT: Duration = Duration::from_secs(1);

    /// Creates a sender that trusts the root certificates of the system.
    pub fn new(
        policy: Policy,
        resolver: Arc<dyn Resolver>,
        settings: SenderSettings,
    ) -> Result<HttpSender, SenderError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let roots = versions.map_err(SenderError::Tls)?.with_native_roots().map_err(SenderError::NoRoots)?;
        HttpSender::with_tls(policy, resolver, settings, roots.with_no_client_auth())
    }

    /// Creates a sender with other root certificates or a client certificate.
    pub fn with_tls(
        policy: Policy,
        resolver: Arc<dyn Resolver>,
        settings: SenderSettings,
        tls: ClientConfig,
    ) -> Result<HttpSender, SenderError> {
        let policy = Arc::new(policy);
        let tcp = GuardedConnector { policy: Arc::clone(&policy), resolver };
        let inner =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(settings.max_idle_per_host)
            .http1_max_buf_size(Self::MAX_HEAD)
            .build(TimedConnector { inner, limit: settings.connect_timeout });
        let user_agent = HeaderValue::from_str(&settings.user_agent).map_err(SenderError::UserAgent)?;
        Ok(HttpSender { client, policy, user_agent, timeout: settings.timeout })
    }

    fn request(&self, post: Post) -> Result<Request<Full<Bytes>>, RefusedTarget> {
        let target = self.policy.check_url(&post.url)?;
        let uri: Uri = target.as_str().parse().map_err(|_| RefusedTarget::InvalidUrl)?;
        let mut request = Request::post(uri);
        if let Some(signature) = post.signature {
            request = request.header(SIGNATURE, signature);
        }
        if let Some(trace) = post.trace {
            request = request.header(TRACEPARENT, trace.as_str());
        }
        request
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, &self.user_agent)
            .header(SIGNED_ID, post.id)
            .header(TIMESTAMP, post.timestamp)
            .body(Full::new(post.body))
            .map_err(|_| RefusedTarget::InvalidUrl)
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let response = self.client.request(request).await.map_err(|error| failure(&error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers(), SystemClock.now());
        let mut start = Vec::new();
        // Without a complete body, the status still counts.
        let _ = timeout(Self::BODY_TIMEOUT, read_start(response.into_body(), &mut start)).await;
        Ok(Answer { status, retry_after, body: start.into() })
    }
}

impl Sender for HttpSender {
    async fn send(&self, post: Post) -> Result<Answer, Failure> {
        let request = self.request(post)?;
        timeout(self.timeout, self.answer(request)).await.unwrap_or(Err(Failure::TimedOut))
    }
}

/// Reads a body, and keeps its first bytes.
async fn read_start(mut body: Incoming, start: &mut Vec<u8>) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        // Trailers are no part of the body, but an endless sequence of frames must end.
        let data = frame.into_data().unwrap_or_default();
        length += data.len().max(1);
        let kept = data.len().min(Answer::MAX_BODY - start.len());
        start.extend_from_slice(&data[..kept]);
        if length > HttpSender::MAX_DISCARDED {
            return;
        }
    }
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn failure(error: &Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<ConnectError>() {
            return match error {
                ConnectError::Refused(refused) => Failure::Refused(refused.clone()),
                ConnectError::Resolve(_) => Failure::Resolve,
                ConnectError::Connect(_) => Failure::Connect,
                ConnectError::TimedOut(_) => Failure::TimedOut,
                ConnectError::Tls(_) => Failure::Tls,
            };
        }
        source = cause.source();
    }
    Failure::Broken
}

#[cfg(test)]
mod tests;
