//! The table, in a process of its own: the embedded engine answers each different request once, and this server repeats
//! those answers. The answers are therefore a database's, and cost almost nothing.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use bytes::{Buf, BytesMut};
use dynamodb_local::Storage;
use mini_scan::consumer::ports::{Answer, Store};
use mini_scan::dynamo::{Scans, connect};
use mini_scan::hosts::Index;
use mini_scan::local::servers::{Port, start_dynamo};
use mini_scan::scan::{DataVersion, Key, Scan};
use mini_scan::service::{Endpoints, setup};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::http::{self, Message};
use crate::record::{STORED_TIMESTAMP, TABLE};

/// The number of services of each host.
pub(crate) const HOSTS: [u8; 3] = [1, 10, 50];
/// The size of every response, in bytes.
const RESPONSE: usize = 64;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Returns the address of the host with this many services.
pub(crate) fn address(services: u8) -> Ipv4Addr {
    Ipv4Addr::new(1, 1, 1, services)
}

/// The running process. Dropping it stops it.
pub(crate) struct Table {
    child: Child,
    pub(crate) endpoint: String,
}

impl Table {
    /// Starts this program again, as the table.
    pub(crate) fn start() -> anyhow::Result<Table> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("table").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the table")?;
        let stdout = child.stdout.take().context("the table has no output")?;
        let mut table = Table { child, endpoint: String::new() };
        BufReader::new(stdout).read_line(&mut table.endpoint)?;
        table.endpoint.truncate(table.endpoint.trim_end().len());
        ensure!(!table.endpoint.is_empty(), "the table did not start");
        Ok(table)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves the table until the parent closes the input, which it also does when it ends in any way.
pub(crate) async fn run() -> anyhow::Result<()> {
    let engine = start_dynamo(LOOPBACK, Port { number: 0, flag: "--port" }, Storage::Memory.open()?).await?;
    fill(&format!("http://{}", engine.address())).await?;
    let listener = TcpListener::bind((LOOPBACK, 0)).await?;
    println!("http://{}", listener.local_addr()?);
    let (closed, parent) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = closed.send(());
    });
    tokio::select! {
        _ = parent => Ok(()),
        result = accept(listener, engine.address()) => result,
    }
}

/// Creates the table with its index, and stores the records of the hosts.
async fn fill(endpoint: &str) -> anyhow::Result<()> {
    let endpoints = Endpoints { pubsub: None, dynamo: Some(endpoint.to_owned()) };
    setup::table(&endpoints, TABLE, &[Index::ByIp], &mut io::sink()).await?;
    let scans = Scans::new(connect(Some(endpoint)).await?, TABLE.to_owned(), None);
    for services in HOSTS {
        for port in 1..=u16::from(services) {
            let scan = Scan {
                key: Key::new(address(services).into(), port, "HTTP"),
                timestamp: STORED_TIMESTAMP,
                data_version: DataVersion::V2,
                response: "x".repeat(RESPONSE),
                response_bytes: None,
            };
            let answer = scans.put(&scan).await;
            ensure!(matches!(answer, Ok(Answer::Stored)), "cannot store a record: {answer:?}");
        }
    }
    Ok(())
}

/// The engine's answers by the body of their request.
type Known = HashMap<Vec<u8>, Arc<[u8]>>;

#[derive(Clone)]
struct Answers {
    engine: SocketAddr,
    known: Arc<Mutex<Known>>,
}

async fn accept(listener: TcpListener, engine: SocketAddr) -> anyhow::Result<()> {
    let answers = Answers { engine, known: Arc::default() };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = accepted?.0;
                stream.set_nodelay(true)?;
                connections.spawn(serve(stream, answers.clone()));
            }
            // A program that ends may cut its connections.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, answers: Answers) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(message) = http::read(&mut stream, &mut buffer).await? {
        let answer = answers.to(&buffer[..message.end], message.body).await?;
        stream.write_all(&answer).await?;
        buffer.advance(message.end);
    }
    Ok(())
}

impl Answers {
    async fn to(&self, request: &[u8], body: usize) -> io::Result<Arc<[u8]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&request[body..]).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let answer: Arc<[u8]> = self.ask(request).await?.into();
        if answer.starts_with(b"HTTP/1.1 200") {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(request[body..].to_vec(), answer.clone());
        }
        Ok(answer)
    }

    /// Returns the engine's answer.
    async fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.engine).await?;
        stream.write_all(request).await?;
        let mut buffer = BytesMut::new();
        let Message { end, .. } = http::read(&mut stream, &mut buffer).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(buffer[..end].to_vec())
    }
}
