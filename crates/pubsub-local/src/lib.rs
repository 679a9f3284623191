//! A [Google Cloud Pub/Sub](https://cloud.google.com/pubsub) server in memory, for tests and demos.
//!
//! A [`Server`] speaks Google's gRPC and REST APIs on one port, so the official client libraries work with it
//! unchanged. It has leases, redelivery, retry policies, dead-letter topics, seek to a time and flow control.
//! [`Faults`] makes it deliver twice, reorder messages, lose acknowledgements and close streams. An [`Observer`] reads
//! the [`Counts`] of a subscription and listens to [`Event`]s.
//!
//! The server rejects settings that it does not apply with UNIMPLEMENTED: exactly-once delivery, message ordering,
//! filters, message retention by topics, push delivery, exports, message transforms, schemas and ingestion. The README
//! lists what it supports and what it does not.
//!
//! # Example
//!
//! ```
//! use google_cloud_auth::credentials::anonymous;
//! use google_cloud_pubsub::client::{Publisher, SubscriptionAdmin, TopicAdmin};
//! use google_cloud_pubsub::model::Message;
//! use pubsub_local::Server;
//!
//! const TOPIC: &str = "projects/test/topics/orders";
//! const SUBSCRIPTION: &str = "projects/test/subscriptions/orders";
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Port 0 is any free port.
//! let server = Server::bind("127.0.0.1:0".parse()?).await?;
//! let endpoint = format!("http://{}", server.address());
//! let observer = server.observer();
//! let serving = tokio::spawn(server.serve(std::future::pending()));
//!
//! let credentials = anonymous::Builder::new().build();
//! let topics = TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(credentials.clone()).build().await?;
//! topics.create_topic().set_name(TOPIC).send().await?;
//! let subscriptions =
//!     SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(credentials.clone()).build().await?;
//! subscriptions.create_subscription().set_name(SUBSCRIPTION).set_topic(TOPIC).send().await?;
//!
//! let publisher = Publisher::builder(TOPIC).with_endpoint(&endpoint).with_credentials(credentials).build().await?;
//! publisher.publish(Message::new().set_data("one")).await?;
//!
//! let counts = observer.counts(SUBSCRIPTION).expect("the subscription exists");
//! assert_eq!((counts.published, counts.ready), (1, 1));
//! serving.abort();
//! # Ok(())
//! # }
//! ```

// Layers: `queue`, with `backlog`, `leases`, `retained`, `streams`, `window`, `settings`, `message` and `names`, is pure.
// `subscription`, `timer`, `broker` and `pull` share it between clients and wake them. `grpc` and `rest` translate.

#![warn(missing_docs)]

mod backlog;
mod broker;
mod error;
mod events;
mod faults;
mod grpc;
mod leases;
mod message;
mod names;
mod pull;
mod queue;
mod rest;
mod retained;
mod settings;
mod streams;
mod subscription;
mod timer;
mod window;
mod wire;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use self::broker::Broker;
pub use self::events::Event;
pub use self::faults::Faults;
pub use self::queue::Counts;

/// How long a shutdown waits for clients to close their connections.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// A Pub/Sub server, which starts without topics.
///
/// All its state is in memory and is lost when the server ends. It needs no credentials and offers no TLS, so bind it
/// to a loopback address unless everyone who can reach it may use it.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    broker: Arc<Broker>,
}

/// Watches a server from inside the process, while it serves and afterwards.
#[derive(Clone)]
pub struct Observer {
    broker: Arc<Broker>,
}

impl Server {
    /// Listens on `address`, where port 0 is any free port. Connections wait until [`Server::serve`] is called.
    pub async fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address, broker: Arc::new(Broker::new()) })
    }

    /// Returns the address that the server listens on, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the controls for fault injection. They work before and while the server serves.
    pub fn faults(&self) -> Faults {
        self.broker.faults().clone()
    }

    /// Returns an observer of this server.
    pub fn observer(&self) -> Observer {
        Observer { broker: Arc::clone(&self.broker) }
    }

    /// Serves until `shutdown` completes. Open streams then end with UNAVAILABLE, and the server waits at most one
    /// second for clients to close their connections.
    ///
    /// Each connection is a task of the runtime. To close all connections at once, drop the runtime.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Server { listener, broker, .. } = self;
        let router = grpc::router(Arc::clone(&broker)).merge(rest::router(Arc::clone(&broker)));
        // Without TCP_NODELAY the server works too, only with more latency.
        let listener = listener.tap_io(|connection| _ = connection.set_nodelay(true));
        let mut shutting_down = broker.shutdown();
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown({
                let broker = Arc::clone(&broker);
                async move {
                    shutdown.await;
                    broker.shut_down();
                }
            })
            .into_future();
        let closing = async {
            // An error would mean that the broker was dropped, but this function owns it.
            _ = shutting_down.wait_for(|requested| *requested).await;
            tokio::time::sleep(CLOSING_TIME).await;
        };
        tokio::select! {
            served = serving => served,
            () = closing => Ok(()),
            () = broker.run_timer() => Ok(()),
        }
    }
}

impl Observer {
    /// Returns the counts of a subscription, given its full name, or `None` if it does not exist.
    pub fn counts(&self, subscription: &str) -> Option<Counts> {
        self.broker.subscription(subscription).ok().map(|subscription| subscription.counts())
    }

    /// Calls `listener` for every [`Event`] from now on.
    ///
    /// The acknowledgements of a subscription come in the order in which they happen. Every event comes before the
    /// response to the request that caused it, so it precedes whatever a client does because of that response. The
    /// server calls the listener on its own threads while it holds a lock: the listener must return soon and must not
    /// call the server.
    pub fn listen(&self, listener: impl Fn(&Event<'_>) + Send + Sync + 'static) {
        self.broker.listeners().add(Box::new(listener));
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
