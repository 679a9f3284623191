//! The corpus of messages in `tests/corpus`, through the decoder and through the consumer.

mod consumed;
mod modes;

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use base64::engine::{Engine, general_purpose::STANDARD};
use mini_scan::scan::{DataVersion, Reason, Rejection, Scan, decode};
use proptest::prelude::*;
use serde::Deserialize;

/// The publish time of all cases. The corpus has none. This is the second in which its ordinary scans were taken.
const PUBLISHED: u64 = 1_740_298_125;
const MAX_FUTURE_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// DynamoDB's limit. The decoder accepts a larger scan, because the writer checks the size.
const MAX_ITEM_BYTES: usize = 400 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    payload_b64: String,
    expect: Expected,
}

#[derive(Deserialize, Debug)]
#[serde(tag = "outcome", rename_all = "lowercase", deny_unknown_fields)]
enum Expected {
    Stored { pk: String, response: String, timestamp: u64, data_version: u8, response_bytes_b64: Option<String> },
    Rejected { reason: Vec<String> },
}

fn cases() -> Vec<Case> {
    let lines = include_str!("../corpus/scans.jsonl").lines();
    let cases: Vec<Case> =
        lines.map(|line| serde_json::from_str(line).expect("a line of the corpus is a case")).collect();
    assert!(cases.len() >= 44, "the corpus has only {} cases", cases.len());
    cases
}

fn decoded(payload: &[u8]) -> Result<Scan, Rejection> {
    decode(payload, SystemTime::UNIX_EPOCH + Duration::from_secs(PUBLISHED), MAX_FUTURE_SKEW)
}

/// Returns the differences from the expected result, or an empty text.
fn difference(expected: &Expected, got: &Result<Scan, Rejection>) -> String {
    let mut lines = String::new();
    let mut compare = |what: &str, expected: &dyn fmt::Debug, got: &dyn fmt::Debug| {
        let (expected, got) = (shortened(expected), shortened(got));
        if expected != got {
            let _ = write!(lines, "\n    {what}\n      expected {expected}\n      got      {got}");
        }
    };
    match (expected, got) {
        (Expected::Stored { pk, response, timestamp, data_version, response_bytes_b64 }, Ok(scan)) => {
            compare("key", pk, &scan.key.as_str());
            compare("response", response, &scan.response);
            compare("timestamp", timestamp, &scan.timestamp);
            compare("data_version", data_version, &(scan.data_version as u8));
            let bytes = scan.response_bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
            compare("response_bytes (base64)", response_bytes_b64, &bytes);
        }
        (Expected::Rejected { reason }, Err(rejection)) if reason.iter().any(|r| r == rejection.reason.as_str()) => {}
        (Expected::Rejected { reason }, Ok(scan)) if reason.contains(&Reason::ItemTooLarge.to_string()) => {
            compare("above the limit of an item", &true, &(scan.response.len() > MAX_ITEM_BYTES));
        }
        (expected, got) => compare("outcome", expected, got),
    }
    lines
}

/// Shortens a long value, and appends its length and checksum, so that two values that differ also look different.
fn shortened(value: &dyn fmt::Debug) -> String {
    const SHOWN: usize = 300;
    let text = format!("{value:?}");
    let Some((end, _)) = text.char_indices().nth(SHOWN) else { return text };
    let sum = text.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    format!("{}... ({} bytes, sum {sum:016x})", &text[..end], text.len())
}

#[test]
fn every_case_of_the_corpus_is_decoded_as_expected() {
    let cases = cases();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let difference = difference(&case.expect, &decoded(&STANDARD.decode(&case.payload_b64).unwrap()));
            (!difference.is_empty()).then(|| format!("\n  {}{difference}", case.name))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} cases differ:{}", failures.len(), cases.len(), failures.concat());
}

fn payload(
    address: std::net::IpAddr,
    port: u16,
    service: &str,
    timestamp: u64,
    version: u8,
    response: &str,
) -> Vec<u8> {
    let data = match version {
        1 => serde_json::json!({ "response_bytes_utf8": STANDARD.encode(response) }),
        _ => serde_json::json!({ "response_str": response }),
    };
    let scan = serde_json::json!({
        "ip": address, "port": port, "service": service, "timestamp": timestamp, "data_version": version, "data": data,
    });
    scan.to_string().into_bytes()
}

proptest! {
    #[test]
    fn a_text_scan_gives_the_same_record_in_both_versions_except_for_the_version(
        address: std::net::IpAddr, port: u16, service in "\\PC{1,20}", timestamp in 0..=PUBLISHED, response: String,
    ) {
        let [first, second] = [1, 2].map(|version| {
            decoded(&payload(address, port, &service, timestamp, version, &response)).unwrap()
        });
        prop_assert_eq!((first.data_version, second.data_version), (DataVersion::V1, DataVersion::V2));
        prop_assert_eq!(&first, &Scan { data_version: DataVersion::V1, ..second });
        prop_assert_eq!(first.key.as_str(), format!("{}#{port}#{service}", address.to_canonical()));
        prop_assert_eq!((first.timestamp, first.response, first.response_bytes), (timestamp, response, None));
    }
}
