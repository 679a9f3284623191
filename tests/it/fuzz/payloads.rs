//! Generates payloads: arbitrary JSON, scans of both formats with structural faults, and both with damaged bytes.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Values that are valid for some field, almost valid, or at a limit.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "1",
    "2",
    "0",
    "-0",
    "-1",
    "443",
    "65535",
    "65536",
    "80.0",
    "1e3",
    "2E0",
    "1e999",
    "-1.5e-999999999",
    "1740298125",
    "1740384525",
    "1740384526",
    "1740298125000",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
    "\"1.1.1.1\"",
    "\"010.1.1.1\"",
    "\"::1\"",
    "\"2001:DB8::0:1\"",
    "\"::ffff:1.1.1.1\"",
    "\"fe80::1%eth0\"",
    r#""1.1.1.\u0031""#,
    "\"HTTP\"",
    "\"a#b\"",
    "\"\u{7f}\"",
    "\"\u{e9}\u{1f980}\"",
    "\"2\"",
    "\"443\"",
    "\"aGVsbG8=\"",
    "\"aGVsbG8\"",
    "\"aGVsbG8==\"",
    "\"-_8\"",
    "\"-_+/\"",
    "\"//8=\"",
    "\"=\"",
    "\"a\"",
    "\"YR==\"",
    r#""aG\nVs\r\nbG8=""#,
    r#""aGVs\u0062G8=""#,
    "\"aGVs bG8=\"",
    r#""\ud800""#,
    r#""a\udc00\ud800b""#,
    r#""\ud83e\udd80""#,
    r#""\ud83e\ud83e\udd80""#,
    r#""\\\"\/\b\f\n\r\t""#,
    r#""\u0000""#,
    r#""\u""#,
    r#""\x""#,
    "\"\"",
    "\"\u{1}\"",
    "\"\t\"",
    "[]",
    "{}",
    "01",
    "+1",
    ".5",
    "1.",
    "NaN",
    "nul",
    "",
];

const KEYS: &[&str] = &[
    "ip",
    "port",
    "service",
    "timestamp",
    "data_version",
    "data",
    "response_bytes_utf8",
    "response_str",
    "other",
    "",
    r"\u0069p",
    r"d\u0061ta",
    r"response\u005fstr",
    r"response_bytes_utf\u0038",
    r"\ud800",
    r"ip\u0000",
    "IP",
    "\t",
];

type Field = (String, String);

fn value() -> impl Strategy<Value = String> {
    let pool = select(VALUES).prop_map(String::from);
    let base64 = "\"[AQw+/_=-]{0,7}\"";
    let surrogate = select(&[r"\ud7ff", r"\ud800", r"\uDBFF", r"\udc00", r"\udfff", r"\ue000", "a", "\u{1f980}"][..]);
    let surrogates = prop::collection::vec(surrogate, 0..4).prop_map(|units| format!("\"{}\"", units.concat()));
    let text = ".{0,8}".prop_map(|text| format!("{text:?}"));
    prop_oneof![16 => pool, 3 => base64, 3 => surrogates, 2 => text, 1 => (1..1_200_usize).prop_map(long)]
}

/// Returns a string with a length near the limits of a service name, or deeply nested arrays.
fn long(n: usize) -> String {
    if n > 300 { format!("{}1{}", "[".repeat(n / 10), "]".repeat(n / 10)) } else { format!("\"{}\"", "s".repeat(n)) }
}

fn object(fields: &[Field]) -> String {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn key() -> impl Strategy<Value = String> {
    select(KEYS).prop_map(String::from)
}

/// Generates JSON of any shape. It often has known keys and plausible values.
pub(super) fn json() -> impl Strategy<Value = String> {
    value().prop_recursive(4, 48, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(", "))),
            prop::collection::vec((key(), inner), 0..8).prop_map(|fields| object(&fields)),
        ]
    })
}

#[derive(Debug, Clone)]
enum Fault {
    Remove(Index),
    Repeat(Index, Index),
    Rename(Index, String),
    Replace(Index, String),
    Insert(Index, Field),
    Swap(Index, Index),
}

fn fault() -> impl Strategy<Value = Fault> {
    let at = any::<Index>;
    prop_oneof![
        1 => at().prop_map(Fault::Remove),
        2 => (at(), at()).prop_map(|(from, to)| Fault::Repeat(from, to)),
        2 => (at(), key()).prop_map(|(at, key)| Fault::Rename(at, key)),
        4 => (at(), value()).prop_map(|(at, value)| Fault::Replace(at, value)),
        1 => (at(), json()).prop_map(|(at, value)| Fault::Replace(at, value)),
        2 => (at(), (key(), json())).prop_map(|(at, field)| Fault::Insert(at, field)),
        2 => (at(), at()).prop_map(|(a, b)| Fault::Swap(a, b)),
    ]
}

fn apply(fields: &mut Vec<Field>, fault: Fault) {
    let len = fields.len();
    match fault {
        Fault::Insert(at, field) => fields.insert(at.index(len + 1), field),
        _ if len == 0 => {}
        Fault::Remove(at) => drop(fields.remove(at.index(len))),
        Fault::Repeat(from, to) => fields.insert(to.index(len + 1), fields[from.index(len)].clone()),
        Fault::Rename(at, key) => fields[at.index(len)].0 = key,
        Fault::Replace(at, value) => fields[at.index(len)].1 = value,
        Fault::Swap(a, b) => fields.swap(a.index(len), b.index(len)),
    }
}

/// Generates a scan of either format with a few faults in it and in its data. Some faults leave the scan valid.
pub(super) fn faulty_scan() -> impl Strategy<Value = String> {
    let faults = || prop::collection::vec(fault(), 0..3);
    let data = prop_oneof![
        Just(vec![("response_bytes_utf8", "\"c2VydmljZSByZXNwb25zZTogMTI=\"")]),
        Just(vec![("response_str", "\"service response: 28\"")]),
        Just(vec![("response_str", r#""h\u00e9""#), ("response_bytes_utf8", "\"//8=\"")]),
    ];
    (1..=2_u8, data, faults(), faults(), select(&["", "", " ", "\n\t"][..])).prop_map(
        |(version, data, outer, inner, space)| {
            let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            let mut data: Vec<Field> = data.into_iter().map(owned).collect();
            inner.into_iter().for_each(|fault| apply(&mut data, fault));
            let (version, data) = (version.to_string(), object(&data));
            let mut scan: Vec<Field> = [
                ("ip", "\"1.1.1.223\""),
                ("port", "21705"),
                ("service", "\"SSH\""),
                ("timestamp", "1740298125"),
                ("data_version", &version),
                ("data", &data),
            ]
            .map(owned)
            .into();
            outer.into_iter().for_each(|fault| apply(&mut scan, fault));
            format!("{space}{}{space}", object(&scan))
        },
    )
}

/// Sometimes replaces, removes or inserts a few bytes of a payload.
pub(super) fn damaged(payload: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), select(&b"\"\\{}[],:=u0\xed\xa0\x80\n"[..])];
    let edits = prop::collection::vec((any::<Index>(), 0..3_u8, byte), 1..4);
    (payload, prop_oneof![3 => Just(Vec::new()), 1 => edits]).prop_map(|(payload, edits)| {
        let mut bytes = payload.into_bytes();
        for (at, what, byte) in edits {
            let len = bytes.len();
            match what {
                0 if len > 0 => bytes[at.index(len)] = byte,
                1 if len > 0 => drop(bytes.remove(at.index(len))),
                _ => bytes.insert(at.index(len + 1), byte),
            }
        }
        bytes
    })
}
