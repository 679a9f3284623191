//! Connections to addresses that the guard has checked, in the same call.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;
use url::Host;

use crate::resolver::Resolver;
use crate::target::{Policy, RefusedTarget, host, literal_address};

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Refused(#[from] RefusedTarget),
    #[error("the name cannot be resolved")]
    Resolve(#[source] io::Error),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("the TLS handshake failed")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, ConnectError>> + Send>>;

/// Resolves a name, checks its addresses, and connects to one of them.
#[derive(Clone)]
pub(crate) struct GuardedConnector {
    pub(crate) policy: Arc<Policy>,
    pub(crate) resolver: Arc<dyn Resolver>,
}

impl GuardedConnector {
    /// Names with many addresses must not multiply the connections.
    const MAX_ADDRESSES: usize = 4;

    async fn checked_addresses(&self, host: &Host, port: u16) -> Result<Vec<IpAddr>, ConnectError> {
        let addresses = match (literal_address(host), host) {
            (Some(address), _) => vec![address],
            (None, Host::Domain(name)) => self.resolver.resolve(name).await.map_err(ConnectError::Resolve)?,
            (None, _) => Vec::new(),
        };
        self.policy.check_addresses(host, port, &addresses)?;
        Ok(addresses)
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = host(uri.host().ok_or(RefusedTarget::InvalidUrl)?)?;
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let mut failed = io::Error::other("no address was tried");
        for address in self.checked_addresses(&host, port).await?.into_iter().take(Self::MAX_ADDRESSES) {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(ConnectError::Connect)?;
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => failed = error,
            }
        }
        Err(ConnectError::Connect(failed))
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Limits the time of a connection with its TLS handshake. The client finishes some connections in the background, where the
/// time limit of the attempt does not reach them.
#[derive(Clone)]
pub(crate) struct TimedConnector {
    pub(crate) inner: HttpsConnector<GuardedConnector>,
    pub(crate) limit: Duration,
}

impl Service<Uri> for TimedConnector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = ConnectError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = self.limit;
        let connecting = self.inner.call(uri);
        Box::pin(async move {
            let connected = timeout(limit, connecting).await.map_err(|_| ConnectError::TimedOut(limit))?;
            connected.map_err(|error| match error.downcast::<ConnectError>() {
                Ok(error) => *error,
                Err(error) => ConnectError::Tls(error),
            })
        })
    }
}
