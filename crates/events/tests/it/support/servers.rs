//! The embedded servers, each on its own thread and only for one test.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use sqs_local::{Faults, Server};
use tokio::sync::oneshot;

/// Where the program finds its services.
pub(crate) struct Servers {
    pub(crate) sqs: Sqs,
}

impl Servers {
    pub(crate) async fn start() -> Servers {
        Servers { sqs: Sqs::start().await }
    }
}

/// An embedded SQS and a client of it. The client never retries.
pub(crate) struct Sqs {
    /// The value for `AWS_ENDPOINT_URL_SQS`.
    pub(crate) endpoint: String,
    pub(crate) client: Client,
    pub(crate) faults: Faults,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sqs {
    pub(crate) async fn start() -> Sqs {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(ready, stopped));
        let (address, faults): (SocketAddr, Faults) = started.await.expect("the server starts");
        let endpoint = format!("http://{address}");
        let client = client(&endpoint);
        Sqs { endpoint, client, faults, stop: Some(stop), thread: Some(thread) }
    }
}

fn serve(ready: oneshot::Sender<(SocketAddr, Faults)>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        ready.send((server.address(), server.faults())).ok().expect("the test waits for it");
        tokio::select! {
            _ = stopped => {}
            served = server.serve(std::future::pending()) => served.expect("the server does not fail"),
        }
    });
    runtime.shutdown_background();
}

impl Drop for Sqs {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error means that the thread panicked, which the panic hook has already reported.
            let _ = thread.join();
        }
    }
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "tests"))
        .retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}
