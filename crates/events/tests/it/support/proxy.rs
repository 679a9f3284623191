//! A TCP proxy that a test can close: it then ends its connections and accepts no new ones.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) struct Proxy {
    /// The URL of the server behind it.
    pub(crate) endpoint: String,
    is_open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound listener"));
        let (is_open, open) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server.to_owned(), open));
        Proxy { endpoint, is_open, _tasks: tasks }
    }

    pub(crate) fn set_open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.is_open.subscribe()
    }
}

async fn accept(listener: TcpListener, server: String, open: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        if *open.borrow() {
            connections.spawn(forward(client, server.clone(), open.clone()));
        }
    }
}

async fn forward(mut client: TcpStream, server: String, mut open: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = open.wait_for(|is_open| !is_open) => {}
        _ = copy_bidirectional(&mut client, &mut server) => {}
    }
}
