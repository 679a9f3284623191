//! An [Amazon SQS](https://aws.amazon.com/sqs/) server in memory, for tests and demos.
//!
//! A [`Server`] speaks the JSON protocol of SQS, so the official SDKs and the AWS CLI work with it unchanged. It has
//! standard queues with long polling, visibility timeouts, delays, dead-letter queues and move tasks, with the limits and
//! the errors of AWS. [`Faults`] makes it refuse, delay or throttle requests, lose responses, and fail entries of batches.
//!
//! It rejects FIFO queues. The README lists what it supports and what it does not.
//!
//! # Example
//!
//! ```
//! use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
//! use sqs_local::Server;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Port 0 is any free port.
//! let server = Server::bind("127.0.0.1:0".parse()?).await?;
//! let config = aws_sdk_sqs::Config::builder()
//!     .behavior_version(BehaviorVersion::latest())
//!     .endpoint_url(format!("http://{}", server.address()))
//!     .region(Region::new("us-east-1"))
//!     .credentials_provider(Credentials::new("local", "local", None, None, "local"))
//!     .build();
//! let serving = tokio::spawn(server.serve(std::future::pending()));
//!
//! let sqs = aws_sdk_sqs::Client::from_conf(config);
//! let queue = sqs.create_queue().queue_name("orders").send().await?.queue_url.unwrap();
//! sqs.send_message().queue_url(&queue).message_body("one").send().await?;
//! let received = sqs.receive_message().queue_url(&queue).wait_time_seconds(20).send().await?;
//! assert_eq!(received.messages()[0].body(), Some("one"));
//! serving.abort();
//! # Ok(())
//! # }
//! ```

// Layers: `broker`, with `queue`, `move_tasks`, `settings`, `message` and `names`, is pure. `service` shares it between
// requests and wakes them. `http` and `operations` translate.

#![warn(missing_docs)]

mod broker;
mod error;
mod faults;
mod http;
mod message;
mod move_tasks;
mod names;
mod operations;
mod queue;
mod service;
mod settings;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

pub use self::faults::{Fault, Faults, Operation};
use self::service::Service;

/// How long a shutdown waits for clients to close their connections.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// An SQS server, which starts without queues.
///
/// All its state is in memory and is lost when the server ends. It accepts all credentials and offers no TLS, so bind it
/// to a loopback address unless everyone who can reach it may use it.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    service: Arc<Service>,
}

impl Server {
    /// Listens on `address`, where port 0 is any free port. Connections wait until [`Server::serve`] is called.
    pub async fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address, service: Arc::new(Service::new()) })
    }

    /// Returns the address that the server listens on, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the controls for fault injection. They work before and while the server serves.
    pub fn faults(&self) -> Faults {
        self.service.faults.clone()
    }

    /// Serves until `shutdown` completes. Long polls then end without messages, and the server waits at most one second
    /// for clients to close their connections.
    ///
    /// Each connection is a task of the runtime. To close all connections at once, drop the runtime.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Server { listener, service, .. } = self;
        // Without TCP_NODELAY the server works too, only with more latency.
        let listener = listener.tap_io(|connection| _ = connection.set_nodelay(true));
        let mut shutting_down = service.shutdown();
        let serving = axum::serve(listener, http::router(Arc::clone(&service)))
            .with_graceful_shutdown({
                let service = Arc::clone(&service);
                async move {
                    shutdown.await;
                    service.shut_down();
                }
            })
            .into_future();
        let closing = async {
            // An error would mean that the service was dropped, but this function owns it.
            _ = shutting_down.wait_for(|requested| *requested).await;
            tokio::time::sleep(CLOSING_TIME).await;
        };
        tokio::select! {
            served = serving => served,
            () = closing => Ok(()),
            () = service.run_timer() => Ok(()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
