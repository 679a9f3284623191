//! The receiver, in a process of its own: it answers each request at once, or never.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::load::Protocol;

/// The endpoints of the closed loops, which have a port each. On one more port, nothing answers.
const ENDPOINTS: usize = 16;
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const CERTIFICATE: &[u8] = include_bytes!("../../crates/webhooks/src/sender/certificates/sink.der");
const KEY: &[u8] = include_bytes!("../../crates/webhooks/src/sender/certificates/sink-key.der");

/// The running process. Dropping it stops it.
pub(crate) struct Receiver {
    child: Child,
    pub(crate) protocol: Protocol,
    pub(crate) ports: Vec<u16>,
    /// Requests to this port get no answer.
    pub(crate) hanging: u16,
}

impl Receiver {
    /// Starts this program again, as the receiver.
    pub(crate) fn start(protocol: Protocol) -> anyhow::Result<Receiver> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["receiver", &serde_json::to_string(&protocol)?]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the receiver")?;
        let stdout = child.stdout.take().context("the receiver has no output")?;
        let mut receiver = Receiver { child, protocol, ports: Vec::new(), hanging: 0 };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        receiver.ports = serde_json::from_str(&line).context("the receiver did not start")?;
        receiver.hanging = receiver.ports.pop().context("the receiver has no port")?;
        Ok(receiver)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Receives until the parent closes the input, which it also does when it ends in any way.
pub(crate) async fn run(protocol: Protocol) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let mut ports = Vec::new();
    for number in 0..=ENDPOINTS {
        let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await?;
        ports.push(listener.local_addr()?.port());
        let acceptor = if protocol == Protocol::Tls { Some(acceptor()?) } else { None };
        tasks.spawn(accept(listener, acceptor, number < ENDPOINTS));
    }
    println!("{}", serde_json::to_string(&ports)?);
    io::stdout().flush()?;
    let (closed, parent) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = closed.send(());
    });
    let _ = parent.await;
    Ok(())
}

fn acceptor() -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let key = PrivateKeyDer::try_from(KEY).map_err(anyhow::Error::msg)?;
    let tls = versions.with_no_client_auth().with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key)?;
    Ok(Arc::new(tls).into())
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, answers: bool) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(connected(stream, acceptor.clone(), answers));
            }
            // A client that ends may cut its connections.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connected(stream: TcpStream, acceptor: Option<TlsAcceptor>, answers: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match acceptor {
        Some(acceptor) => serve(acceptor.accept(stream).await?, answers).await,
        None => serve(stream, answers).await,
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answers: bool) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(end) = end_of_request(&buffer) {
            buffer.advance(end);
            if answers {
                stream.write_all(ANSWER).await?;
                stream.flush().await?;
            }
        }
        buffer.reserve(4 << 10);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Returns where the first request ends, if all of it is there.
pub(crate) fn end_of_request(buffer: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"content-length: ";
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let at = buffer[..head].windows(LENGTH.len()).position(|window| window == LENGTH)? + LENGTH.len();
    let digits = buffer[at..head].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| 10 * length + usize::from(digit - b'0'));
    Some(head + 4 + length).filter(|end| *end <= buffer.len())
}
