//! The embedded Pub/Sub server: Google's API for a publisher and a consumer, over gRPC and over HTTP with JSON, on one
//! port. It keeps everything in memory and can be told to misbehave. Knows nothing of scans or of the consumer.
//!
//! Tiers: `queue` (with `backlog`, `leases`, `streams`, `window`, `settings`, `message`, `names`) is pure; `subscription`, `alarm`,
//! `broker` and `pull` share it between callers and wake them; `grpc` and `rest` translate.

mod alarm;
mod backlog;
mod broker;
mod faults;
mod grpc;
mod leases;
mod message;
mod names;
mod pull;
mod queue;
mod refusal;
mod rest;
mod settings;
mod streams;
mod subscription;
mod window;
mod wire;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use self::broker::Broker;
pub use self::faults::Faults;
pub use self::queue::Counts;

// How long a client may take to notice that its connection is being closed.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// A Pub/Sub server with no topics.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    broker: Arc<Broker>,
}

/// Looks at a server from inside the process, while it serves and after.
#[derive(Clone)]
pub struct Observer {
    broker: Arc<Broker>,
}

impl Server {
    /// Listens from here on; port 0 picks a free one. Requests wait until [`Server::serve`].
    pub async fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address, broker: Arc::new(Broker::new()) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the server misbehave, before and while it serves.
    pub fn faults(&self) -> Faults {
        self.broker.faults().clone()
    }

    pub fn observer(&self) -> Observer {
        Observer { broker: Arc::clone(&self.broker) }
    }

    /// Serves until `shutdown` is ready. Then open streams end with UNAVAILABLE.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Server { listener, broker, .. } = self;
        let router = grpc::router(Arc::clone(&broker)).merge(rest::router(Arc::clone(&broker)));
        // A failure costs latency only.
        let listener = listener.tap_io(|connection| _ = connection.set_nodelay(true));
        let mut stopping = broker.stopping();
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown({
                let broker = Arc::clone(&broker);
                async move {
                    shutdown.await;
                    broker.stop();
                }
            })
            .into_future();
        let closing = async {
            // An error says that the broker is gone, which this function still holds.
            _ = stopping.wait_for(|stopping| *stopping).await;
            tokio::time::sleep(CLOSING_TIME).await;
        };
        tokio::select! {
            served = serving => served,
            () = closing => Ok(()),
            () = broker.keep_time() => Ok(()),
        }
    }
}

impl Observer {
    /// Of a subscription by its full name; `None` when it does not exist.
    pub fn counts(&self, subscription: &str) -> Option<Counts> {
        self.broker.subscription(subscription).ok().map(|subscription| subscription.counts())
    }
}

#[cfg(test)]
mod tests;
