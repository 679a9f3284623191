//! A wire before any server whose clients speak first: it passes bytes on, and can be cut, refused, frozen and slowed.
//! It knows nothing of what the bytes mean.

mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::servers::Embedded;
use super::within_patience;

const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that are under way in one direction of a connection; more are left with the sender.
const CHUNKS_UNDER_WAY: usize = 64;
/// Connections that wait to be taken.
const WAITING: u32 = 1024;

/// Looks at the first bytes of a connection: what to answer in place of the server.
pub(crate) type Screen = Arc<dyn Fn(&[u8]) -> Looked + Send + Sync>;

/// What the first bytes say.
pub(crate) enum Looked {
    /// More of them are needed.
    Unsure,
    Pass,
    Answer(String),
}

/// A wire on a port of its own, kept by a thread of its own, so that it does as it is told however busy the rest is.
/// Each command holds from the moment it returns. Dropping the wire cuts its connections and refuses new ones.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    _thread: Embedded,
}

/// What is done with connections, which are numbered as they come.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    opened: u64,
    /// Connections below this number are cut.
    cut: u64,
    /// Connections below this number are frozen, later ones too.
    frozen: u64,
    refusing: bool,
    /// Whether the port refuses at this moment.
    refused: bool,
    delay: Duration,
    /// Chunks that were held back by a freeze.
    held: usize,
}

impl Wire {
    /// Before the server at `host:port`, which need not be there yet.
    pub(crate) fn before(server: &str) -> Wire {
        Wire::screening(server, Arc::new(|_| Looked::Pass))
    }

    /// One that answers some connections itself.
    pub(crate) fn screening(server: &str, screen: Screen) -> Wire {
        let state = watch::Sender::new(State::default());
        let (seen, server) = (state.clone(), server.to_owned());
        let (thread, ()) = Embedded::start("wire", async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("a bound listener");
            (address, (), serve(listener, address, server, screen, seen))
        });
        Wire { address: thread.address, state, _thread: thread }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts every open connection.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cut = state.opened);
    }

    /// Refuses new connections.
    pub(crate) async fn refuse(&self) {
        self.state.send_modify(|state| state.refusing = true);
        wait_for(&self.state, |state| state.refused).await;
    }

    /// Takes new connections again.
    pub(crate) async fn accept(&self) {
        self.state.send_modify(|state| state.refusing = false);
        wait_for(&self.state, |state| !state.refused).await;
    }

    /// Passes nothing on, in either direction, of every connection that is open now. New ones work.
    pub(crate) fn freeze_open(&self) {
        self.state.send_modify(|state| state.frozen = state.opened);
    }

    /// Takes new connections, and passes nothing on in either direction, of open and of new ones.
    pub(crate) fn freeze(&self) {
        self.state.send_modify(|state| state.frozen = u64::MAX);
    }

    /// Passes on again what a freeze held back.
    pub(crate) fn thaw(&self) {
        self.state.send_modify(|state| state.frozen = 0);
    }

    /// Passes everything on this much later, in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Connections that were taken so far.
    pub(crate) fn opened(&self) -> u64 {
        self.state.borrow().opened
    }

    /// Waits until as many connections were taken.
    pub(crate) async fn opens(&self, connections: u64) {
        let opened = wait_for(&self.state, |state| state.opened >= connections);
        within_patience("new connections over a wire", opened).await;
    }

    /// Waits until a freeze has held back as many chunks.
    pub(crate) async fn holds(&self, chunks: usize) {
        let held = wait_for(&self.state, |state| state.held >= chunks);
        within_patience("bytes on a frozen wire", held).await;
    }
}

async fn wait_for(state: &watch::Sender<State>, is_so: impl Fn(&State) -> bool) {
    let mut state = state.subscribe();
    state.wait_for(|state| is_so(state)).await.expect("whoever waits holds a sender");
}

