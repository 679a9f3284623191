//! Runs a server on its own thread and runtime, so that it does not slow its clients down and stops with its owner.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// A running server. Dropping it stops the server at once and closes its connections.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    failure: oneshot::Receiver<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts a thread. On it, `bind` starts to listen and returns the address and the future that serves.
    pub async fn start<Bind, Serve>(name: &str, bind: impl FnOnce() -> Bind + Send + 'static) -> io::Result<Running>
    where
        Bind: Future<Output = io::Result<(SocketAddr, Serve)>>,
        Serve: Future<Output = Result<(), String>>,
    {
        let (stop, stopped) = oneshot::channel();
        let (ready, bound) = oneshot::channel();
        let (failed, failure) = oneshot::channel();
        let run = move |runtime: &tokio::runtime::Runtime| {
            runtime.block_on(async {
                let (address, serve) = match bind().await {
                    Ok(server) => server,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                // If the caller was dropped, `stopped` has completed too.
                let _ = ready.send(Ok(address));
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    result = serve => {
                        let reason = result.err().unwrap_or_else(|| "it ended without an error".to_owned());
                        drop(failed.send(reason));
                    }
                }
            });
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            run(&runtime);
            // Do not wait for blocking tasks that are still running.
            runtime.shutdown_background();
        })?;
        let address = bound.await.map_err(|_| io::Error::other("the server's thread ended"))??;
        Ok(Running { address, failure, stop: Some(stop), thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server fails and returns the reason.
    pub async fn failure(&mut self) -> String {
        (&mut self.failure).await.unwrap_or_else(|_| "its thread ended".to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error means that the thread panicked, which the panic hook has already reported.
            let _ = thread.join();
        }
    }
}
