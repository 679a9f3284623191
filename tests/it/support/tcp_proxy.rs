//! A TCP proxy that injects faults: it can close, refuse, freeze, delay and slow down connections. It works before every server
//! whose clients send first, and does not know what the bytes mean.

mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::servers::Embedded;
use super::with_timeout;

const CHUNK_BYTES: usize = 64 << 10;
/// Chunks in flight in one direction of a connection. With more of them the sender has to wait.
const CHUNKS_IN_FLIGHT: usize = 64;
/// What a limited line may send at once after it was idle. It makes up for timers that are late.
const BURST: Duration = Duration::from_millis(20);
/// The listen backlog: connections that the proxy has not accepted yet.
const BACKLOG: u32 = 1024;

/// Inspects the first bytes of a connection.
pub(crate) type Inspect = Arc<dyn Fn(&[u8]) -> Inspection + Send + Sync>;

/// The result of an inspection.
pub(crate) enum Inspection {
    /// The inspection needs more bytes.
    NeedsMore,
    Forward,
    /// The proxy sends this response instead of the server.
    Respond(String),
}

/// A proxy on its own port. It has its own thread, so that it works on time while the tests load the other threads.
/// A command is in effect when its method returns. Dropping the proxy closes its connections and refuses new ones.
pub(crate) struct TcpProxy {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    _thread: Embedded,
}

/// The commands in effect. Connections are numbered in the order of their acceptance.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    opened: u64,
    /// Connections below this number are closed.
    closed: u64,
    /// Connections below this number are frozen. It may exceed `opened`.
    frozen: u64,
    refusing: bool,
    /// Whether the port refuses connections already.
    refused: bool,
    delay: Duration,
    /// The rate of all bytes from the clients together.
    bytes_per_second: Option<u32>,
    /// Chunks that a freeze has stalled.
    stalled: usize,
    /// Connections that were closed, and chunks that were stalled or delayed.
    disturbed: usize,
    /// Chunks that begin with the head of a POST request.
    posts: usize,
}

impl TcpProxy {
    /// Starts a proxy before the server at `host:port`, which may start later.
    pub(crate) fn before(server: &str) -> TcpProxy {
        TcpProxy::inspecting(server, Arc::new(|_| Inspection::Forward))
    }

