//! A measured program in a separate process, so that Linux counts its CPU time and memory separately.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::usage::{Usage, usage};

/// A measured process. Dropping it kills the process.
pub(crate) struct Measured(Child);

impl Measured {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Measured> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Measured(child.context("cannot start the measured program")?))
    }

    /// Returns CPU time and memory since the start of the process, or an error if it exited.
    pub(crate) fn usage(&mut self) -> anyhow::Result<Usage> {
        if let Some(status) = self.0.try_wait()? {
            bail!("the measured program exited: {status}");
        }
        usage(&self.0.id().to_string())
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
