//! The real programs as processes, so that one of them can be killed.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::POLL_INTERVAL;

/// A process that does not stop within this time is killed.
const STOP_TIME: Duration = Duration::from_secs(60);
/// A process that does not write a line within this time has failed.
const START_TIME: Duration = Duration::from_secs(60);
/// The lines of a log to show if the process fails.
const SHOWN: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// With the last lines of the log of the process.
    #[error("{0}")]
    Failed(String),
    #[error("cannot run a process")]
    Io(#[from] io::Error),
}

/// Starts this program with the settings of the demo. Its files are in a temporary directory.
#[derive(Debug)]
pub struct Processes {
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    files: TempDir,
}

impl Processes {
    pub fn new() -> io::Result<Processes> {
        let program = std::env::current_exe()?;
        Ok(Processes { program, environment: Vec::new(), files: tempfile::tempdir()? })
    }

    /// Sets a variable of the processes that start from now on.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.push((name, value.into()));
    }

    /// Starts a process whose stdout and stderr go to files with this name.
    pub fn start(&self, name: &str, arguments: &[&str]) -> io::Result<Child> {
        let log = self.files.path().join(name);
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(File::create(self.stdout(name))?)
            .stderr(File::create(&log)?);
        Ok(Child { process: command.spawn()?, log })
    }

    /// Starts a process, and waits until its stderr has this text.
    pub async fn start_until(&self, name: &str, arguments: &[&str], text: &str) -> Result<Child, Error> {
        let mut child = self.start(name, arguments)?;
        let begin = Instant::now();
        while !child.log()?.contains(text) {
            if child.process.try_wait()?.is_some() || begin.elapsed() > START_TIME {
                return Err(Error::Failed(format!("`{name}` does not start: {}", child.last_lines())));
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(child)
    }

    fn stdout(&self, name: &str) -> PathBuf {
        self.files.path().join(format!("{name}.out"))
    }

    /// Returns what the process with this name has written to stdout so far.
    pub fn output(&self, name: &str) -> io::Result<String> {
        std::fs::read_to_string(self.stdout(name))
    }

    /// Writes a file. Returns its path.
    pub fn write(&self, name: &str, text: &str) -> io::Result<String> {
        let path = self.files.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// Runs a command to its end. Returns its output.
    pub async fn run(&self, name: &str, arguments: &[&str]) -> Result<String, Error> {
        let mut child = self.start(name, arguments)?;
        let status = child.ended().await?;
        if status.success() {
            return Ok(self.output(name)?);
        }
        Err(Error::Failed(format!("`{}` failed: {}", arguments.join(" "), child.last_lines())))
    }
}

/// A process, which is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    log: PathBuf,
}

impl Child {
    /// Sends SIGKILL. Fails if the process has already ended.
    pub fn kill(mut self) -> Result<(), Error> {
        if let Some(status) = self.process.try_wait()? {
            return Err(Error::Failed(format!("a process ended early ({status}): {}", self.last_lines())));
        }
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Sends SIGTERM. Returns whether the process ended with exit code 0.
    pub async fn stop(mut self) -> Result<bool, Error> {
        if self.process.try_wait()?.is_none() {
            // The images have no program `kill`.
            kill_process(Pid::from_child(&self.process), Signal::TERM).map_err(io::Error::from)?;
        }
        Ok(timeout(STOP_TIME, self.ended()).await.is_ok_and(|ended| ended.is_ok_and(|status| status.success())))
    }

    async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    fn log(&self) -> io::Result<String> {
        std::fs::read_to_string(&self.log)
    }

    pub fn last_lines(&self) -> String {
        let text = self.log().unwrap_or_default();
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
