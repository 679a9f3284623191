//! The least that reading a scan costs: serde_json alone, into a borrowed struct, by none of the rules.

use std::borrow::Cow;
use std::hint::black_box;

use serde::Deserialize;

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the reading is measured")]
struct Plain<'a> {
    ip: &'a str,
    port: u16,
    service: &'a str,
    timestamp: u64,
    data_version: u8,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the reading is measured")]
struct Data<'a> {
    #[serde(borrow)]
    response_bytes_utf8: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response_str: Option<Cow<'a, str>>,
}

/// Reads the text and drops what it read.
pub(crate) fn parse(text: &str) {
    let parsed: Plain<'_> = serde_json::from_slice(black_box(text.as_bytes())).expect("the scans measured are good");
    black_box(&parsed);
}
