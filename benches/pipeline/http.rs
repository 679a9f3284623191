//! Reads whole HTTP/1.1 messages, as the SDK, hyper and the null table send them: with a `content-length`, and no message
//! before the response to the last one.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A message at the start of a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// Where its body begins.
    pub(crate) body: usize,
    pub(crate) end: usize,
}

/// Reads the next message. Returns `None` if the other side has closed the connection.
pub(crate) async fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<Message>> {
    loop {
        if let Some(head) = position(buffer, b"\r\n\r\n") {
            let body = head + 4;
            let end = body + content_length(&buffer[..head])?;
            while buffer.len() < end {
                buffer.reserve(end - buffer.len());
                if stream.read_buf(buffer).await? == 0 {
                    return Ok(None);
                }
            }
            return Ok(Some(Message { body, end }));
        }
        buffer.reserve(4 * 1024);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    const NAME: &[u8] = b"content-length: ";
    let digits = position(head, NAME).map(|at| head[at + NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit()));
    let length = digits.map(|digits| digits.fold(0, |length, digit| 10 * length + usize::from(digit - b'0')));
    length.ok_or_else(|| io::Error::other("the message has no content-length"))
}

/// Searches by the first byte, which is faster than comparing windows: the servers share the cores with what is measured.
pub(crate) fn position(text: &[u8], sought: &[u8]) -> Option<usize> {
    let (first, rest) = sought.split_first()?;
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.iter().position(|byte| byte == first)?;
        from = at + 1;
        if text[from..].starts_with(rest) {
            return Some(at);
        }
    }
}
