//! The command `mini-scan local`: runs the embedded servers and prints the settings that their clients need.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dynamodb_local::dynoxide::Database;
pub use dynamodb_local::thread::Running;
use dynamodb_local::{OpenError, Storage};
use futures_util::TryFutureExt;
use pubsub_local::Observer;
use tokio::sync::oneshot;

/// The servers to run, and the addresses to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub host: IpAddr,
    pub pubsub: Option<Port>,
    pub dynamo: Option<Port>,
    pub storage: Storage,
}

/// A port (0 is any free port) and the flag that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    pub flag: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    PubSub,
    Dynamo,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Name::PubSub => "Pub/Sub",
            Name::Dynamo => "DynamoDB",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the {name} server cannot start because port {} is in use: stop the program that uses it, or choose another \
         port with {}",
        port.number,
        port.flag
    )]
    PortInUse { name: Name, port: Port },
    #[error("the {name} server cannot listen on {address}: choose another address with --host and {}", port.flag)]
    Bind { name: Name, address: SocketAddr, port: Port, source: io::Error },
    #[error("the DynamoDB server cannot open its storage")]
    Storage(#[from] OpenError),
    #[error("the {name} server stopped: {why}")]
    Stopped { name: Name, why: String },
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Runs the servers until `stop` completes or one of them fails.
pub async fn run(settings: &Settings, stop: impl Future<Output = ()>, out: &mut impl Write) -> Result<(), Error> {
    let mut pubsub = match settings.pubsub {
        Some(port) => Some(start_pubsub(settings.host, port).await?.0),
        None => None,
    };
    let mut dynamo = match settings.dynamo {
        Some(port) => Some(start_dynamo(settings.host, port, settings.storage.open()?).await?),
        None => None,
    };
    let address = |server: &Option<Running>| server.as_ref().map(Running::address);
    write!(out, "{}", Announcement { settings, pubsub: address(&pubsub), dynamo: address(&dynamo) })?;
    tokio::select! {
        () = stop => Ok(()),
        why = failure(&mut pubsub) => Err(Error::Stopped { name: Name::PubSub, why }),
        why = failure(&mut dynamo) => Err(Error::Stopped { name: Name::Dynamo, why }),
    }
}

/// Starts a Pub/Sub server without topics, and returns it with its observer.
pub async fn start_pubsub(host: IpAddr, port: Port) -> Result<(Running, Observer), Error> {
    let address = SocketAddr::new(host, port.number);
    let (observed, observer) = oneshot::channel();
    let running = Running::start("pubsub", move || async move {
        let server = pubsub_local::Server::bind(address).await?;
        // The receiver is gone only if the caller was dropped, and then the server stops too.
        let _ = observed.send(server.observer());
        Ok((server.address(), server.serve(std::future::pending()).map_err(|error| error.to_string())))
    });
    let bind_error = |source| bind_error(Name::PubSub, address, port, source);
    let running = running.await.map_err(bind_error)?;
    let observer = observer.await.map_err(|_| bind_error(io::Error::other("the server's thread ended")))?;
    Ok((running, observer))
}

/// Starts a DynamoDB server on `database`.
pub async fn start_dynamo(host: IpAddr, port: Port, database: Database) -> Result<Running, Error> {
    let address = SocketAddr::new(host, port.number);
    let running = Running::start("dynamodb", move || async move {
        let server = dynamodb_local::Server::bind(address).await?;
        Ok((server.address(), server.serve(database)))
    });
    running.await.map_err(|source| bind_error(Name::Dynamo, address, port, source))
}

fn bind_error(name: Name, address: SocketAddr, port: Port, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AddrInUse => Error::PortInUse { name, port },
        _ => Error::Bind { name, address, port, source },
    }
}

async fn failure(server: &mut Option<Running>) -> String {
    match server {
        Some(running) => running.failure().await,
        None => std::future::pending().await,
    }
}

