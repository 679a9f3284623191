//! The operator's commands, with the tables of a test.

mod audit;
mod setup;
mod tail;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use ops::console::{Console, Outcome, ToolError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What a command has written so far.
#[derive(Clone, Default)]
struct Written {
    text: Arc<Mutex<String>>,
    changed: Arc<Notify>,
}

impl Written {
    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// Waits until each of these texts was written.
    async fn wait_for(&self, texts: &[&str]) {
        loop {
            let changed = self.changed.notified();
            let written = self.text();
            if texts.iter().all(|text| written.contains(text)) {
                return;
            }
            changed.await;
        }
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(bytes));
        self.changed.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A command that runs in the test.
#[derive(Clone, Default)]
struct Running {
    out: Written,
    notes: Written,
    stop: CancellationToken,
}

impl Running {
    async fn run(&self, work: impl AsyncFnOnce(&mut Console<'_>) -> Result<Outcome, ToolError>) -> Outcome {
        let (mut out, mut notes) = (self.out.clone(), self.notes.clone());
        let mut console = Console { out: &mut out, notes: &mut notes, stop: &self.stop };
        work(&mut console).await.expect("the command ends without an error")
    }
}

/// Runs a command to its end, and returns the lines of its results.
async fn run(work: impl AsyncFnOnce(&mut Console<'_>) -> Result<Outcome, ToolError>) -> (Outcome, Vec<String>) {
    let running = Running::default();
    let outcome = running.run(work).await;
    (outcome, running.out.lines())
}
