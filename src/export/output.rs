//! Where an export writes: stdout, or a file that an interrupted export can continue.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, unfinished};
use crate::service::SetupError;

/// Enough to tell one output from another.
pub(super) const TAIL_BYTES: usize = 256;

/// The output, which only grows. Its checkpoint, if there is one, covers what has been synced.
pub(super) struct Output<'a> {
    target: Target<'a>,
    length: u64,
    /// The last bytes that were written.
    tail: Vec<u8>,
}

enum Target<'a> {
    Stream(&'a mut dyn Write),
    File { file: File, path: PathBuf },
}

impl<'a> Output<'a> {
    pub(super) fn stream(stream: &'a mut dyn Write) -> Output<'a> {
        Output { target: Target::Stream(stream), length: 0, tail: Vec::new() }
    }

    /// Creates the file. An existing one is kept, because it may be somebody's only copy.
    pub(super) fn create(path: &Path) -> Result<Output<'a>, SetupError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => cannot_create(path, &error),
        })?;
        lock(&file, path)?;
        Ok(Output { target: Target::File { file, path: path.to_owned() }, length: 0, tail: Vec::new() })
    }

    /// Opens the output of an earlier run, and cuts off what its checkpoint does not cover. Refuses a file unless its
    /// path and its content are those of the checkpoint, because cutting another file would destroy it.
    pub(super) fn reopen(path: &Path, checkpoint: &Checkpoint) -> Result<Output<'a>, SetupError> {
        let Checkpoint { output, length, tail, .. } = checkpoint;
        let io_error = |error: io::Error| cannot_continue(path, &error.to_string());
        if location(path).map_err(io_error)? != *output {
            return Err(cannot_continue(path, &format!("its export writes to {output}")));
        }
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            // The run before was killed between the two files.
            Err(error) if error.kind() == io::ErrorKind::NotFound && *length == 0 => return Output::create(path),
            opened => opened.map_err(io_error)?,
        };
        lock(&file, path)?;
        let found = file.metadata().map_err(io_error)?.len();
        if found < *length {
            return Err(cannot_continue(path, "it is shorter than at the last checkpoint"));
        }
        // Without covered bytes, nothing proves whose content it is.
        if *length == 0 && found > 0 {
            return Err(cannot_continue(path, "it was empty at the last checkpoint"));
        }
        if read_tail(&mut file, *length, tail.len()).map_err(io_error)? != *tail {
            return Err(cannot_continue(path, "its content is not that of the last checkpoint"));
        }
        file.set_len(*length).map_err(io_error)?;
        file.seek(SeekFrom::Start(*length)).map_err(io_error)?;
        Ok(Output { target: Target::File { file, path: path.to_owned() }, length: *length, tail: tail.clone() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SetupError> {
        let written = match &mut self.target {
            Target::Stream(stream) => stream.write_all(bytes),
            Target::File { file, .. } => file.write_all(bytes),
        };
        written.map_err(|error| self.cannot_write(&error))?;
        self.length += bytes.len() as u64;
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES));
        Ok(())
    }

    /// Makes everything durable that was written, and sets the checkpoint to it.
    pub(super) fn sync(&mut self, checkpoint: &mut Checkpoint) -> Result<(), SetupError> {
        let synced = match &mut self.target {
            Target::Stream(stream) => stream.flush(),
            Target::File { file, .. } => file.sync_data(),
        };
        synced.map_err(|error| self.cannot_write(&error))?;
        (checkpoint.length, checkpoint.tail) = (self.length, self.tail.clone());
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the name of the file.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.target {
            Target::Stream(_) => None,
            Target::File { path, .. } => Some(path),
        }
    }

    fn cannot_write(&self, error: &io::Error) -> SetupError {
        SetupError(match self.path() {
            None => format!("cannot write the output: {error}"),
            Some(path) => format!("cannot write the output {} (--output): {error}", path.display()),
        })
    }
}

/// Reads the bytes before this length.
fn read_tail(file: &mut File, length: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut found = vec![0; count];
    let start = length.checked_sub(count as u64).ok_or(io::ErrorKind::InvalidData)?;
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut found)?;
    Ok(found)
}

/// Returns the absolute path of a file, which need not exist yet. Two names of one file have the same.
pub(super) fn location(path: &Path) -> io::Result<String> {
    let found = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            folder.canonicalize()?.join(path.file_name().ok_or(error)?)
        }
        found => found?,
    };
    Ok(found.display().to_string())
}

/// Returns whether the progress of an export would be written over its output.
pub fn is_overwritten(output: &Path, resume: &Path) -> bool {
    [resume, &unfinished(resume)].into_iter().any(|written| match (location(output), location(written)) {
        (Ok(output), Ok(written)) => output == written,
        _ => output == written,
    })
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

pub(super) fn cannot_create(path: &Path, error: &io::Error) -> SetupError {
    SetupError(format!("the output {} (--output) cannot be created: {error}", path.display()))
}

fn cannot_continue(path: &Path, why: &str) -> SetupError {
    SetupError(format!(
        "the output {} (--output) does not belong to this --resume file: {why}.\nTo export from the start, choose new \
         names for both files.",
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

    /// Returns the checkpoint of an export that has not written to this file yet.
    fn checkpoint(path: &Path) -> Checkpoint {
        let output = location(path).unwrap();
        Checkpoint::new(Identity::new("t", Format::JsonLines, &Filter::default()), output, 1)
    }

    fn is_refused(path: &Path, checkpoint: &Checkpoint, why: &str) -> bool {
        matches!(Output::reopen(path, checkpoint), Err(error) if error.0.contains(why))
    }

    #[test]
    fn a_reopened_output_loses_only_what_came_after_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut checkpoint = checkpoint(&path);
        let first = "x".repeat(300) + "\n";
        let mut output = Output::create(&path).unwrap();
        output.write(first.as_bytes()).unwrap();
        output.sync(&mut checkpoint).unwrap();
        output.write(b"half a li").unwrap();
        assert!(is_refused(&path, &checkpoint, "another export"));
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
            assert!(is_refused(&path, &checkpoint, why));
        }
    }

    #[test]
    fn only_an_empty_file_is_continued_without_covered_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let checkpoint = checkpoint(&path);
        drop(Output::reopen(&path, &checkpoint).unwrap());
        drop(Output::reopen(&path, &checkpoint).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(is_refused(&path, &checkpoint, "it was empty"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_copy_of_the_output_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [path, copy] = ["out", "copy"].map(|name| folder.path().join(name));
        let mut checkpoint = checkpoint(&path);
        let mut output = Output::create(&path).unwrap();
        output.write(b"first\n").unwrap();
        output.sync(&mut checkpoint).unwrap();
        fs::write(&copy, "first\nand my notes\n").unwrap();
        assert!(is_refused(&copy, &checkpoint, &checkpoint.output));
        assert_eq!(fs::read_to_string(&copy).unwrap(), "first\nand my notes\n");
    }

    #[test]
    fn a_name_of_the_output_is_recognized_in_the_resume_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        for (output, resume, is_same) in [
            ("x", "x", true),
            ("x", "./x", true),
            ("x", "sub/../x", true),
            ("x", "y", false),
            ("sub/x", "x", false),
            ("x.mini-scan-new", "sub/../x", true),
            ("missing/x", "missing/x", true),
            ("missing/x", "missing/y", false),
        ] {
            assert_eq!(is_overwritten(&path(output), &path(resume)), is_same, "{output} {resume}");
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
