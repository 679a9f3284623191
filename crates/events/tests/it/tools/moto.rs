//! The tools against moto, an independent SQS and DynamoDB, if `make test-contract` has installed it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::support::program::{Launch, event_pipeline};
use crate::support::with_timeout;

/// The running server. Dropping it kills it.
struct Moto {
    endpoint: String,
    _child: Child,
}

impl Moto {
    /// Returns `None` if moto is not installed.
    async fn start() -> Option<Moto> {
        let program: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../.tools/moto/bin/moto_server"].iter().collect();
        if !program.exists() {
            return None;
        }
        // moto cannot choose a free port itself.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.kill_on_drop(true).spawn().expect("moto starts");
        let connected = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        with_timeout("moto listens", connected).await;
        Some(Moto { endpoint: format!("http://127.0.0.1:{port}"), _child: child })
    }

    fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Launch {
        let launch = event_pipeline(arguments).env("AWS_ENDPOINT_URL", &self.endpoint);
        launch.env("AWS_REGION", "us-east-1")
    }
}

#[tokio::test]
async fn the_tools_work_with_moto() {
    let Some(moto) = Moto::start().await else {
        println!("NOT RUN, because moto is not installed: make test-contract installs it");
        return;
    };
    let created = moto.run(["setup", "--wait", "--client-buckets", "3"]).succeed().await;
    assert_eq!(created.stdout.iter().filter(|line| line.starts_with("created")).count(), 7, "{created:#?}");
    let found = moto.run(["setup"]).succeed().await;
    assert_eq!(found.stdout.iter().filter(|line| line.starts_with("found")).count(), 7, "{found:#?}");
    assert_eq!(found.stdout.len(), 7, "{found:#?}");
    moto.run(["check"]).succeed().await;

    let sent = moto.run(["send", "--generate", "25", "--bad-share", "0.5", "--group-by-client"]).succeed().await;
    assert_eq!(sent.stdout, ["Sent to events: 25."]);
    let status = moto.run(["queue", "status", "--json"]).succeed().await;
    assert_eq!(status.stdout[0], r#"{"delayed":0,"in_flight":0,"queue":"events","visible":25}"#);
    let peek = moto.run(["queue", "peek", "--limit", "5"]).succeed().await;
    assert_eq!(peek.stdout.len(), 6, "{peek:#?}");

    // A queue without dead letters stands for one with them, because only processors write them.
    moto.run(["send", "--generate", "12", "--queue", "events-dlq"]).succeed().await;
    assert_eq!(moto.run(["dlq", "list", "events"]).succeed().await.stdout.len(), 13);
    let redriven = moto.run(["dlq", "redrive", "events", "--limit", "10"]).succeed().await;
    assert!(redriven.stdout[0].starts_with("Redriven: 10."), "{redriven:#?}");
    let purged = moto.run(["dlq", "purge", "events", "--all", "--yes"]).succeed().await;
    assert_eq!(purged.stdout, ["Deleted: 2. Left: 0. Failed: 0."]);

    moto.run(["routes", "add", "acme", "https://hooks.example.com/"]).succeed().await;
    assert_eq!(moto.run(["routes", "list"]).succeed().await.stdout.len(), 2);
    assert!(moto.run(["events", "get", "acme"]).succeed().await.stdout.is_empty());
    moto.run(["events", "erase", "acme", "--yes"]).succeed().await;
    moto.run(["routes", "remove", "acme"]).succeed().await;
}
