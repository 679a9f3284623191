//! Payloads that are nearly scans, decoded beside an independent reading of the rules.

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

/// One line of the kept corpus.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    verdict: String,
    payload_b64: String,
}

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/fuzz/payloads.jsonl");

fn kept() -> Vec<Kept> {
    let lines = std::fs::read_to_string(KEPT).expect("the kept corpus is there");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of the corpus is a payload")).collect()
}

/// The decoder's verdict, which the rules allow and which keeps what every verdict promises.
fn judged(payload: &[u8]) -> Result<Result<Scan, Rejection>, TestCaseError> {
    let latest = PUBLISHED + MAX_FUTURE_SKEW.as_secs();
    let got = decode(payload, SystemTime::UNIX_EPOCH + Duration::from_secs(PUBLISHED), MAX_FUTURE_SKEW);
    match (&got, rules::verdict(payload, latest)) {
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
        (got, by_the_rules) => {
            prop_assert!(false, "got {:?}, but by the rules it is {:?}", got, by_the_rules);
        }
    }
    Ok(got)
}

/// What kind of verdict it is: two payloads of one kind took the same way through the decoder, as far as can be seen.
fn kind(verdict: &Result<Scan, Rejection>) -> String {
    match verdict {
        Ok(scan) => format!(
            "stored: version {}, {}{}{}",
            scan.data_version as u8,
            if scan.key.ip().contains(':') { "IPv6" } else { "IPv4" },
            if scan.response.is_empty() { ", empty" } else { "" },
            if scan.response_bytes.is_some() { ", not UTF-8" } else { "" },
        ),
        Err(Rejection { reason, detail }) => {
            // Without what was sent, which stands between the first of these and the last backtick, and without places.
            let words = match (detail.split_once(" is `"), detail.rsplit_once('`')) {
                (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
                _ => detail.clone(),
            };
            format!("{reason}: {}", words.replace(|c: char| c.is_ascii_digit(), ""))
        }
    }
}

proptest! {
    // Half a second; fewer meet a fault in one value too seldom.
    #![proptest_config(Config::with_cases(10_000))]

    #[test]
    fn any_bytes_are_decoded_by_the_rules(payload: Vec<u8>) {
        let _ = judged(&payload)?;
    }

    #[test]
    fn any_json_is_decoded_by_the_rules(payload in payloads::damaged(payloads::json())) {
        let _ = judged(&payload)?;
    }

    #[test]
    fn a_scan_with_faults_is_decoded_by_the_rules(payload in payloads::damaged(payloads::faulty_scan())) {
        let _ = judged(&payload)?;
    }
}

#[test]
fn what_fuzzing_found_keeps_its_verdict() {
    let kept = kept();
    assert!(kept.len() > 50, "only {} payloads are kept", kept.len());
    for Kept { verdict, payload_b64 } in kept {
        let payload = STANDARD.decode(&payload_b64).unwrap();
        let got = judged(&payload).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(&payload)));
        // After the colon are words of serde_json too, which are its own.
        let reason = |kind: &str| kind.split(':').next().map(str::to_owned);
        assert_eq!(reason(&kind(&got)), reason(&verdict), "{}", String::from_utf8_lossy(&payload));
    }
}

#[test]
#[ignore = "long: make fuzz"]
fn a_long_run_keeps_the_shortest_payload_of_each_kind_of_verdict() {
    let mut shortest: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for Kept { verdict, payload_b64 } in kept() {
        shortest.insert(verdict, STANDARD.decode(&payload_b64).unwrap());
    }
    let known = shortest.len();
    let found = std::cell::RefCell::new(shortest);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let payloads = payloads::damaged(prop_oneof![1 => payloads::json(), 4 => payloads::faulty_scan()]);
    let result = runner.run(&payloads, |payload| {
        let kind = kind(&judged(&payload)?);
        let mut found = found.borrow_mut();
        if found.get(&kind).is_none_or(|shortest| payload.len() < shortest.len()) {
            found.insert(kind, payload);
        }
        Ok(())
    });
    let lines = found.take().into_iter().map(|(verdict, payload)| {
        serde_json::to_string(&Kept { verdict, payload_b64: STANDARD.encode(payload) }).unwrap() + "\n"
    });
    let lines: Vec<String> = lines.collect();
    println!(
        "{} payloads decoded; {} kinds of verdict, {} of them new",
        runner.config().cases,
        lines.len(),
        lines.len() - known
    );
    std::fs::write(KEPT, lines.concat()).unwrap();
    result.unwrap_or_else(|error| panic!("{error}"));
}
