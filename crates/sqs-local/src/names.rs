//! Names, ARNs and URLs of queues, and receipt handles. This module is pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::{ApiError, Code};

/// The account in every ARN and URL.
pub(crate) const ACCOUNT: &str = "000000000000";
const ARN_PREFIX: &str = "arn:aws:sqs:us-east-1:000000000000:";

/// What a receipt handle identifies: one receive of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) message: u64,
    /// The number of the receive, from 1.
    pub(crate) receive: u32,
}

/// Checks the name of a new queue: 1 to 80 letters, digits, hyphens and underscores.
pub(crate) fn check(name: &str) -> Result<(), ApiError> {
    if name.ends_with(".fifo") {
        return Err(ApiError::unsupported("FIFO queues"));
    }
    if (1..=80).contains(&name.len()) && name.bytes().all(is_name_byte) {
        return Ok(());
    }
    let message = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
    Err(ApiError::new(Code::InvalidParameterValue, message))
}

/// Returns whether `byte` may be part of the name of a queue, or of the id of an entry in a batch.
pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

pub(crate) fn arn(queue: &str) -> String {
    format!("{ARN_PREFIX}{queue}")
}

/// Returns the name of the queue in an ARN of this server.
pub(crate) fn of_arn(arn: &str) -> Option<&str> {
    arn.strip_prefix(ARN_PREFIX)
}

/// Returns the name of the queue in a URL. The host is ignored, so that a URL works through every name of this server.
pub(crate) fn of_url(url: &str) -> Result<&str, ApiError> {
    let mut segments = url.rsplit('/');
    match (segments.next(), segments.next()) {
        (Some(name), Some(ACCOUNT)) => Ok(name),
        _ => {
            let message = format!("The address {url} is not valid for this endpoint.");
            Err(ApiError::new(Code::InvalidAddress, message))
        }
    }
}

/// Returns the handle of a receipt. The number of the server keeps handles of another run from being taken for its own.
pub(crate) fn handle(server: u64, queue: &str, receipt: Receipt) -> String {
    STANDARD.encode(format!("{server:x}/{:x}/{:x}/{queue}", receipt.message, receipt.receive))
}

pub(crate) fn of_handle(handle: &str, server: u64, queue: &str) -> Result<Receipt, ApiError> {
    let parse = || {
        let decoded = String::from_utf8(STANDARD.decode(handle).ok()?).ok()?;
        let mut parts = decoded.splitn(4, '/');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (from, message, receive) = (number()?, number()?, number()?);
        let receipt = Receipt { message, receive: u32::try_from(receive).ok()? };
        (from == server && parts.next() == Some(queue)).then_some(receipt)
    };
    parse().ok_or_else(|| {
        let message = format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
        ApiError::new(Code::ReceiptHandleIsInvalid, message)
    })
}

/// Returns the id of a message. It differs between servers, so that a client never sees an id twice.
pub(crate) fn message_id(server: u64, message: u64) -> String {
    let (high, low) = (server >> 32, server & 0xffff_ffff);
    format!("{high:08x}-{:04x}-4{:03x}-a{:03x}-{message:012x}", low >> 16, low & 0xfff, (low >> 12) & 0xf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_valid_for_its_queue_and_its_server_only() {
        let receipt = Receipt { message: 17, receive: 3 };
        let valid = handle(7, "orders", receipt);
        assert_eq!(of_handle(&valid, 7, "orders"), Ok(receipt));
        for (handle, server, queue) in [(&*valid, 8, "orders"), (&*valid, 7, "events"), ("abc", 7, "orders")] {
            assert!(of_handle(handle, server, queue).is_err());
        }
    }

    #[test]
    fn a_name_is_found_in_its_url_and_its_arn() {
        assert_eq!(of_url("http://sqs:9324/000000000000/orders"), Ok("orders"));
        assert!(of_url("orders").is_err());
        assert_eq!(of_arn(&arn("orders")), Some("orders"));
        assert_eq!(of_arn("arn:aws:sqs:eu-west-1:000000000000:orders"), None);
        assert!(check("orders.fifo").is_err_and(|error| error.code == Code::UnsupportedOperation));
        assert!(["", "a b", &"a".repeat(81)].iter().all(|name| check(name).is_err()));
        assert!(check(&"a".repeat(80)).is_ok());
    }

    #[test]
    fn a_message_id_looks_like_a_uuid() {
        assert_eq!(message_id(0x1234_5678_9abc_def0, 255), "12345678-9abc-4ef0-a00d-0000000000ff");
    }
}