    /// Starts a proxy that answers some connections itself.
    pub(crate) fn inspecting(server: &str, inspect: Inspect) -> TcpProxy {
        let state = watch::Sender::new(State::default());
        let (seen, server) = (state.clone(), server.to_owned());
        let (thread, ()) = Embedded::start("tcp-proxy", async || {
            let listener = listen(bind("127.0.0.1:0".parse().expect("a literal address")));
            let address = listener.local_addr().expect("a bound listener");
            (address, (), serve(listener, address, server, inspect, seen))
        });
        TcpProxy { address: thread.address, state, _thread: thread }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Resets every open connection.
    pub(crate) fn close_open(&self) {
        self.state.send_modify(|state| state.closed = state.opened);
    }

    /// Refuses new connections.
    pub(crate) async fn refuse(&self) {
        self.state.send_modify(|state| state.refusing = true);
        wait_for(&self.state, |state| state.refused).await;
    }

    /// Accepts new connections again.
    pub(crate) async fn accept(&self) {
        self.state.send_modify(|state| state.refusing = false);
        wait_for(&self.state, |state| !state.refused).await;
    }

    /// Forwards nothing more, in either direction, on the connections that are open now. New connections work.
    pub(crate) fn freeze_open(&self) {
        self.state.send_modify(|state| state.frozen = state.opened);
    }

    /// Forwards nothing more, in either direction, on open and new connections. It still accepts connections.
    pub(crate) fn freeze(&self) {
        self.state.send_modify(|state| state.frozen = u64::MAX);
    }

    /// Forwards the stalled bytes and everything that follows.
    pub(crate) fn thaw(&self) {
        self.state.send_modify(|state| state.frozen = 0);
    }

    /// Delays every byte by this time, in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Lets all connections together forward this many bytes per second from the clients, in turn.
    pub(crate) fn limit(&self, bytes_per_second: u32) {
        self.state.send_modify(|state| state.bytes_per_second = Some(bytes_per_second));
    }

    /// Returns how many connections were closed and chunks were held back or delayed so far.
    pub(crate) fn disturbed(&self) -> usize {
        self.state.borrow().disturbed
    }

    /// Returns the number of connections accepted so far.
    pub(crate) fn opened(&self) -> u64 {
        self.state.borrow().opened
    }

    /// Returns the number of POST requests that clients began so far, even if they did not send the whole body.
    pub(crate) fn posts(&self) -> usize {
        self.state.borrow().posts
    }

    /// Waits until the proxy has accepted `connections` connections in total.
    pub(crate) async fn wait_for_opened(&self, connections: u64) {
        let opened = wait_for(&self.state, |state| state.opened >= connections);
        with_timeout("new connections through a proxy", opened).await;
    }

    /// Waits until a freeze has stalled `chunks` chunks.
    pub(crate) async fn wait_for_stalled(&self, chunks: usize) {
        let stalled = wait_for(&self.state, |state| state.stalled >= chunks);
        with_timeout("stalled bytes in a frozen proxy", stalled).await;
    }
}

async fn wait_for(state: &watch::Sender<State>, condition: impl Fn(&State) -> bool) {
    let mut state = state.subscribe();
    state.wait_for(|state| condition(state)).await.expect("the caller holds a sender");
}

async fn serve(
    mut listener: TcpListener,
    address: SocketAddr,
    server: String,
    inspect: Inspect,
    state: watch::Sender<State>,
) {
    let mut connections = JoinSet::new();
    let line = Arc::new(Mutex::new(Instant::now()));
    loop {
        let accepted = tokio::select! {
            () = wait_for(&state, |state| state.refusing) => None,
            accepted = listener.accept() => accepted.ok(),
        };
        let Some((client, _)) = accepted else {
            listener = refuse(listener, address, &state).await;
            continue;
        };
        let mut number = None;
        // A connection that arrives during a refusal is dropped and does not count.
        state.send_if_modified(|state| {
            number = (!state.refusing).then_some(state.opened);
            state.opened += u64::from(number.is_some());
            number.is_some()
        });
        if let Some(number) = number {
            let view = View { number, state: state.clone(), line: line.clone() };
            connections.spawn(connect(client, server.clone(), inspect.clone(), view));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Keeps the port bound without listening, so that the system refuses connections, until `accept` is called.
async fn refuse(listener: TcpListener, address: SocketAddr, state: &watch::Sender<State>) -> TcpListener {
    if !state.borrow().refusing {
        return listener;
    }
    // Both sockets are bound for a moment, so that no other process gets the port.
    let port = bind(address);
    drop(listener);
    state.send_modify(|state| state.refused = true);
    wait_for(state, |state| !state.refusing).await;
    let listener = listen(port);
    state.send_modify(|state| state.refused = false);
    listener
}

/// Returns a socket that is bound to `address`, which another socket of this function may share.
fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("every socket has this option");
    socket.bind(address).expect("a free port");
    socket
}

fn listen(socket: TcpSocket) -> TcpListener {
    socket.listen(BACKLOG).expect("a bound socket")
}

/// One connection's view of the commands.
#[derive(Clone)]
struct View {
    number: u64,
    state: watch::Sender<State>,
    /// When the line from the clients has sent its bytes. The lock is fair.
    line: Arc<Mutex<Instant>>,
}

impl View {
    /// Waits until the line has sent this many bytes from a client.
    async fn send(&self, bytes: usize) {
        let Some(bytes_per_second) = self.state.borrow().bytes_per_second else { return };
        let mut sent = self.line.lock().await;
        let start = (*sent).max(Instant::now() - BURST);
        *sent = start + Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_second));
        sleep_until(*sent).await;
    }

    fn count_post(&self, chunk: &[u8]) {
        if chunk.starts_with(b"POST ") {
            // No task waits for this number, so none is woken.
            self.state.send_if_modified(|state| {
                state.posts += 1;
                false
            });
        }
    }

    async fn closed(&self) {
        wait_for(&self.state, |state| self.number < state.closed).await;
    }

    fn is_frozen(&self) -> bool {
        self.number < self.state.borrow().frozen
    }

    async fn thawed(&self) {
        wait_for(&self.state, |state| self.number >= state.frozen).await;
    }

    /// Waits until a chunk may be forwarded, and counts it if it has to wait.
    async fn stall_while_frozen(&self) {
        if self.is_frozen() {
            self.state.send_modify(|state| {
                state.stalled += 1;
                state.disturbed += 1;
            });
            self.thawed().await;
        }
    }
}

async fn connect(mut client: TcpStream, server: String, inspect: Inspect, view: View) {
    tokio::select! {
        _ = forward(&mut client, server, inspect, &view) => {}
        () = view.closed() => {
            // Makes the close a reset.
            let _ = client.set_zero_linger();
            view.state.send_modify(|state| state.disturbed += 1);
        }
    }
}

async fn forward(client: &mut TcpStream, server: String, inspect: Inspect, view: &View) -> std::io::Result<()> {
    let mut first = Vec::new();
    let response = loop {
        if client.read_buf(&mut first).await? == 0 {
            return Ok(());
        }
        match inspect(&first) {
            Inspection::NeedsMore => {}
            Inspection::Forward => break None,
            Inspection::Respond(response) => break Some(response),
        }
    };
    view.count_post(&first);
    view.stall_while_frozen().await;
    if let Some(response) = response {
        return client.write_all(response.as_bytes()).await;
    }
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    server.write_all(&first).await?;
    let ((client_read, client_write), (server_read, server_write)) = (client.split(), server.split());
    tokio::join!(copy(client_read, server_write, view, true), copy(server_read, client_write, view, false));
    Ok(())
}

/// Copies one direction of a connection until its end.
async fn copy(from: impl AsyncReadExt + Unpin, to: impl AsyncWriteExt + Unpin, view: &View, is_client: bool) {
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    tokio::join!(read_chunks(from, sender, view, is_client), write_chunks(receiver, to, view));
}

async fn read_chunks(
    mut from: impl AsyncReadExt + Unpin,
    to: mpsc::Sender<(Instant, Vec<u8>)>,
    view: &View,
    is_client: bool,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read) = from.read(&mut chunk).await {
        view.stall_while_frozen().await;
        if is_client {
            view.count_post(&chunk[..read]);
            view.send(read).await;
        }
        let delay = view.state.borrow().delay;
        if !delay.is_zero() {
            view.state.send_modify(|state| state.disturbed += 1);
        }
        let due = Instant::now() + delay;
        if read == 0 || to.send((due, chunk[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn write_chunks(mut from: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: impl AsyncWriteExt + Unpin, view: &View) {
    while let Some((due, chunk)) = from.recv().await {
        sleep_until(due).await;
        view.thawed().await;
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
    // A freeze stalls the end of the stream as well.
    view.thawed().await;
    let _ = to.shutdown().await;
}
