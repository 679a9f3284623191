//! A second, slow implementation of the decoding rules. Its JSON tree keeps duplicate keys, and it reports all faults of
//! a payload instead of the first. It shares only the standard library's parser of addresses with the decoder.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::Chars;

use mini_scan::scan::Reason;

/// The expected record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: String,
    pub(super) timestamp: u64,
    pub(super) version: u8,
    pub(super) response: String,
    pub(super) bytes: Option<Vec<u8>>,
}

/// Returns the record, or all acceptable reasons of a rejection.
pub(super) fn decode(payload: &[u8], latest: u64) -> Result<Record, BTreeSet<Reason>> {
    let malformed = || BTreeSet::from([Reason::MalformedJson]);
    let text = str::from_utf8(payload).map_err(|_| malformed())?;
    let Some(Json::Object(fields)) = document(text) else { return Err(malformed()) };
    let mut faults = Faults::default();
    let ip = faults.read(&fields, "ip", Reason::InvalidIp, address);
    let port = faults.read(&fields, "port", Reason::InvalidPort, |value| whole(value, 65_535));
    let service = faults.read(&fields, "service", Reason::InvalidService, service);
    let timestamp = faults.read(&fields, "timestamp", Reason::InvalidTimestamp, |value| whole(value, u64::MAX / 2));
    if timestamp.is_some_and(|timestamp| timestamp > latest) {
        faults.0.insert(Reason::TimestampInFuture);
    }
    let version = faults.read(&fields, "data_version", Reason::UnsupportedVersion, |value| match value {
        Json::Number(number) if number == "1" => Some(1_u8),
        Json::Number(number) if number == "2" => Some(2),
        _ => None,
    });
    let data = faults.read(&fields, "data", Reason::MalformedJson, |value| match value {
        Json::Object(data) => Some(data.as_slice()),
        _ => None,
    });
    let response = version.zip(data).and_then(|(version, data)| faults.response(data, version));
    match (faults.0.is_empty(), ip, port, service, timestamp, version, response) {
        (true, Some(ip), Some(port), Some(service), Some(timestamp), Some(version), Some((response, bytes))) => {
            let key = format!("{ip}#{port}#{service}");
            Ok(Record { key, timestamp, version, response, bytes })
        }
        _ => Err(faults.0),
    }
}

#[derive(Default)]
struct Faults(BTreeSet<Reason>);

impl Faults {
    /// Returns the value of a field, parsed by `parse`. Adds the reason for each fault of the field.
    fn read<'a, T>(
        &mut self,
        fields: &'a [(Units, Json)],
        name: &str,
        invalid: Reason,
        parse: impl FnOnce(&'a Json) -> Option<T>,
    ) -> Option<T> {
        let name: Units = name.encode_utf16().collect();
        let values: Vec<&Json> = fields.iter().filter(|(key, _)| *key == name).map(|(_, value)| value).collect();
        if values.len() > 1 {
            self.0.insert(Reason::MalformedJson);
        }
        let value = values.first().filter(|value| !matches!(value, Json::Null));
        let parsed = value.map(|value| parse(value));
        if !matches!(parsed, Some(Some(_))) {
            self.0.insert(if value.is_some() { invalid } else { Reason::MissingField });
        }
        parsed.flatten()
    }

    fn response(&mut self, data: &[(Units, Json)], version: u8) -> Option<(String, Option<Vec<u8>>)> {
        let name = if version == 1 { "response_bytes_utf8" } else { "response_str" };
        let units = self.read(data, name, Reason::MalformedJson, |value| match value {
            Json::String(units) => Some(units),
            _ => None,
        })?;
        if version == 2 {
            let lone = text(units).is_none();
            return Some((String::from_utf16_lossy(units), lone.then(|| wtf8(units))));
        }
        let Some(bytes) = text(units).and_then(|text| base64(&text)) else {
            self.0.insert(Reason::InvalidBase64);
            return None;
        };
        let binary = str::from_utf8(&bytes).is_err();
        Some((String::from_utf8_lossy(&bytes).into_owned(), binary.then_some(bytes)))
    }
}

fn address(value: &Json) -> Option<IpAddr> {
    let Json::String(units) = value else { return None };
    Some(text(units)?.parse::<IpAddr>().ok()?.to_canonical())
}

fn service(value: &Json) -> Option<String> {
    let Json::String(units) = value else { return None };
    text(units).filter(|text| (1..=255).contains(&text.len()) && !text.chars().any(char::is_control))
}

/// Parses a whole number up to `max`.
fn whole(value: &Json, max: u64) -> Option<u64> {
    let Json::Number(number) = value else { return None };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse().ok().filter(|number| *number <= max)
}

fn text(units: &[u16]) -> Option<String> {
    String::from_utf16(units).ok()
}