struct Announcement<'a> {
    settings: &'a Settings,
    pubsub: Option<SocketAddr>,
    dynamo: Option<SocketAddr>,
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.pubsub {
            writeln!(f, "  Pub/Sub   {address}   gRPC and REST, in memory")?;
        }
        if let Some(address) = self.dynamo {
            match &self.settings.storage {
                Storage::Memory => writeln!(f, "  DynamoDB  {address}   in memory")?,
                Storage::Directory(path) => writeln!(f, "  DynamoDB  {address}   stored in {}", path.display())?,
            }
        }
        if !self.settings.host.is_loopback() {
            let host = self.settings.host;
            writeln!(f, "\nwarning: no authentication: anyone who can reach {host} can read and change everything")?;
        }
        writeln!(f, "\nIn another terminal:\n")?;
        if let Some(address) = self.pubsub {
            writeln!(f, "  export PUBSUB_EMULATOR_HOST={}", reachable(address))?;
        }
        if let Some(address) = self.dynamo {
            writeln!(f, "  export AWS_ENDPOINT_URL_DYNAMODB=http://{}", reachable(address))?;
        }
        writeln!(f, "\nCtrl-C stops.")
    }
}

/// Returns an address that clients can connect to, also if the server listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use google_cloud_auth::credentials::anonymous;
    use google_cloud_pubsub::client::{Subscriber, SubscriptionAdmin, TopicAdmin};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const ANY: Port = Port { number: 0, flag: "--port" };
    /// Notices a hang. An open connection or stream never ends by itself.
    const TIMEOUT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn the_error_for_a_port_in_use_names_the_port_and_its_flag() {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = Port { number: listener.local_addr().unwrap().port(), flag: "--dynamo-port" };
        let error = start_dynamo(LOOPBACK, port, Storage::Memory.open().unwrap()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("port {} is in use", port.number)) && text.contains("--dynamo-port"), "{text}");
    }

    #[tokio::test]
    async fn a_server_stops_at_once_despite_open_connections() {
        let server = start_dynamo(LOOPBACK, ANY, Storage::Memory.open().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        client.write_all(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        let stopped = tokio::task::spawn_blocking(move || drop(server));
        tokio::time::timeout(TIMEOUT, stopped).await.expect("it stops").unwrap();
        assert!(matches!(client.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn a_server_stops_at_once_despite_open_streams() {
        let (server, observer) = start_pubsub(LOOPBACK, ANY).await.unwrap();
        let endpoint = format!("http://{}", server.address());
        let no_credentials = || anonymous::Builder::new().build();
        let topics =
            TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(no_credentials()).build().await.unwrap();
        let subscriptions = SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(no_credentials());
        let subscriptions = subscriptions.build().await.unwrap();
        let subscriber =
            Subscriber::builder().with_endpoint(&endpoint).with_credentials(no_credentials()).build().await.unwrap();
        let (topic, subscription) =
            ("projects/test-project/topics/a-topic", "projects/test-project/subscriptions/a-sub");
        topics.create_topic().set_name(topic).send().await.unwrap();
        subscriptions.create_subscription().set_name(subscription).set_topic(topic).send().await.unwrap();
        let mut stream = subscriber.subscribe(subscription).build();
        let open = async {
            while observer.counts(subscription).is_none_or(|counts| counts.streams == 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = stream.next() => panic!("there is no message"),
            () = open => {}
        }
        let stopped = tokio::task::spawn_blocking(move || drop(server));
        tokio::time::timeout(TIMEOUT, stopped).await.expect("it stops").unwrap();
    }

    #[tokio::test]
    async fn both_servers_run_until_the_stop() {
        let settings = Settings { host: LOOPBACK, pubsub: Some(ANY), dynamo: Some(ANY), storage: Storage::Memory };
        let mut out = Vec::new();
        run(&settings, std::future::ready(()), &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("PUBSUB_EMULATOR_HOST=127.0.0.1:") && text.contains("http://127.0.0.1:"), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_fails_reports_the_reason() {
        let address = SocketAddr::new(LOOPBACK, 1);
        let serve = async { Err("the disk is full".to_owned()) };
        let mut running = Running::start("short", move || async move { Ok((address, serve)) }).await.unwrap();
        assert_eq!(running.failure().await, "the disk is full");
    }

    #[test]
    fn the_printed_settings_can_be_pasted() {
        let settings =
            Settings { host: Ipv4Addr::UNSPECIFIED.into(), pubsub: None, dynamo: Some(ANY), storage: Storage::Memory };
        let address = Some("0.0.0.0:8000".parse().unwrap());
        let text = Announcement { settings: &settings, pubsub: address, dynamo: address }.to_string();
        assert!(text.contains("\n  export PUBSUB_EMULATOR_HOST=127.0.0.1:8000\n"), "{text}");
        assert!(text.contains("\n  export AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000\n"), "{text}");
        assert!(text.contains("warning: "), "{text}");
    }
}
