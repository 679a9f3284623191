//! An output whose reader may close it, e.g. `head`.

use std::io::{self, Write};

/// A stream that remembers whether its reader has closed it.
#[derive(Debug)]
pub struct Pipe<W> {
    stream: W,
    pub is_closed: bool,
}

impl<W: Write> Pipe<W> {
    pub fn new(stream: W) -> Pipe<W> {
        Pipe { stream, is_closed: false }
    }

    fn noted<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.is_closed |= result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.stream.flush();
        self.noted(flushed)
    }
}
