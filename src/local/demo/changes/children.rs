//! The real programs as processes, so that one of them can be killed.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::local::demo::program::Environment;
use crate::local::demo::{Error, POLL_INTERVAL};

/// A process that does not stop within this time is killed.
const STOP_TIME: Duration = Duration::from_secs(60);
/// The lines of a log to show if the process fails.
const SHOWN: usize = 5;

/// Starts this program with the settings of the demo.
pub(super) struct Children {
    program: PathBuf,
    environment: Environment,
    dynamo: String,
    pub(super) table: String,
    pub(super) history: String,
    leases: String,
    logs: TempDir,
}

impl Children {
    /// The tables have new names, because a given DynamoDB may have those of an earlier run.
    pub(super) fn new(environment: &Environment, dynamo: String) -> Result<Children, Error> {
        let run = format!("demo-{}-{}", crate::local::scanner::unix_now(), process::id());
        Ok(Children {
            program: std::env::current_exe()?,
            environment: environment.clone(),
            dynamo,
            table: format!("{run}-results"),
            history: format!("{run}-history"),
            leases: format!("{run}-leases"),
            logs: tempfile::tempdir()?,
        })
    }

    pub(super) fn dynamo(&self) -> &str {
        &self.dynamo
    }

    /// Starts a process whose stderr goes to a file with this name.
    pub(super) fn start(&self, name: &str, arguments: &[&str]) -> Result<Child, Error> {
        let log = self.logs.path().join(name);
        let file = File::create(&log)?;
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
            .env("MINI_SCAN_HTTP_LISTEN", "off")
            .env("MINI_SCAN_LOG_FORMAT", "text")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        Ok(Child { process: command.spawn()?, log })
    }

    /// Runs a command to its end.
    pub(super) async fn run(&self, name: &str, arguments: &[&str]) -> Result<(), Error> {
        let mut child = self.start(name, arguments)?;
        let status = child.ended().await?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Changes(format!("`mini-scan {}` failed: {}", arguments.join(" "), child.last_lines())))
    }
}

impl fmt::Display for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "What changed between two waves of scans: history from the table's stream\n")?;
        writeln!(f, "  Pub/Sub   {:<27}subscription {}", self.environment.pubsub_host, self.environment.subscription)?;
        writeln!(f, "  DynamoDB  {:<27}tables {}, {}, {}", self.dynamo, self.table, self.history, self.leases)
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

    fn last_lines(&self) -> String {
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
