//! The measured API, and its clients.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::{Buf, BytesMut};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http::{self, Message};
use crate::load::Reader;

/// The running program. Dropping it kills it.
pub(crate) struct Api {
    child: Child,
    address: SocketAddr,
    /// Keeps the pipe open, into which the program logs.
    _log: BufReader<ChildStderr>,
}

impl Api {
    /// Starts the API with its defaults, and waits until it serves.
    pub(crate) fn start(program: &Path, endpoint: &str) -> anyhow::Result<Api> {
        let mut command = Command::new(program);
        command.args(["api", "--listen", "127.0.0.1:0", "--http-listen", "off"]);
        command.env("AWS_ENDPOINT_URL_DYNAMODB", endpoint);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the API")?;
        let mut log = BufReader::new(child.stderr.take().context("the API has no log")?);
        match serving(&mut log) {
            Ok(address) => Ok(Api { child, address, _log: log }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Returns its process ID.
    pub(crate) fn process(&self) -> String {
        self.child.id().to_string()
    }

    /// Connects a client, which reads the host once. Fails unless the host has this many services.
    pub(crate) async fn connect(&self, ip: Ipv4Addr, services: usize) -> anyhow::Result<Client> {
        let request = format!("GET /v1/hosts/{ip} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream, request: request.into_bytes().into(), buffer: BytesMut::new(), length: 0 };
        let Message { body, end } = client.ask().await?;
        let host: Value = serde_json::from_slice(&client.buffer[body..end])?;
        let found = host["services"].as_array().map_or(0, Vec::len);
        ensure!(found == services, "the API shows {found} services of {ip} instead of {services}");
        client.buffer.advance(end);
        client.length = end;
        Ok(client)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the address that the program logs when it serves.
fn serving(log: &mut impl BufRead) -> anyhow::Result<SocketAddr> {
    let mut text = String::new();
    loop {
        let from = text.len();
        ensure!(log.read_line(&mut text)? > 0, "the API did not start: {text}");
        if let Some((_, rest)) = text[from..].split_once("serving http://") {
            return rest.split('/').next().unwrap_or_default().parse().context("the API serves no address");
        }
    }
}

/// A client with one connection, which stays open.
pub(crate) struct Client {
    stream: TcpStream,
    request: Arc<[u8]>,
    buffer: BytesMut,
    /// The length of every response.
    length: usize,
}

impl Client {
    /// Sends the request, and reads the whole response into the buffer.
    async fn ask(&mut self) -> anyhow::Result<Message> {
        self.stream.write_all(&self.request).await?;
        let message = http::read(&mut self.stream, &mut self.buffer).await?.context("the API closed a connection")?;
        let head = String::from_utf8_lossy(&self.buffer[..message.body]);
        ensure!(head.starts_with("HTTP/1.1 200"), "the API failed: {head}");
        Ok(message)
    }
}

impl Reader for Client {
    async fn read(&mut self) -> anyhow::Result<()> {
        let Message { end, .. } = self.ask().await?;
        ensure!(end == self.length, "a response has {end} bytes instead of {}", self.length);
        self.buffer.advance(end);
        Ok(())
    }
}
