//! The decoded payloads: ordinary scans, and payloads that an attacker would make to cost more than their size.

/// An ordinary scan, and the recorded cost of decoding it.
pub(crate) struct Scan {
    pub(crate) name: &'static str,
    pub(crate) payload: &'static str,
    pub(crate) instructions: u64,
    pub(crate) allocations: u64,
}

pub(crate) const SCANS: [Scan; 4] = [
    Scan {
        name: "version 1",
        payload: r#"{"ip":"1.1.1.223","port":21705,"service":"SSH","timestamp":1740298125,"data_version":1,"data":{"response_bytes_utf8":"c2VydmljZSByZXNwb25zZTogMTI="}}"#,
        instructions: 7519,
        allocations: 2,
    },
    Scan {
        name: "version 1, 200 bytes, not UTF-8",
        payload: r#"{"ip":"198.51.100.7","port":22,"service":"SSH","timestamp":1740298125,"data_version":1,"data":{"response_bytes_utf8":"U1NILTIuMC3//lNTSC0yLjAt//5TU0gtMi4wLf/+U1NILTIuMC3//lNTSC0yLjAt//4="}}"#,
        instructions: 9436,
        allocations: 4,
    },
    Scan {
        name: "version 2",
        payload: r#"{"ip":"1.1.1.14","port":59331,"service":"SSH","timestamp":1740298124,"data_version":2,"data":{"response_str":"service response: 28"}}"#,
        instructions: 6080,
        allocations: 2,
    },
    Scan {
        name: "version 2, 200 bytes, escapes, IPv6",
        payload: r#"{"ip":"2001:db8::1:7","port":443,"service":"HTTP","timestamp":1740298124,"data_version":2,"data":{"response_str":"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\n\r\n"}}"#,
        instructions: 10406,
        allocations: 2,
    },
];

/// A kind of payload that can be made of any size.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    before: String,
    repeated: &'static [u8],
    /// Closes `repeated`, the same number of times.
    closing: &'static [u8],
    after: &'static str,
}

impl Shape {
    /// Returns a payload of about `size` bytes, in one allocation, so that its memory is known.
    pub(crate) fn payload(&self, size: usize) -> Vec<u8> {
        let fixed = self.before.len() + self.after.len();
        let times = size.saturating_sub(fixed) / (self.repeated.len() + self.closing.len());
        let mut payload = Vec::with_capacity(size.max(fixed));
        payload.extend_from_slice(self.before.as_bytes());
        (0..times).for_each(|_| payload.extend_from_slice(self.repeated));
        (0..times).for_each(|_| payload.extend_from_slice(self.closing));
        payload.extend_from_slice(self.after.as_bytes());
        payload
    }
}

pub(crate) fn shapes() -> Vec<Shape> {
    let mut shapes = responses();
    shapes.extend(ignored_parts());
    shapes.extend(known_keys());
    shapes.extend(not_json());
    shapes
}

fn responses() -> Vec<Shape> {
    let text = r#""data":{"response_str":""#;
    let base64 = r#""data":{"response_bytes_utf8":""#;
    vec![
        repeats("a long text", in_scan(2, text), b"service ", r#""}}"#),
        repeats("a text of escapes", in_scan(2, text), br"\u0041", r#""}}"#),
        repeats("a text of surrogate pairs", in_scan(2, text), br"\ud83e\udd80", r#""}}"#),
        repeats("a text of lone surrogates", in_scan(2, text), br"\ud800", r#""}}"#),
        repeats("long base64", in_scan(1, base64), b"c2NhbnNjYW5z", r#""}}"#),
        repeats("base64 of bytes that are not UTF-8", in_scan(1, base64), b"////", r#""}}"#),
        repeats("base64 with line breaks", in_scan(1, base64), br"-_-_\r\n", r#""}}"#),
        repeats("base64 with an invalid end", in_scan(1, base64), b"c2Nh", r#"!"}}"#),
    ]
}

fn ignored_parts() -> Vec<Shape> {
    let data = r#","data":{"response_str":"hi"}}"#;
    vec![
        nested("arrays in arrays", in_scan(2, r#""a":"#), b"[[0],", b"0]", data),
        nested("objects in objects", in_scan(2, r#""a":"#), br#"{"a":1,"a":"#, b"}", "}"),
        repeats("an unknown key repeatedly", in_scan(2, ""), br#""a":0,"#, &data[1..]),
        repeats("an unknown key with escapes, repeatedly", in_scan(2, ""), br#""\u0061":0,"#, &data[1..]),
        repeats("the other version's key repeatedly", in_scan(2, r#""data":{"#), OTHER, r#""response_str":"hi"}}"#),
        repeats("a gigantic number", in_scan(2, r#""a":-1"#), b"9", data),
        repeats("a gigantic exponent", in_scan(2, r#""a":-1e"#), b"9", data),
        repeats("a long key", in_scan(2, "\""), b"keys", r#"":0,"data":{"response_str":"hi"}}"#),
        repeats("white space", in_scan(2, ""), b" \r\n\t", &data[1..]),
    ]
}

const OTHER: &[u8] = br#""response_bytes_utf8":0,"#;

fn known_keys() -> Vec<Shape> {
    vec![
        nested("arrays in arrays as the ip", r#"{"ip":"#.to_owned(), b"[", b"]", "}"),
        nested("objects in objects as the data", in_scan(2, r#""data":"#), br#"{"data":"#, b"}", "}"),
        repeats("a known key repeatedly", "{".to_owned(), br#""ip":"1.1.1.1","#, r#""port":1}"#),
        repeats("a long ip", r#"{"ip":""#.to_owned(), b"1.1.", r#""}"#),
        repeats("a long service of escapes", r#"{"ip":"::1","port":1,"service":""#.to_owned(), br"\n", r#""}"#),
        repeats("a gigantic port", r#"{"ip":"::1","port":1"#.to_owned(), b"0", "}"),
        repeats("a gigantic data", in_scan(2, r#""data":1"#), b"0", "}"),
        repeats("a gigantic fraction as data", in_scan(2, r#""data":1."#), b"9", "e9999999999}"),
        repeats("a long text as data", in_scan(2, r#""data":""#), br"\u0041", r#""}"#),
    ]
}

fn not_json() -> Vec<Shape> {
    vec![
        repeats("only bytes that are not UTF-8", String::new(), b"\xff", ""),
        repeats(
            "a text with bytes that are not UTF-8",
            in_scan(2, r#""data":{"response_str":""#),
            b"abc\xed\xa0\x80",
            "",
        ),
        repeats("arrays that are never closed", String::new(), b"[", ""),
        repeats("objects that are never closed", String::new(), br#"{"a":"#, ""),
        repeats("an array", "[".to_owned(), b"0,", "0]"),
        repeats("a string that is never closed", in_scan(2, "\""), b"abcd", ""),
        repeats("one scan after another", String::new(), br#"{"ip":"1.1.1.1"}"#, ""),
    ]
}

/// Returns the start of a scan that is valid so far.
fn in_scan(version: u8, more: &str) -> String {
    let fields = r#"{"ip":"1.1.1.1","port":443,"service":"HTTP","timestamp":1740298125,"data_version":"#;
    format!("{fields}{version},{more}")
}

fn repeats(name: &'static str, before: String, repeated: &'static [u8], after: &'static str) -> Shape {
    Shape { name, before, repeated, closing: b"", after }
}

fn nested(
    name: &'static str,
    before: String,
    open: &'static [u8],
    closing: &'static [u8],
    after: &'static str,
) -> Shape {
    Shape { name, before, repeated: open, closing, after }
}
