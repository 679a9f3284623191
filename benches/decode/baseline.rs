//! The baseline: serde_json alone parses a scan into a borrowed struct, without any of the rules.

use std::borrow::Cow;
use std::hint::black_box;

use serde::Deserialize;

#[derive(Deserialize)]
#[expect(dead_code, reason = "only parsing is measured")]
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
#[expect(dead_code, reason = "only parsing is measured")]
struct Data<'a> {
    #[serde(borrow)]
    response_bytes_utf8: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response_str: Option<Cow<'a, str>>,
}

/// Parses the text and drops the result.
pub(crate) fn parse(text: &str) {
    let parsed: Plain<'_> = serde_json::from_slice(black_box(text.as_bytes())).expect("the measured scans are valid");
    black_box(&parsed);
}