async fn serve(
    mut listener: TcpListener,
    address: SocketAddr,
    server: String,
    screen: Screen,
    state: watch::Sender<State>,
) {
    let mut connections = JoinSet::new();
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
        // Nobody waits for what a refusal leaves as it was.
        state.send_if_modified(|state| {
            number = (!state.refusing).then_some(state.opened);
            state.opened += u64::from(number.is_some());
            number.is_some()
        });
        if let Some(number) = number {
            let line = Line { number, state: state.clone() };
            connections.spawn(connect(client, server.clone(), screen.clone(), line));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Keeps the port without listening, which refuses, until connections are taken again.
async fn refuse(listener: TcpListener, address: SocketAddr, state: &watch::Sender<State>) -> TcpListener {
    if !state.borrow().refusing {
        return listener;
    }
    drop(listener);
    let port = TcpSocket::new_v4().expect("a socket");
    port.set_reuseaddr(true).expect("an option of every socket");
    port.bind(address).expect("nobody took the port in between");
    state.send_modify(|state| state.refused = true);
    wait_for(state, |state| !state.refusing).await;
    let listener = port.listen(WAITING).expect("a bound socket");
    state.send_modify(|state| state.refused = false);
    listener
}

/// One connection's view of the commands.
#[derive(Clone)]
struct Line {
    number: u64,
    state: watch::Sender<State>,
}

impl Line {
    async fn is_cut(&self) {
        wait_for(&self.state, |state| self.number < state.cut).await;
    }

    fn is_frozen(&self) -> bool {
        self.number < self.state.borrow().frozen
    }

    async fn flows(&self) {
        wait_for(&self.state, |state| self.number >= state.frozen).await;
    }

    /// Waits until what was read may go on, and counts it if it may not.
    async fn passes(&self) {
        if self.is_frozen() {
            self.state.send_modify(|state| state.held += 1);
            self.flows().await;
        }
    }
}

async fn connect(mut client: TcpStream, server: String, screen: Screen, line: Line) {
    tokio::select! {
        _ = pass(&mut client, server, screen, &line) => {}
        () = line.is_cut() => {
            // Neither side is told goodbye.
            let _ = client.set_zero_linger();
        }
    }
}

async fn pass(client: &mut TcpStream, server: String, screen: Screen, line: &Line) -> std::io::Result<()> {
    let mut first = Vec::new();
    let answer = loop {
        if client.read_buf(&mut first).await? == 0 {
            return Ok(());
        }
        match screen(&first) {
            Looked::Unsure => {}
            Looked::Pass => break None,
            Looked::Answer(answer) => break Some(answer),
        }
    };
    line.passes().await;
    if let Some(answer) = answer {
        return client.write_all(answer.as_bytes()).await;
    }
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    server.write_all(&first).await?;
    let ((client_read, client_write), (server_read, server_write)) = (client.split(), server.split());
    tokio::join!(carry(client_read, server_write, line), carry(server_read, client_write, line));
    Ok(())
}

/// One direction of a connection, to its end.
async fn carry(from: impl AsyncReadExt + Unpin, to: impl AsyncWriteExt + Unpin, line: &Line) {
    let (sender, receiver) = mpsc::channel(CHUNKS_UNDER_WAY);
    tokio::join!(take(from, sender, line), give(receiver, to, line));
}

async fn take(mut from: impl AsyncReadExt + Unpin, to: mpsc::Sender<(Instant, Vec<u8>)>, line: &Line) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read) = from.read(&mut chunk).await {
        line.passes().await;
        let due = Instant::now() + line.state.borrow().delay;
        if read == 0 || to.send((due, chunk[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn give(mut from: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: impl AsyncWriteExt + Unpin, line: &Line) {
    while let Some((due, chunk)) = from.recv().await {
        sleep_until(due).await;
        line.flows().await;
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
    // The end, too, may be on a wire that is frozen.
    line.flows().await;
    let _ = to.shutdown().await;
}
