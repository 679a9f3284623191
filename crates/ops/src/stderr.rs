//! The lines on stderr that are not log events: errors and panics, as text or as JSON beside JSON logs.

use std::io::{self, Write};
use std::process::ExitCode;

use tracing::Level;

use crate::{Program, logs};

/// A flag is missing, unknown or out of range.
const WRONG_USAGE: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stderr {
    program: Program,
    /// Every line can be parsed.
    is_json: bool,
}

impl Stderr {
    /// With JSON, panics are written as JSON from now on.
    pub fn of(program: &Program, is_json: bool) -> Stderr {
        let stderr = Stderr { program: *program, is_json };
        if is_json {
            std::panic::set_hook(Box::new(move |panic| stderr.write(Level::ERROR, &panic.to_string())));
        }
        stderr
    }

    pub fn write(self, level: Level, message: &str) {
        // An error means that nobody reads stderr any more.
        let _ = match self.is_json {
            false => writeln!(io::stderr(), "{message}"),
            true => writeln!(io::stderr(), "{}", logs::line(self.program.version, level, message)),
        };
    }

    /// Reports a failure, or wrong usage if it is one, and returns its exit code.
    pub fn fail(self, error: &str, usage: Option<&clap::Error>) -> ExitCode {
        match (self.is_json, usage) {
            (false, Some(usage)) => _ = usage.print(),
            (false, None) => self.write(Level::ERROR, &format!("{}: {error}", self.program.name)),
            (true, Some(usage)) => {
                self.write(Level::ERROR, usage.to_string().trim_start_matches("error: ").trim_end());
            }
            (true, None) => self.write(Level::ERROR, error),
        }
        if usage.is_some() { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
    }
}
