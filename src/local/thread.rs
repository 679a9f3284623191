//! A server on a thread and a runtime of its own, so that it neither slows what it serves nor outlives its owner.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// A server that answers. Dropping it stops it at once, open streams and all.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    failure: oneshot::Receiver<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// `bind` listens, and says where and what is to be run from then on.
    pub(super) async fn start<Bind, Serve>(
        name: &str,
        bind: impl FnOnce() -> Bind + Send + 'static,
    ) -> io::Result<Running>
    where
        Bind: Future<Output = io::Result<(SocketAddr, Serve)>>,
        Serve: Future<Output = Result<(), String>>,
    {
        let (stop, stopped) = oneshot::channel();
        let (ready, bound) = oneshot::channel();
        let (failed, failure) = oneshot::channel();
        let life = move |runtime: &tokio::runtime::Runtime| {
            runtime.block_on(async {
                let (address, serve) = match bind().await {
                    Ok(server) => server,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                // Whoever waited may have gone: then `stopped` is over as well.
                let _ = ready.send(Ok(address));
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    result = serve => drop(failed.send(result.err().unwrap_or_else(|| "it ended by itself".to_owned()))),
                }
            });
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            life(&runtime);
            // A blocking task that still runs must not delay the stop.
            runtime.shutdown_background();
        })?;
        let address = bound.await.map_err(|_| io::Error::other("the server's thread ended"))??;
        Ok(Running { address, failure, stop: Some(stop), thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why the server no longer answers; waits for as long as it does.
    pub async fn failure(&mut self) -> String {
        (&mut self.failure).await.unwrap_or_else(|_| "its thread ended".to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panicked if there is an error, which the panic's own message has told.
            let _ = thread.join();
        }
    }
}
