//! Servers in the test process, each on its own thread and runtime, and the choice between them and external servers.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{OnceLock, mpsc};
use std::thread::JoinHandle;

use dynamodb_local::Storage;
use pubsub_local::{Faults, Observer, Server};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The server that the Pub/Sub tests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PubsubServer {
    Embedded,
    GoogleEmulator,
}

impl PubsubServer {
    /// Returns the server, its address, and its observer if it is embedded. `MINI_SCAN_CONTRACT_PUBSUB=host:port`
    /// names an external server. Without it, the tests share one embedded server.
    pub(crate) fn choose() -> (PubsubServer, String, Option<Observer>) {
        static EMBEDDED: OnceLock<(Embedded, Faults, Observer)> = OnceLock::new();
        match setting("MINI_SCAN_CONTRACT_PUBSUB") {
            Some(address) => (PubsubServer::GoogleEmulator, address, None),
            None => {
                let (server, _, observer) = EMBEDDED.get_or_init(Embedded::pubsub);
                (PubsubServer::Embedded, server.address.to_string(), Some(observer.clone()))
            }
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            PubsubServer::Embedded => "the embedded Pub/Sub server",
            PubsubServer::GoogleEmulator => "Google's emulator",
        }
    }
}

/// The server that the DynamoDB tests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DynamoServer {
    Dynoxide,
    DynamoDbLocal,
}

impl DynamoServer {
    /// Returns the server and its endpoint. `MINI_SCAN_CONTRACT_DYNAMODB=http://host:port` names an external server.
    /// Without it, the tests share one embedded server.
    pub(crate) fn choose() -> (DynamoServer, String) {
        static EMBEDDED: OnceLock<Embedded> = OnceLock::new();
        match setting("MINI_SCAN_CONTRACT_DYNAMODB") {
            Some(endpoint) => (DynamoServer::DynamoDbLocal, endpoint),
            None => (DynamoServer::Dynoxide, format!("http://{}", EMBEDDED.get_or_init(Embedded::dynamo).address)),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            DynamoServer::Dynoxide => "the embedded DynamoDB (dynoxide)",
            DynamoServer::DynamoDbLocal => "DynamoDB Local",
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests have no flags; the environment chooses their servers")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A server in this process. Dropping it closes its connections and frees its port.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Starts an empty Pub/Sub server on a free port, and returns it with the handles that inject faults and observe.
    pub(crate) fn pubsub() -> (Embedded, Faults, Observer) {
        let (embedded, (faults, observer)) = Embedded::start("pubsub", async || {
            let loopback = "127.0.0.1:0".parse().expect("a literal address");
            let server = Server::bind(loopback).await.expect("a free port");
            let (address, handles) = (server.address(), (server.faults(), server.observer()));
            (address, handles, async { server.serve(std::future::pending()).await.expect("the server runs") })
        });
        (embedded, faults, observer)
    }

    /// Starts an empty DynamoDB on a free port.
    pub(crate) fn dynamo() -> Embedded {
        let (embedded, ()) = Embedded::start("dynamo", async || {
            let database = Storage::Memory.open().expect("a database in memory");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("a bound listener");
            (address, (), dynamodb_local::dynoxide::server::serve_on(listener, database))
        });
        embedded
    }

    /// Runs the server that `bind` returns until it is dropped. `bind` returns its address, handles for it, and the
    /// future that serves.
    pub(super) fn start<T: Send + 'static, S: Future<Output = ()>>(
        name: &str,
        bind: impl AsyncFnOnce() -> (SocketAddr, T, S) + Send + 'static,
    ) -> (Embedded, T) {
        let (bound, binding) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (address, handles, serve) = bind().await;
                bound.send((address, handles)).expect("`start` waits for the address");
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        let (address, handles) = binding.recv().expect("the server binds");
        (Embedded { address, stop: Some(stop), thread: Some(thread.expect("a thread")) }, handles)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread has printed its own panic.
            let _ = thread.join();
        }
    }
}
