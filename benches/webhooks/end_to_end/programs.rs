//! The measured programs, which are killed at the end.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::database::TABLE;

pub(super) struct Programs {
    program: PathBuf,
    dynamo: SocketAddr,
    target: SocketAddr,
    key: NamedTempFile,
    children: Vec<Child>,
    /// Keeps the pipe open, into which the database writes.
    _output: BufReader<ChildStdout>,
}

impl Programs {
    /// Starts the database, and creates the tables. `target` is the receiver.
    pub(super) fn start(program: &Path, target: SocketAddr) -> anyhow::Result<Programs> {
        let mut key = NamedTempFile::new()?;
        key.write_all(b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")?;
        let mut command = Command::new(program);
        command.args(["local", "dynamo", "--port", "0"]).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let (mut line, mut output) = (String::new(), BufReader::new(child.stdout.take().context("no output")?));
        output.read_line(&mut line)?;
        let (program, children) = (program.to_owned(), vec![child]);
        let mut programs = Programs { program, dynamo: target, target, key, children, _output: output };
        let dynamo = line.split_whitespace().nth(1).and_then(|address| address.parse().ok());
        programs.dynamo = dynamo.with_context(|| format!("the database did not start: {line}"))?;
        for part in ["table", "changes", "webhooks"] {
            programs.run(&["setup", part])?;
        }
        Ok(programs)
    }

    pub(super) fn dynamo(&self) -> SocketAddr {
        self.dynamo
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", self.dynamo))
            .env("AWS_REGION", "us-east-1")
            .env("MINI_SCAN_TABLE", TABLE)
            .env("MINI_SCAN_SECRET_KEY_FILE", self.key.path())
            .env("MINI_SCAN_ALLOW_HTTP", "true")
            .env("MINI_SCAN_ALLOW_TARGET", self.target.to_string())
            .env("MINI_SCAN_HTTP_LISTEN", "off")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "{arguments:?} failed: {}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Adds a subscription to all changes.
    pub(super) fn subscribe(&self, url: &str) -> anyhow::Result<()> {
        let added: Value = serde_json::from_str(&self.run(&["webhooks", "add", "--json", "--url", url])?)?;
        ensure!(added["secret"].is_string(), "no subscription was added: {added}");
        Ok(())
    }

    pub(super) fn start_changes(&mut self) -> anyhow::Result<()> {
        let child = self.command(&["changes", "--webhooks"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        self.children.push(child);
        Ok(())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
