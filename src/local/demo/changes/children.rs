//! The real programs as processes, so that one of them can be killed.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tempfile::TempDir;

use crate::local::demo::program::Environment;
use crate::local::demo::{Error, POLL_INTERVAL};

/// A process that does not stop within this time is killed.
const STOP_TIME: Duration = Duration::from_secs(60);
/// The lines of a log to show if the process fails.
const SHOWN: usize = 5;

/// The file with the key that encrypts the signing secrets.
const KEY: &str = "key";

/// Starts this program with the settings of the demo.
pub(super) struct Children {
    program: PathBuf,
    environment: Environment,
    dynamo: String,
    pub(super) table: String,
    pub(super) history: String,
    leases: String,
    webhooks: String,
    deliveries: String,
    /// The sinks, as the guard of webhooks gets them.
    targets: String,
    logs: TempDir,
}

impl Children {
    /// The tables have new names, because a given DynamoDB may have those of an earlier run.
    pub(super) fn new(environment: &Environment, dynamo: String, sinks: [SocketAddr; 2]) -> Result<Children, Error> {
        let run = format!("demo-{}-{}", crate::local::scanner::unix_now(), process::id());
        let logs = tempfile::tempdir()?;
        let key = BASE64.encode(rand::random::<[u8; 32]>());
        std::fs::write(logs.path().join(KEY), key)?;
        Ok(Children {
            program: std::env::current_exe()?,
            environment: environment.clone(),
            dynamo,
            table: format!("{run}-results"),
            history: format!("{run}-history"),
            leases: format!("{run}-leases"),
            webhooks: format!("{run}-webhooks"),
            deliveries: format!("{run}-deliveries"),
            targets: sinks.map(|sink| sink.to_string()).join(","),
            logs,
        })
    }

    pub(super) fn dynamo(&self) -> &str {
        &self.dynamo
    }

    /// Starts a process whose stdout and stderr go to files with this name.
    pub(super) fn start(&self, name: &str, arguments: &[&str]) -> Result<Child, Error> {
        let log = self.logs.path().join(name);
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("PUBSUB_EMULATOR_HOST", &self.environment.pubsub_host)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo)
            .env("MINI_SCAN_PROJECT", self.environment.project)
            .env("MINI_SCAN_SUBSCRIPTION", self.environment.subscription)
            .env("MINI_SCAN_TABLE", &self.table)
            .env("MINI_SCAN_HISTORY_TABLE", &self.history)
            .env("MINI_SCAN_LEASE_TABLE", &self.leases)
            .env("MINI_SCAN_WEBHOOKS_TABLE", &self.webhooks)
            .env("MINI_SCAN_DELIVERIES_TABLE", &self.deliveries)
            .env("MINI_SCAN_SECRET_KEY_FILE", self.logs.path().join(KEY))
            .env("MINI_SCAN_ALLOW_HTTP", "true")
            .env("MINI_SCAN_ALLOW_TARGET", &self.targets)
            .env("MINI_SCAN_HTTP_LISTEN", "off")
            .env("MINI_SCAN_LOG_FORMAT", "text")
            .stdin(Stdio::null())
            .stdout(File::create(self.stdout(name))?)
            .stderr(File::create(&log)?);
        Ok(Child { process: command.spawn()?, log })
    }

    fn stdout(&self, name: &str) -> PathBuf {
        self.logs.path().join(format!("{name}.out"))
    }

    /// Returns what the process with this name has written to stdout so far.
    pub(super) fn output(&self, name: &str) -> io::Result<String> {
        std::fs::read_to_string(self.stdout(name))
    }

    /// Writes a file. Returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<String> {
        let path = self.logs.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// Runs a command to its end. Returns its output.
    pub(super) async fn run(&self, name: &str, arguments: &[&str]) -> Result<String, Error> {
        let mut child = self.start(name, arguments)?;
        let status = child.ended().await?;
        if status.success() {
            return Ok(self.output(name)?);
        }
        Err(Error::Changes(format!("`mini-scan {}` failed: {}", arguments.join(" "), child.last_lines())))
    }
}

impl fmt::Display for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "What changed between two waves of scans: history from the table's stream\n")?;
        writeln!(f, "  Pub/Sub   {:<27}subscription {}", self.environment.pubsub_host, self.environment.subscription)?;
        writeln!(f, "  DynamoDB  {:<27}tables {}, {}, {},", self.dynamo, self.table, self.history, self.leases)?;
        writeln!(f, "            {:<27}{}, {}", "", self.webhooks, self.deliveries)?;
        writeln!(f, "  Sinks     {}", self.targets.replace(',', " and "))
    }
}

/// A process, which is killed when this is dropped.
pub(super) struct Child {
    process: process::Child,
    log: PathBuf,
}

impl Child {
    pub(super) fn kill(mut self) -> Result<(), Error> {
        if let Some(status) = self.process.try_wait()? {
            return Err(Error::Changes(format!("a reader ended early ({status}): {}", self.last_lines())));
        }
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Sends SIGTERM. Returns whether the process ended with exit code 0.
    pub(super) async fn stop(mut self) -> Result<bool, Error> {
        if self.process.try_wait()?.is_none() {
            let id = self.process.id().to_string();
            Command::new("kill").args(["-TERM", &id]).status()?;
        }
        Ok(tokio::time::timeout(STOP_TIME, self.ended())
            .await
            .is_ok_and(|ended| ended.is_ok_and(|status| status.success())))
    }

    async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    pub(super) fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
