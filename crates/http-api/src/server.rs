//! The server: accepts connections up to a limit, closes slow ones, and drains at the end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

/// With more, further connections wait in the backlog of the operating system.
const MAX_CONNECTIONS: usize = 1024;
/// A connection that does not send the whole head of its next request within this time is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection closes after the response that is in progress at this age, so that load spreads over new instances.
const MAX_AGE: Duration = Duration::from_secs(300);
/// How long that response may take. A client that does not read must not keep its memory forever.
const LAST_RESPONSE: Duration = Duration::from_secs(60);
/// A client that reads nothing for this long is disconnected: its request is in progress until the response is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 32 << 10;
/// The pause after a failed accept, e.g. when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound server that does not accept connections yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections with an unfinished request, which were closed at the end of the grace period.
    pub aborted: usize,
}

impl Server {
    pub async fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`. Then it accepts no connection, closes idle ones, and lets requests in progress finish for at most
    /// `grace`.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>, grace: Duration) -> Drained {
        let (stopping, _) = watch::channel(());
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                (stream, permit) = accept(&self.listener, &permits) => {
                    connections.spawn(serve(stream, router.clone(), stopping.subscribe(), permit));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        stopping.send_replace(());
        let finished = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
        Drained { aborted: if finished.is_ok() { 0 } else { connections.len() } }
    }
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, router: Router, mut stopping: watch::Receiver<()>, _permit: OwnedSemaphorePermit) {
    // A failure costs latency only.
    let _ = stream.set_nodelay(true);
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let io = TokioIo::new(Box::pin(stream));
    let mut connection = pin!(server.serve_connection(io, TowerToHyperService::new(router)));
    // Nobody waits for the error of a client that left or sent no HTTP.
    let is_old = tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.changed() => false,
        () = sleep(MAX_AGE) => true,
    };
    connection.as_mut().graceful_shutdown();
    // At a drain, the grace period bounds the last response.
    let bound = if is_old { LAST_RESPONSE } else { Duration::MAX };
    let _ = timeout(bound, connection).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, oneshot};

    use super::*;

    async fn request(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_drain_finishes_requests_and_closes_idle_connections() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (began_too, go_on_too) = (began.clone(), go_on.clone());
        let slow = async move || {
            began_too.notify_one();
            go_on_too.notified().await;
            "done"
        };
        let router = Router::new().route("/slow", get(slow)).route("/", get(async || "hi"));
        let (stop, stopped) = oneshot::channel::<()>();
        let client = async {
            let idle = request(address, "/").await;
            let slow = request(address, "/slow").await;
            began.notified().await;
            stop.send(()).unwrap();
            // The connection without a request closes first.
            assert!(rest(idle).await.ends_with("hi"));
            go_on.notify_one();
            assert!(rest(slow).await.ends_with("done"));
        };
        let stopped = async { _ = stopped.await };
        let (drained, ()) = tokio::join!(server.serve(router, stopped, Duration::from_secs(30)), client);
        assert_eq!(drained, Drained { aborted: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_its_response_is_disconnected() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        // Larger than all buffers between server and client.
        let router = Router::new().route("/", get(async || "x".repeat(64 << 20)));
        let client = async {
            let mut stream = request(address, "/").await;
            sleep(2 * WRITE_TIMEOUT).await;
            let mut read = Vec::new();
            let _ = stream.read_to_end(&mut read).await;
            assert!(read.len() < 64 << 20);
        };
        // The connection is closed, so that nothing is left to drain.
        assert_eq!(server.serve(router, client, Duration::from_secs(1)).await, Drained { aborted: 0 });
    }

    #[tokio::test]
    async fn a_request_that_takes_longer_than_the_grace_period_is_aborted() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        let began = Arc::new(Notify::new());
        let began_too = began.clone();
        let hang = async move || {
            began_too.notify_one();
            std::future::pending::<String>().await
        };
        let router = Router::new().route("/", get(hang));
        let stop = async {
            let stream = request(address, "/").await;
            began.notified().await;
            drop(stream.try_write(b"x"));
            std::mem::forget(stream);
        };
        assert_eq!(server.serve(router, stop, Duration::from_millis(1)).await, Drained { aborted: 1 });
    }
}
