//! Generated payloads that are almost scans. The decoder must agree with an independent implementation of its rules.

mod payloads;
mod rules;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::engine::{Engine, general_purpose::STANDARD};
use mini_scan::scan::{Rejection, Scan, decode};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rules::Record;
use serde::{Deserialize, Serialize};

const PUBLISHED: u64 = 1_740_298_125;
const MAX_FUTURE_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// One line of the corpus that fuzzing has collected.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    outcome: String,
    payload_b64: String,
}

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/fuzz/payloads.jsonl");

fn cases() -> Vec<Case> {
    let lines = std::fs::read_to_string(CORPUS).expect("the corpus exists");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of the corpus is a case")).collect()
}

/// Decodes a payload. Fails if the rules do not allow the result, or if the detail of a rejection is not printable.
fn decode_and_check(payload: &[u8]) -> Result<Result<Scan, Rejection>, TestCaseError> {
    let latest = PUBLISHED + MAX_FUTURE_SKEW.as_secs();
    let got = decode(payload, SystemTime::UNIX_EPOCH + Duration::from_secs(PUBLISHED), MAX_FUTURE_SKEW);
    match (&got, rules::decode(payload, latest)) {
        (Ok(scan), Ok(record)) => {
            prop_assert_eq!(
                Record {
                    key: scan.key.as_str().to_owned(),
                    timestamp: scan.timestamp,
                    version: scan.data_version as u8,
                    response: scan.response.clone(),
                    bytes: scan.response_bytes.clone(),
                },
                record
            );
        }
        (Err(rejection), Err(reasons)) if reasons.contains(&rejection.reason) => {
            let detail = &rejection.detail;
            prop_assert!(!detail.is_empty() && detail.len() < 1_024, "{}", detail);
            prop_assert!(detail.chars().all(|c| (' '..='~').contains(&c)), "{}", detail);
        }
        (got, expected) => {
            prop_assert!(false, "got {:?}, but the rules give {:?}", got, expected);
        }
    }
    Ok(got)
}

/// Returns the kind of an outcome. Payloads with the same kind probably took the same path through the decoder.
fn kind(outcome: &Result<Scan, Rejection>) -> String {
    match outcome {
        Ok(scan) => format!(
            "stored: version {}, {}{}{}",
            scan.data_version as u8,
            if scan.key.ip().contains(':') { "IPv6" } else { "IPv4" },
            if scan.response.is_empty() { ", empty" } else { "" },
            if scan.response_bytes.is_some() { ", not UTF-8" } else { "" },
        ),
        Err(Rejection { reason, detail }) => {
            // Omits the quoted part of the payload, which ends at the last backtick, and all numbers.
            let words = match (detail.split_once(" is `"), detail.rsplit_once('`')) {
                (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
                _ => detail.clone(),
            };
            format!("{reason}: {}", words.replace(|c: char| c.is_ascii_digit(), ""))
        }
    }
}

proptest! {
    // This takes half a second. Fewer cases would rarely have a fault in a particular value.
    #![proptest_config(Config::with_cases(10_000))]

    #[test]
    fn decodes_arbitrary_bytes_by_the_rules(payload: Vec<u8>) {
        let _ = decode_and_check(&payload)?;
    }

    #[test]
    fn decodes_arbitrary_json_by_the_rules(payload in payloads::damaged(payloads::json())) {
        let _ = decode_and_check(&payload)?;
    }

    #[test]
    fn decodes_scans_with_faults_by_the_rules(payload in payloads::damaged(payloads::faulty_scan())) {
        let _ = decode_and_check(&payload)?;
    }
}

#[test]
fn the_collected_payloads_keep_their_outcomes() {
    let cases = cases();
    assert!(cases.len() > 50, "the corpus has only {} cases", cases.len());
    for Case { outcome, payload_b64 } in cases {
        let payload = STANDARD.decode(&payload_b64).unwrap();
        let text = String::from_utf8_lossy(&payload);
        let got = decode_and_check(&payload).unwrap_or_else(|error| panic!("{text}: {error}"));
        // The text after the colon is not compared, because part of it comes from serde_json.
        let reason = |kind: &str| kind.split(':').next().map(str::to_owned);
        assert_eq!(reason(&kind(&got)), reason(&outcome), "{text}");
    }
}

#[test]
#[ignore = "long; run by `make fuzz`"]
fn a_long_run_collects_the_shortest_payload_of_each_kind_of_outcome() {
    let mut shortest: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for Case { outcome, payload_b64 } in cases() {
        shortest.insert(outcome, STANDARD.decode(&payload_b64).unwrap());
    }
    let known = shortest.len();
    let found = std::cell::RefCell::new(shortest);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let payloads = payloads::damaged(prop_oneof![1 => payloads::json(), 4 => payloads::faulty_scan()]);
    let result = runner.run(&payloads, |payload| {
        let kind = kind(&decode_and_check(&payload)?);
        let mut found = found.borrow_mut();
        if found.get(&kind).is_none_or(|shortest| payload.len() < shortest.len()) {
            found.insert(kind, payload);
        }
        Ok(())
    });
    let lines = found.take().into_iter().map(|(outcome, payload)| {
        serde_json::to_string(&Case { outcome, payload_b64: STANDARD.encode(payload) }).unwrap() + "\n"
    });
    let lines: Vec<String> = lines.collect();
    println!(
        "{} payloads decoded; {} kinds of outcomes, {} of them new",
        runner.config().cases,
        lines.len(),
        lines.len() - known
    );
    std::fs::write(CORPUS, lines.concat()).unwrap();
    result.unwrap_or_else(|error| panic!("{error}"));
}
