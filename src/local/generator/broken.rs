//! Messages with exactly one fault, for every reason that a payload can cause. This module must not know how faults are
//! detected.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::SmallRng;

use super::{DAY, Record};
use crate::scan::Reason;

/// Every reason that a payload can cause.
pub const REASONS: [Reason; 10] = [
    Reason::MalformedJson,
    Reason::MissingField,
    Reason::InvalidIp,
    Reason::InvalidPort,
    Reason::InvalidService,
    Reason::InvalidTimestamp,
    Reason::TimestampInFuture,
    Reason::UnsupportedVersion,
    Reason::InvalidBase64,
    Reason::ItemTooLarge,
];

/// One in this many broken messages is too large. Each of those has 400 KB.
const TOO_LARGE_EVERY: u64 = 250;
/// The limit of an item in DynamoDB is 409,600 bytes, including the names of attributes.
const TOO_LARGE: usize = 410_000;

/// Returns the reason for the nth broken message. The first ten cover every reason.
pub(super) fn reason(nth: u64) -> Reason {
    let last = REASONS.len() as u64 - 1;
    match nth % TOO_LARGE_EVERY {
        position if position == last => Reason::ItemTooLarge,
        position => REASONS[(position % last) as usize],
    }
}

/// Returns the payload of `scan` with one fault.
pub(super) fn payload(reason: Reason, mut scan: Record, rng: &mut SmallRng) -> Bytes {
    match reason {
        Reason::MalformedJson => return malformed(&scan, rng),
        Reason::InvalidBase64 => scan.data_version = 1,
        Reason::ItemTooLarge => {
            scan.data_version = 2;
            scan.response.push_str(&"x".repeat(TOO_LARGE));
        }
        _ => {}
    }
    let mut fields = Fields::of(&scan);
    match reason {
        Reason::MissingField => fields.remove_one(&scan, rng),
        Reason::InvalidIp => {
            fields.ip = one_of(rng, &[r#""1.1.1.256""#, r#""010.1.1.1""#, r#""scanner.example""#, "16843009"])
        }
        Reason::InvalidPort => fields.port = one_of(rng, &["65536", "-1", r#""80""#, "80.0", "1e3"]),
        Reason::InvalidService => fields.service = one_of(rng, &[r#""""#, r#""HT\u0007TP""#, "80"]),
        Reason::InvalidTimestamp => fields.timestamp = one_of(rng, &["-1", r#""1740298125""#, "1740298125.5"]),
        Reason::TimestampInFuture => {
            fields.timestamp = (scan.timestamp + rng.random_range(2 * DAY..=365 * DAY)).to_string();
        }
        Reason::UnsupportedVersion => fields.data_version = one_of(rng, &["0", "3", r#""2""#]),
        Reason::InvalidBase64 => {
            fields.data = one_of(
                rng,
                &[
                    r#"{"response_bytes_utf8":"c2Vy*mlj"}"#,
                    r#"{"response_bytes_utf8":"c2VydmljZQ="}"#,
                    r#"{"response_bytes_utf8":"c2Vyd"}"#,
                ],
            )
        }
        Reason::MalformedJson | Reason::ItemTooLarge | Reason::RefusedByStore | Reason::HandlerPanicked => {}
    }
    fields.to_json().into()
}

fn malformed(scan: &Record, rng: &mut SmallRng) -> Bytes {
    let mut fields = Fields::of(scan);
    match rng.random_range(0..6) {
        0 => {
            // At least one byte stays: Pub/Sub rejects a message without data and attributes.
            let whole = Bytes::from(fields.to_json());
            return whole.slice(..rng.random_range(1..whole.len()));
        }
        1 => return (fields.to_json() + "}").into(),
        2 => return format!("[{}]", fields.to_json()).into(),
        3 => return [b"\xff", fields.to_json().as_bytes()].concat().into(),
        4 => fields.port.push_str(r#","port":443"#),
        _ => fields.data = r#""service response: 7""#.to_owned(),
    }
    fields.to_json().into()
}

fn one_of(rng: &mut SmallRng, values: &[&str]) -> String {
    values[rng.random_range(0..values.len())].to_owned()
}

/// The six values of a message in JSON.
struct Fields {
    ip: String,
    port: String,
    service: String,
    timestamp: String,
    data_version: String,
    data: String,
}

impl Fields {
    fn of(scan: &Record) -> Fields {
        Fields {
            ip: format!(r#""{}""#, scan.ip),
            port: scan.port.to_string(),
            service: format!(r#""{}""#, scan.service),
            timestamp: scan.timestamp.to_string(),
            data_version: scan.data_version.to_string(),
            data: scan.data(),
        }
    }

    /// Makes one value null, leaves it out, or uses the data format of the other version.
    fn remove_one(&mut self, scan: &Record, rng: &mut SmallRng) {
        let missing = one_of(rng, &["", "null"]);
        match rng.random_range(0..7) {
            0 => self.ip = missing,
            1 => self.port = missing,
            2 => self.service = missing,
            3 => self.timestamp = missing,
            4 => self.data_version = missing,
            5 => self.data = missing,
            _ => self.data = Record { data_version: 3 - scan.data_version, ..scan.clone() }.data(),
        }
    }

    /// Returns the JSON object. An empty value leaves out its key.
    fn to_json(&self) -> String {
        let values = [
            ("ip", &self.ip),
            ("port", &self.port),
            ("service", &self.service),
            ("timestamp", &self.timestamp),
            ("data_version", &self.data_version),
            ("data", &self.data),
        ];
        let present = values.iter().filter(|(_, value)| !value.is_empty());
        let members: Vec<String> = present.map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
        format!("{{{}}}", members.join(","))
    }
}
