//! The shipped program as a process, and connections to its API that cost the generator little.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Buf, BytesMut};
use demo::Ports;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::http;
use crate::load::Reader;
use crate::store::{Pair, Pairs};

const START_TIME: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(20);

/// The running program. Dropping it kills it.
pub(crate) struct Api {
    child: Child,
    address: SocketAddr,
    _ports: Ports<1>,
}

impl Api {
    pub(crate) async fn start(program: &Path, store: &str) -> anyhow::Result<Api> {
        let ports = Ports::<1>::reserve()?;
        let [address] = ports.addresses()?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--listen", &address.to_string()])
            .env("AWS_ENDPOINT_URL_DYNAMODB", store)
            .env("WIDGET_REGISTRY_HTTP_LISTEN", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let api = Api { child, address, _ports: ports };
        let begin = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(begin.elapsed() < START_TIME, "the API does not listen");
            sleep(TICK).await;
        }
        Ok(api)
    }

    /// Returns the ID of the process.
    pub(crate) fn process(&self) -> String {
        self.child.id().to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn connect(&self, pairs: Pairs) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: BytesMut::new(), pairs, host: self.address })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection, on which each request connects another pair.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    pairs: Pairs,
    host: SocketAddr,
}

impl Reader for Connection {
    async fn read(&mut self) -> anyhow::Result<()> {
        let Pair { port, serial, peer } = self.pairs.next()?;
        let body =
            format!(r#"{{"port_type":"{port}","widget_serial_num":"{serial}","peer_widget_serial_num":"{peer}"}}"#);
        let (host, length) = (self.host, body.len());
        let head = format!("PUT /widgets/associations HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}");
        let request = format!("{head}\r\ncontent-type: application/json\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes()).await?;
        let answer = http::read(&mut self.stream, &mut self.buffer).await?.context("the API closed a connection")?;
        let text = String::from_utf8_lossy(&self.buffer[..answer.end]).into_owned();
        ensure!(text.starts_with("HTTP/1.1 200"), "the API did not connect two widgets: {text}");
        self.buffer.advance(answer.end);
        Ok(())
    }
}
