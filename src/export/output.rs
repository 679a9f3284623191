//! Where an export writes: stdout, or a file that an interrupted export can continue.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use crate::service::SetupError;

/// Enough to tell one output from another.
const TAIL_BYTES: usize = 256;

/// The output, which only grows. Its checkpoint, if there is one, covers what has been synced.
pub(super) enum Output<'a> {
    Stream(&'a mut dyn Write),
    File {
        file: File,
        path: PathBuf,
        length: u64,
        /// The last bytes that were written.
        tail: Vec<u8>,
    },
}

impl<'a> Output<'a> {
    /// Creates the file. An existing one is kept, because it may be somebody's only copy.
    pub(super) fn create(path: &Path) -> Result<Output<'a>, SetupError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => SetupError(format!("the output {} (--output) cannot be created: {error}", path.display())),
        })?;
        lock(&file, path)?;
        Ok(Output::File { file, path: path.to_owned(), length: 0, tail: Vec::new() })
    }

    /// Opens the output of an earlier run, and cuts off what its checkpoint does not cover.
    pub(super) fn reopen(path: &Path, checkpoint: &Checkpoint) -> Result<Output<'a>, SetupError> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let mut file = match opened {
            // The run before was killed between the two files.
            Err(error) if error.kind() == io::ErrorKind::NotFound && checkpoint.length == 0 => {
                return Output::create(path);
            }
            opened => opened.map_err(|error| cannot_continue(path, &error.to_string()))?,
        };
        lock(&file, path)?;
        let Checkpoint { length, tail, .. } = checkpoint;
        let io_error = |error: io::Error| cannot_continue(path, &error.to_string());
        if file.metadata().map_err(io_error)?.len() < *length {
            return Err(cannot_continue(path, "it is shorter than at the last checkpoint"));
        }
        let mut found = vec![0; tail.len()];
        file.seek(SeekFrom::Start(length - tail.len() as u64)).map_err(io_error)?;
        file.read_exact(&mut found).map_err(io_error)?;
        if found != *tail {
            return Err(cannot_continue(path, "its content is not that of the last checkpoint"));
        }
        file.set_len(*length).map_err(io_error)?;
        file.seek(SeekFrom::Start(*length)).map_err(io_error)?;
        Ok(Output::File { file, path: path.to_owned(), length: *length, tail: tail.clone() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SetupError> {
        match self {
            Output::Stream(stream) => {
                stream.write_all(bytes).map_err(|error| SetupError(format!("cannot write the output: {error}")))
            }
            Output::File { file, path, length, tail } => {
                let written = file.write_all(bytes);
                written.map_err(|error| {
                    SetupError(format!("cannot write the output {} (--output): {error}", path.display()))
                })?;
                *length += bytes.len() as u64;
                tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
                tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
                Ok(())
            }
        }
    }

    /// Makes everything durable that was written, and sets the checkpoint to it.
    pub(super) fn sync(&mut self, checkpoint: &mut Checkpoint) -> Result<(), SetupError> {
        match self {
            Output::Stream(stream) => {
                stream.flush().map_err(|error| SetupError(format!("cannot write the output: {error}")))
            }
            Output::File { file, path, length, tail } => {
                let synced = file.sync_data();
                synced.map_err(|error| {
                    SetupError(format!("cannot write the output {} (--output): {error}", path.display()))
                })?;
                (checkpoint.length, checkpoint.tail) = (*length, tail.clone());
                Ok(())
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Output::Stream(_) => true,
            Output::File { length, .. } => *length == 0,
        }
    }

    /// Returns the name of the file.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Output::Stream(_) => None,
            Output::File { path, .. } => Some(path),
        }
    }
}

/// Two exports that write to one file would mix their lines.
fn lock(file: &File, path: &Path) -> Result<(), SetupError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(SetupError(format!("another export writes to {} (--output).\nWait for its end.", path.display())))
        }
        // Some file systems have no locks.
        Err(TryLockError::Error(_)) => Ok(()),
    }
}

pub(super) fn exists(path: &Path) -> SetupError {
    SetupError(format!(
        "the output {} (--output) exists already.\nChoose another name, or delete it. To continue an interrupted export, \
         pass its --resume file.",
        path.display()
    ))
}

fn cannot_continue(path: &Path, why: &str) -> SetupError {
    SetupError(format!(
        "the output {} (--output) does not belong to this --resume file: {why}.\nTo export again from the start, delete \
         both files.",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::checkpoint::Identity;
    use super::super::filter::Filter;
    use super::super::format::Format;
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint::new(Identity::new("t", Format::JsonLines, &Filter::default()), 1)
    }

    #[test]
    fn a_reopened_output_loses_only_what_came_after_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut checkpoint = checkpoint();
        let first = "x".repeat(300) + "\n";
        let mut output = Output::create(&path).unwrap();
        output.write(first.as_bytes()).unwrap();
        output.sync(&mut checkpoint).unwrap();
        output.write(b"half a li").unwrap();
        assert!(matches!(Output::reopen(&path, &checkpoint), Err(error) if error.0.contains("another export")));
        drop(output);

        let mut output = Output::reopen(&path, &checkpoint).unwrap();
        output.write(b"second\n").unwrap();
        output.sync(&mut checkpoint).unwrap();
        drop(output);

        assert_eq!(fs::read_to_string(&path).unwrap(), first.clone() + "second\n");
        assert_eq!(checkpoint.length, first.len() as u64 + 7);
        drop(Output::reopen(&path, &checkpoint).unwrap());
        for (other, why) in [(first.clone() + "secret\n", "content"), (first, "shorter")] {
            fs::write(&path, other).unwrap();
            assert!(matches!(Output::reopen(&path, &checkpoint), Err(error) if error.0.contains(why)));
        }
    }

    #[test]
    fn an_existing_output_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Output::create(&path), Err(error) if error.0.contains("exists already")));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
