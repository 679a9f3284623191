//! The command `event-pipeline local`: an embedded SQS and an embedded DynamoDB, and the settings that clients need.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dynamodb_local::thread::Running;
use dynamodb_local::{OpenError, Storage};
use futures_util::TryFutureExt;

/// Where the servers listen, and where the tables are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub host: IpAddr,
    /// Port 0 is any free one.
    pub sqs_port: u16,
    pub dynamo_port: u16,
    pub storage: Storage,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the {name} server cannot start because {address} is in use: stop the program that uses it, or choose another port with {flag}"
    )]
    InUse { name: &'static str, address: SocketAddr, flag: &'static str },
    #[error("the {name} server cannot listen on {address}: choose another address with --host and {flag}")]
    Bind { name: &'static str, address: SocketAddr, flag: &'static str, source: io::Error },
    #[error("the DynamoDB server cannot open its storage")]
    Storage(#[from] OpenError),
    #[error("the {name} server stopped: {why}")]
    Stopped { name: &'static str, why: String },
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// The running servers. Dropping them stops them.
#[derive(Debug)]
pub struct Servers {
    sqs: Running,
    dynamo: Running,
}

impl Servers {
    pub async fn start(settings: &Settings) -> Result<Servers, Error> {
        let address = SocketAddr::new(settings.host, settings.sqs_port);
        let sqs = Running::start("sqs", move || async move {
            let server = sqs_local::Server::bind(address).await?;
            Ok((server.address(), server.serve(std::future::pending()).map_err(|error| error.to_string())))
        });
        let sqs = sqs.await.map_err(|source| cannot_listen("SQS", address, "--sqs-port", source))?;
        let database = settings.storage.open()?;
        let address = SocketAddr::new(settings.host, settings.dynamo_port);
        let dynamo = Running::start("dynamodb", move || async move {
            let server = dynamodb_local::Server::bind(address).await?;
            Ok((server.address(), server.serve(database)))
        });
        let dynamo = dynamo.await.map_err(|source| cannot_listen("DynamoDB", address, "--dynamo-port", source))?;
        Ok(Servers { sqs, dynamo })
    }

    pub fn sqs_url(&self) -> String {
        format!("http://{}", reachable(self.sqs.address()))
    }

    pub fn dynamo_url(&self) -> String {
        format!("http://{}", reachable(self.dynamo.address()))
    }

    async fn failure(&mut self) -> Error {
        tokio::select! {
            why = self.sqs.failure() => Error::Stopped { name: "SQS", why },
            why = self.dynamo.failure() => Error::Stopped { name: "DynamoDB", why },
        }
    }
}

/// Runs the servers until `stop` completes or one of them fails.
pub async fn run(settings: &Settings, stop: impl Future<Output = ()>, out: &mut impl Write) -> Result<(), Error> {
    let mut servers = Servers::start(settings).await?;
    write!(out, "{}", Announcement { settings, servers: &servers })?;
    out.flush()?;
    tokio::select! {
        () = stop => Ok(()),
        error = servers.failure() => Err(error),
    }
}

fn cannot_listen(name: &'static str, address: SocketAddr, flag: &'static str, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { name, address, flag },
        _ => Error::Bind { name, address, flag, source },
    }
}

struct Announcement<'a> {
    settings: &'a Settings,
    servers: &'a Servers,
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Announcement { settings, servers } = self;
        writeln!(f, "  SQS       {}   in memory", servers.sqs.address())?;
        match &settings.storage {
            Storage::Memory => writeln!(f, "  DynamoDB  {}   in memory", servers.dynamo.address())?,
            Storage::Directory(path) => {
                writeln!(f, "  DynamoDB  {}   stored in {}", servers.dynamo.address(), path.display())?;
            }
        }
        if !settings.host.is_loopback() {
            let host = settings.host;
            writeln!(f, "\nwarning: no authentication: anyone who can reach {host} can read and change everything")?;
        }
        writeln!(f, "\nIn another terminal:\n")?;
        writeln!(f, "  export AWS_ENDPOINT_URL_SQS={}", servers.sqs_url())?;
        writeln!(f, "  export AWS_ENDPOINT_URL_DYNAMODB={}", servers.dynamo_url())?;
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
    use super::*;

    const ANY: Settings =
        Settings { host: IpAddr::V4(Ipv4Addr::LOCALHOST), sqs_port: 0, dynamo_port: 0, storage: Storage::Memory };

    #[tokio::test]
    async fn both_servers_run_until_the_stop_and_their_settings_can_be_pasted() {
        let mut out = Vec::new();
        run(&ANY, std::future::ready(()), &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\n  export AWS_ENDPOINT_URL_SQS=http://127.0.0.1:"), "{text}");
        assert!(text.contains("\n  export AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:"), "{text}");
    }

    #[tokio::test]
    async fn the_error_for_a_port_in_use_names_the_port_and_its_flag() {
        let servers = Servers::start(&ANY).await.unwrap();
        let port = servers.sqs.address().port();
        let error = Servers::start(&Settings { sqs_port: port, ..ANY }).await.unwrap_err().to_string();
        assert!(error.contains(&format!(":{port} is in use")) && error.contains("--sqs-port"), "{error}");
    }
}