fn wtf8(units: &[u16]) -> Vec<u8> {
    let points = char::decode_utf16(units.iter().copied());
    let bytes = points.flat_map(|point| match point {
        Ok(c) => c.to_string().into_bytes(),
        Err(lone) => {
            let unit = u32::from(lone.unpaired_surrogate());
            [0xe0 | unit >> 12, 0x80 | unit >> 6 & 0x3f, 0x80 | unit & 0x3f].map(|byte| byte as u8).to_vec()
        }
    });
    bytes.collect()
}

/// Decodes base64 bit by bit.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encoded = text.replace(['\r', '\n'], "").replace('-', "+").replace('_', "/");
    let symbols = encoded.trim_end_matches('=');
    let padding = encoded.len() - symbols.len();
    if symbols.len() % 4 == 1 || (padding > 0 && (padding > 2 || !encoded.len().is_multiple_of(4))) {
        return None;
    }
    let values: Option<Vec<usize>> = symbols.chars().map(|symbol| ALPHABET.find(symbol)).collect();
    let bits: Vec<u8> =
        values?.iter().flat_map(|value| (0..6).rev().map(move |bit| (value >> bit & 1) as u8)).collect();
    Some(bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect())
}

/// A JSON string in UTF-16, which can contain a lone surrogate.
type Units = Vec<u16>;

enum Json {
    Null,
    Bool,
    Number(String),
    String(Units),
    Array,
    Object(Vec<(Units, Json)>),
}

/// Parses the only value of a text, by the grammar of RFC 8259.
fn document(text: &str) -> Option<Json> {
    let mut rest = text.chars();
    let value = value(&mut rest)?;
    skip_space(&mut rest);
    rest.as_str().is_empty().then_some(value)
}

fn skip_space(rest: &mut Chars<'_>) {
    *rest = rest.as_str().trim_start_matches([' ', '\t', '\n', '\r']).chars();
}

/// Skips `token` if the rest begins with it, and returns whether it did.
fn consume(rest: &mut Chars<'_>, token: &str) -> bool {
    let after = rest.as_str().strip_prefix(token).map(str::chars);
    let found = after.is_some();
    *rest = after.unwrap_or_else(|| rest.clone());
    found
}

fn value(rest: &mut Chars<'_>) -> Option<Json> {
    skip_space(rest);
    match rest.clone().next()? {
        '"' => string(rest).map(Json::String),
        '[' => list(rest, '[', ']', value).map(|_| Json::Array),
        '{' => list(rest, '{', '}', entry).map(Json::Object),
        '-' | '0'..='9' => number(rest).map(Json::Number),
        _ if consume(rest, "null") => Some(Json::Null),
        _ => (consume(rest, "true") || consume(rest, "false")).then_some(Json::Bool),
    }
}

fn list<T>(rest: &mut Chars<'_>, open: char, close: char, item: fn(&mut Chars<'_>) -> Option<T>) -> Option<Vec<T>> {
    (rest.next()? == open).then_some(())?;
    let mut items = Vec::new();
    skip_space(rest);
    if rest.clone().next()? == close {
        rest.next();
        return Some(items);
    }
    loop {
        items.push(item(rest)?);
        skip_space(rest);
        match rest.next()? {
            ',' => {}
            end => return (end == close).then_some(items),
        }
    }
}

fn entry(rest: &mut Chars<'_>) -> Option<(Units, Json)> {
    skip_space(rest);
    let key = string(rest)?;
    skip_space(rest);
    consume(rest, ":").then_some(())?;
    Some((key, value(rest)?))
}

fn digits(rest: &mut Chars<'_>) -> Option<usize> {
    let after = rest.as_str().trim_start_matches(|c: char| c.is_ascii_digit());
    let count = rest.as_str().len() - after.len();
    *rest = after.chars();
    (count > 0).then_some(count)
}

fn number(rest: &mut Chars<'_>) -> Option<String> {
    let start = rest.as_str();
    consume(rest, "-");
    if !consume(rest, "0") {
        digits(rest)?;
    }
    if consume(rest, ".") {
        digits(rest)?;
    }
    if consume(rest, "e") || consume(rest, "E") {
        let _ = consume(rest, "+") || consume(rest, "-");
        digits(rest)?;
    }
    Some(start[..start.len() - rest.as_str().len()].to_owned())
}

fn string(rest: &mut Chars<'_>) -> Option<Units> {
    consume(rest, "\"").then_some(())?;
    let mut units = Units::new();
    loop {
        let unit = match rest.next()? {
            '"' => return Some(units),
            '\0'..='\x1f' => return None,
            '\\' => escape(rest)?,
            c => {
                units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
                continue;
            }
        };
        units.push(unit);
    }
}

fn escape(rest: &mut Chars<'_>) -> Option<u16> {
    Some(match rest.next()? {
        'b' => 8,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        c @ ('"' | '\\' | '/') => c as u16,
        'u' => (0..4).try_fold(0, |unit, _| Some(unit << 4 | rest.next()?.to_digit(16)? as u16))?,
        _ => return None,
    })
}
