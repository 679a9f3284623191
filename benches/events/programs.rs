//! The embedded servers and the programs, as processes that are killed at the end.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::Instant;

use crate::Sample;
use crate::usage::usage;

const TICK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Servers {
    program: PathBuf,
    pub(crate) sqs: String,
    pub(crate) dynamo: String,
    children: Vec<Child>,
    /// Keeps the pipe open, into which the servers write.
    _output: BufReader<ChildStdout>,
}

impl Servers {
    pub(crate) fn start(program: &Path) -> anyhow::Result<Servers> {
        let mut command = Command::new(program);
        command.args(["local", "--sqs-port", "0", "--dynamo-port", "0"]).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut url = |name: &str| -> anyhow::Result<String> {
            loop {
                let mut line = String::new();
                ensure!(output.read_line(&mut line)? > 0, "the servers did not start");
                if let Some((_, url)) = line.split_once(&format!("export {name}=")) {
                    return Ok(url.trim().to_owned());
                }
            }
        };
        let (sqs, dynamo) = (url("AWS_ENDPOINT_URL_SQS")?, url("AWS_ENDPOINT_URL_DYNAMODB")?);
        Ok(Servers { program: program.to_owned(), sqs, dynamo, children: vec![child], _output: output })
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("AWS_ENDPOINT_URL_SQS", &self.sqs)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo)
            .env("EVENT_PIPELINE_ALLOW_HTTP", "true")
            .env("EVENT_PIPELINE_HTTP_LISTEN", "off")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(&self.program, arguments).stderr(Stdio::null()).output()?;
        ensure!(output.status.success(), "{arguments:?} failed: {}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn spawn(&mut self, arguments: &[&str]) -> anyhow::Result<u32> {
        let child = self.command(&self.program, arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        self.children.push(child);
        Ok(self.children[self.children.len() - 1].id())
    }

    /// Runs the bare loop until the queue is empty, in a process of its own, because Linux counts CPU time by process.
    pub(crate) fn bare(&self) -> anyhow::Result<Sample> {
        let mut command = self.command(&std::env::current_exe()?, &["bare", &self.sqs, &self.dynamo]);
        let output = command.stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "the bare loop failed: {}", output.status);
        serde_json::from_slice(&output.stdout).context("the bare loop printed no sample")
    }

    /// Runs the processor until it has stored all events.
    pub(crate) fn processor(mut self, events: u32) -> anyhow::Result<Sample> {
        let begin = Instant::now();
        let id = self.spawn(&["processor"])?.to_string();
        let queue = crate::runtime()?;
        let client = queue.block_on(crate::bare::Clients::connect(&self.sqs, &self.dynamo))?;
        while queue.block_on(client.backlog())? > 0 {
            ensure!(begin.elapsed() < PATIENCE, "the processor did not store {events} events");
            std::thread::sleep(TICK);
        }
        Ok(Sample { seconds: begin.elapsed().as_secs_f64(), cpu_seconds: usage(&id)?.cpu_seconds })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Both fail only if the process has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
