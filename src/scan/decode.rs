//! Decodes the payload of a message into a [`Scan`], or rejects it with a reason. Knows no store and no clock.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::key::{address, check_service};
use super::message::{Data, Message, Repeatable};
use super::rejection::quote;
use super::response::Response;
use super::text::Text;
use super::{DataVersion, Key, Reason, Rejection, Scan, to_unix_seconds};

/// Decodes one payload.
///
/// Rejects a scan whose timestamp is later than `publish_time + max_future_skew`, because no later scan could replace
/// its record. `publish_time` is assigned by the server, so every delivery of a message gives the same result.
pub fn decode(payload: &[u8], publish_time: SystemTime, max_future_skew: Duration) -> Result<Scan, Rejection> {
    let message = Message::read(payload)?;
    let ip = ip(required(message.ip, "ip")?)?;
    let port = port(required(message.port, "port")?)?;
    let service = service(required(message.service, "service")?)?;
    let timestamp = timestamp(required(message.timestamp, "timestamp")?)?;
    check_not_in_future(timestamp, publish_time, max_future_skew)?;
    let data_version = data_version(required(message.data_version, "data_version")?)?;
    let data = message.data.flatten().ok_or_else(|| missing("data"))?;
    let response = response(&data, data_version)?;
    let key = Key::new(ip, port, &service.text);
    Ok(Scan { key, timestamp, data_version, response: response.text, response_bytes: response.bytes })
}

fn required<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Rejection> {
    value.filter(|raw| *raw != "null").ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Rejection {
    Rejection::new(Reason::MissingField, format!("`{name}` is missing or null"))
}

fn unexpected(reason: Reason, name: &str, raw: &str, expected: &str) -> Rejection {
    Rejection::new(reason, format!("`{name}` is {}; expected {expected}", quote(raw)))
}

fn ip(raw: &str) -> Result<IpAddr, Rejection> {
    let ip = Text::parse(raw).and_then(|text| address(&text.text));
    ip.ok_or_else(|| {
        let expected = "an IPv4 or IPv6 address as a string, without leading zeros in IPv4 and without a zone";
        unexpected(Reason::InvalidIp, "ip", raw, expected)
    })
}

fn port(raw: &str) -> Result<u16, Rejection> {
    raw.parse().map_err(|_| unexpected(Reason::InvalidPort, "port", raw, "a whole number from 0 to 65535"))
}

fn service(raw: &str) -> Result<Text<'_>, Rejection> {
    let invalid = |expected: &str| unexpected(Reason::InvalidService, "service", raw, expected);
    let name = Text::parse(raw).ok_or_else(|| invalid("a string"))?;
    check_service(&name.text).map_err(invalid)?;
    if !name.is_unicode() {
        return Err(invalid("no control character and no lone surrogate"));
    }
    Ok(name)
}

fn timestamp(raw: &str) -> Result<u64, Rejection> {
    let seconds = raw.parse().ok().filter(|seconds| i64::try_from(*seconds).is_ok());
    seconds.ok_or_else(|| {
        let expected = "whole Unix seconds from 0 to 9223372036854775807";
        unexpected(Reason::InvalidTimestamp, "timestamp", raw, expected)
    })
}

fn check_not_in_future(timestamp: u64, publish_time: SystemTime, max_future_skew: Duration) -> Result<(), Rejection> {
    let published = to_unix_seconds(publish_time);
    let latest = published.saturating_add(max_future_skew.as_secs());
    if timestamp <= latest {
        return Ok(());
    }
    let detail = format!(
        "`timestamp` is {timestamp}, {} s too late; expected at most {latest} (publish time {published} plus {} s)",
        timestamp - latest,
        max_future_skew.as_secs()
    );
    Err(Rejection::new(Reason::TimestampInFuture, detail))
}

fn data_version(raw: &str) -> Result<DataVersion, Rejection> {
    match raw {
        "1" => Ok(DataVersion::V1),
        "2" => Ok(DataVersion::V2),
        _ => Err(unexpected(Reason::UnsupportedVersion, "data_version", raw, "the number 1 or 2")),
    }
}

fn response(data: &Data<'_>, version: DataVersion) -> Result<Response, Rejection> {
    match version {
        DataVersion::V1 => {
            let name = "data.response_bytes_utf8";
            let encoded = response_text(&data.response_bytes_utf8, name)?;
            Response::from_base64(&encoded.text).map_err(|error| {
                let detail = format!("`{name}` is {}, which is not base64: {error}", quote(&encoded.text));
                Rejection::new(Reason::InvalidBase64, detail)
            })
        }
        DataVersion::V2 => Ok(Response::from_text(response_text(&data.response_str, "data.response_str")?)),
    }
}

fn response_text<'a>(value: &Repeatable<'a>, name: &str) -> Result<Text<'a>, Rejection> {
    if value.repeated {
        return Err(Rejection::new(Reason::MalformedJson, format!("duplicate field `{name}`")));
    }
    let raw = required(value.first, name)?;
    Text::parse(raw).ok_or_else(|| unexpected(Reason::MalformedJson, name, raw, "a string"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_740_298_125;
    const SKEW: Duration = Duration::from_secs(86_400);

    fn decoded(payload: impl AsRef<[u8]>) -> Result<Scan, Rejection> {
        decode(payload.as_ref(), SystemTime::UNIX_EPOCH + Duration::from_secs(NOW), SKEW)
    }

    fn reason(payload: impl AsRef<[u8]>) -> Option<Reason> {
        decoded(payload).err().map(|rejection| {
            let detail = rejection.detail;
            assert!(detail.len() < 1_024 && !detail.contains('\n') && !detail.is_empty(), "{detail}");
            rejection.reason
        })
    }

    const FIELDS: [(&str, &str); 6] = [
        ("ip", r#""1.1.1.1""#),
        ("port", "443"),
        ("service", r#""HTTP""#),
        ("timestamp", "1740298125"),
        ("data_version", "2"),
        ("data", r#"{"response_str":"hi"}"#),
    ];

    /// Returns a valid scan with one value replaced.
    fn with(name: &str, value: &str) -> String {
        let field = |(key, usual): (&str, &str)| format!("\"{key}\":{}", if key == name { value } else { usual });
        format!("{{{}}}", FIELDS.map(field).join(","))
    }

    /// Returns a valid scan with more keys at its end.
    fn and(more: &str) -> String {
        with("", "").replace("\"hi\"}}", &format!("\"hi\"}},{more}}}"))
    }

    fn v1(data: &str) -> String {
        with("data_version", "1").replace(r#"{"response_str":"hi"}"#, data)
    }

    #[test]
    fn a_valid_scan_is_decoded() {
        let scan = decoded(with("", "")).unwrap();
        let key = Key::new("1.1.1.1".parse().unwrap(), 443, "HTTP");
        let response = "hi".to_owned();
        let data_version = DataVersion::V2;
        assert_eq!(scan, Scan { key, timestamp: NOW, data_version, response, response_bytes: None });
    }

    #[test]
    fn port_zero_timestamp_zero_and_an_empty_response_are_valid() {
        assert_eq!(decoded(with("port", "0")).unwrap().key.as_str(), "1.1.1.1#0#HTTP");
        assert_eq!(decoded(with("timestamp", "0")).unwrap().timestamp, 0);
        assert_eq!(decoded(with("data", r#"{"response_str":""}"#)).unwrap().response, "");
        assert_eq!(decoded(v1(r#"{"response_bytes_utf8":""}"#)).unwrap().response, "");
    }

    #[test]
    fn a_required_key_that_is_missing_or_null_is_rejected() {
        for (name, usual) in FIELDS {
            assert_eq!(reason(with(name, "null")), Some(Reason::MissingField), "{name}");
            let without = with("", "").replace(&format!("\"{name}\":{usual}"), "\"else\":1");
            assert_eq!(reason(without), Some(Reason::MissingField), "{name}");
        }
        for data in ["{}", r#"{"response_str":null}"#, r#"{"response_bytes_utf8":"aGk="}"#, r#"{"Response_str":"hi"}"#]
        {
            assert_eq!(reason(with("data", data)), Some(Reason::MissingField), "{data}");
        }
    }

    #[test]
    fn an_invalid_value_is_rejected_with_the_reason_of_its_key() {
        let reasons = [
            ("ip", Reason::InvalidIp),
            ("port", Reason::InvalidPort),
            ("service", Reason::InvalidService),
            ("timestamp", Reason::InvalidTimestamp),
            ("data_version", Reason::UnsupportedVersion),
            ("data", Reason::MalformedJson),
        ];
        for (name, expected) in reasons {
            for invalid in
                ["true", "[]", "[{}]", "80.0", "1e3", "-1", "-0", "1e999999999", r#""\ud800""#, r#""\u0000""#]
            {
                assert_eq!(reason(with(name, invalid)), Some(expected), "{name} {invalid}");
            }
        }
        for (name, invalid, expected) in [
            ("ip", "\"\"", Reason::InvalidIp),
            ("ip", "16843009", Reason::InvalidIp),
            ("ip", "\"example.com\"", Reason::InvalidIp),
            ("ip", "\"010.1.1.1\"", Reason::InvalidIp),
            ("ip", "\"1.1.1\"", Reason::InvalidIp),
            ("ip", "\"1.1.1.1 \"", Reason::InvalidIp),
            ("ip", "\"1.1.1.1/32\"", Reason::InvalidIp),
            ("ip", "\"1.1.1.1:80\"", Reason::InvalidIp),
            ("ip", "\"[::1]\"", Reason::InvalidIp),
            ("ip", "\"fe80::1%eth0\"", Reason::InvalidIp),
            ("ip", "\"::ffff:01.1.1.1\"", Reason::InvalidIp),
            ("ip", "\"1::2::3\"", Reason::InvalidIp),
            ("ip", "{}", Reason::InvalidIp),
            ("port", "65536", Reason::InvalidPort),
            ("port", "99999999999999999999999999", Reason::InvalidPort),
            ("port", "\"80\"", Reason::InvalidPort),
            ("service", "\"\"", Reason::InvalidService),
            ("service", "80", Reason::InvalidService),
            ("service", "\"a\\tb\"", Reason::InvalidService),
            ("service", "\"\u{7f}\"", Reason::InvalidService),
            ("service", "\"\u{85}\"", Reason::InvalidService),
            ("timestamp", "9223372036854775808", Reason::InvalidTimestamp),
            ("timestamp", "\"1740298125\"", Reason::InvalidTimestamp),
            ("data_version", "0", Reason::UnsupportedVersion),
            ("data_version", "3", Reason::UnsupportedVersion),
            ("data_version", "1.0", Reason::UnsupportedVersion),
            ("data_version", "\"2\"", Reason::UnsupportedVersion),
            ("data", "\"hi\"", Reason::MalformedJson),
            ("data", r#"{"response_str":1}"#, Reason::MalformedJson),
            ("data", r#"{"response_str":["hi"]}"#, Reason::MalformedJson),
        ] {
            assert_eq!(reason(with(name, invalid)), Some(expected), "{name} {invalid}");
        }
    }

    #[test]
    fn a_service_is_kept_byte_for_byte_up_to_255_bytes() {
        for (sent, kept) in
            [("hTTp", "hTTp"), ("A#B", "A#B"), (" a ", " a "), (r"\u00e9\/", "\u{e9}/"), (r"\ufffd", "\u{fffd}")]
        {
            assert_eq!(decoded(with("service", &format!("\"{sent}\""))).unwrap().key.service(), kept);
        }
        let service = |bytes: usize| format!("\"{}\"", "\u{e9}".repeat(bytes / 2) + &"s".repeat(bytes % 2));
        assert_eq!(decoded(with("service", &service(255))).unwrap().key.service().len(), 255);
        assert_eq!(reason(with("service", &service(256))), Some(Reason::InvalidService));
    }

    #[test]
    fn a_timestamp_may_be_at_most_the_skew_after_the_publish_time() {
        let latest = NOW + SKEW.as_secs();
        assert_eq!(decoded(with("timestamp", &latest.to_string())).unwrap().timestamp, latest);
        for future in [latest + 1, NOW * 1_000, i64::MAX.unsigned_abs()] {
            assert_eq!(reason(with("timestamp", &future.to_string())), Some(Reason::TimestampInFuture));
        }
        let far = with("timestamp", &i64::MAX.to_string());
        assert!(decode(far.as_bytes(), SystemTime::UNIX_EPOCH, Duration::MAX).is_ok());
        let last_moment = SystemTime::UNIX_EPOCH + Duration::new(NOW, 999_999_999);
        let next_second = with("timestamp", &(NOW + 1).to_string());
        assert!(decode(next_second.as_bytes(), last_moment, Duration::ZERO).is_err());
    }

    #[test]
    fn a_payload_that_is_not_one_json_object_is_malformed() {
        let scan = with("", "");
        let mut malformed: Vec<Vec<u8>> =
            ["", " ", "hello", "null", "true", "12", "1e300", "1e999", "[1,2,3]", "{", "{\"ip\"}"]
                .map(Vec::from)
                .into();
        malformed.push(format!("\"{}\"", "long ".repeat(1_000_000)).into());
        malformed.push(format!("{scan}x").into());
        malformed.push(format!("{scan}{scan}").into());
        malformed.push(format!("\u{feff}{scan}").into());
        malformed.push(scan.replace("}}", "},}").into());
        malformed.extend((0..scan.len()).map(|end| scan.as_bytes()[..end].to_vec()));
        for raw in [
            "\"a\":\"\u{1}\"",
            "\"\n\":1",
            "\"a\":{\"\t\":1}",
            "\"a\":\"\\x\"",
            "\"a\":\"\\ud8\"",
            "\"a\":01",
            "\"a\":NaN",
        ] {
            malformed.push(and(raw).into());
        }
        for bytes in [&b"\xff"[..], b"\xed\xa0\x80", b"\xc0\x80"] {
            let mut payload = and("\"a\":\"!\"").into_bytes();
            let at = payload.iter().position(|byte| *byte == b'!').unwrap();
            payload.splice(at..=at, bytes.iter().copied());
            malformed.push(payload);
        }
        for payload in malformed {
            assert_eq!(reason(&payload), Some(Reason::MalformedJson), "{}", String::from_utf8_lossy(&payload));
        }
        assert!(decoded(format!(" \r\n\t{scan} \r\n\t")).is_ok());
    }

    #[test]
    fn a_duplicate_of_a_known_key_is_malformed_in_every_spelling() {
        for (name, usual) in FIELDS {
            let (first, others) = name.split_at(1);
            let spelled = format!("\\u{:04x}{others}", first.as_bytes()[0]);
            for twice in [name, &spelled] {
                assert_eq!(reason(and(&format!("\"{twice}\":{usual}"))), Some(Reason::MalformedJson), "{twice}");
            }
            assert!(decoded(with("", "").replace(&format!("\"{name}\":"), &format!("\"{spelled}\":"))).is_ok());
        }
        let twice = r#"{"response_str":"hi","response_\u0073tr":"hi"}"#;
        assert_eq!(reason(with("data", twice)), Some(Reason::MalformedJson));
    }

    #[test]
    fn unknown_keys_are_skipped() {
        for more in [
            r#""a":1,"a":[{"ip":1,"ip":2}],"a":null"#,
            r#""\ud800":1,"\udc00\ud800":"\ud800""#,
            r#""":0,"IP":5,"ip ":6,"i\u0070\u0000":7"#,
            r#""n":-0.5e-999999999"#,
        ] {
            assert_eq!(decoded(and(more)), decoded(with("", "")), "{more}");
        }
    }

    #[test]
    fn the_response_key_of_the_other_version_is_unknown_before_and_after_the_version() {
        let data = r#"{"response_bytes_utf8":1,"more":2,"response_str":"hi","response_bytes_utf8":[[]]}"#;
        let scan = with("data", data);
        assert_eq!(decoded(&scan), decoded(with("", "")));
        let data_first = format!("{{\"data\":{data},{}", &with("data", "0").replace(",\"data\":0", "")[1..]);
        assert_eq!(decoded(data_first), decoded(&scan));
        assert_eq!(reason(v1(data)), Some(Reason::MalformedJson));
        let data = r#"{"response_str":{},"response_str":null,"response_bytes_utf8":"aGk="}"#;
        assert_eq!(decoded(v1(data)).unwrap().response, "hi");
    }

    #[test]
    fn base64_is_decoded_after_the_escapes_of_its_json_string() {
        for encoded in [r"aGk\u003d", r"a\u0047k=", r"aG\r\nk=\n"] {
            let scan = decoded(v1(&format!("{{\"response_bytes_utf8\":\"{encoded}\"}}"))).unwrap();
            assert_eq!((scan.response.as_str(), scan.response_bytes), ("hi", None));
        }
        let slashes = decoded(v1(r#"{"response_bytes_utf8":"\/\/\/\/"}"#)).unwrap();
        assert_eq!(slashes.response_bytes.unwrap(), [0xff; 3]);
        for invalid in ["!!!!", r"\ud800", r"aGk=\ud800", "aGk ", "a"] {
            let payload = v1(&format!("{{\"response_bytes_utf8\":\"{invalid}\"}}"));
            assert_eq!(reason(payload), Some(Reason::InvalidBase64), "{invalid}");
        }
    }

    #[test]
    fn a_text_response_with_a_lone_surrogate_is_kept_as_bytes() {
        let scan = decoded(with("data", r#"{"response_str":"a\udcffb"}"#)).unwrap();
        assert_eq!((scan.response.as_str(), scan.response_bytes.unwrap()), ("a\u{fffd}b", b"a\xed\xb3\xbfb".to_vec()));
    }

    #[test]
    fn a_million_nested_levels_are_skipped_under_an_unknown_key_and_rejected_under_a_known_one() {
        const LEVELS: usize = 1_000_000;
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(LEVELS), close.repeat(LEVELS));
            assert!(decoded(and(&format!("\"a\":{deep}"))).is_ok());
            assert!(decoded(with("data", &format!("{{\"response_str\":\"hi\",\"a\":{deep}}}"))).is_ok());
            assert!(
                decoded(with("data", &format!("{{\"response_str\":\"hi\",\"response_bytes_utf8\":{deep}}}"))).is_ok()
            );
            for (name, expected) in [("ip", Reason::InvalidIp), ("data_version", Reason::UnsupportedVersion)] {
                assert_eq!(reason(with(name, &deep)), Some(expected));
            }
            let response = format!("{{\"response_str\":{deep}}}");
            assert_eq!(reason(with("data", &response)), Some(Reason::MalformedJson));
            let expected = if open == "[" { Reason::MalformedJson } else { Reason::MissingField };
            assert_eq!(reason(with("data", &deep)), Some(expected));
        }
        assert_eq!(reason("[".repeat(LEVELS)), Some(Reason::MalformedJson));
        assert_eq!(reason("{\"a\":".repeat(LEVELS)), Some(Reason::MalformedJson));
    }

    #[test]
    fn a_million_repeated_keys_digits_or_escapes_are_decoded_or_rejected() {
        const MANY: usize = 1_000_000;
        let repeated = vec![r#""a":{"a":0}"#; MANY].join(",");
        assert!(decoded(and(&repeated)).is_ok());
        let other_version = vec![r#""response_bytes_utf8":0"#; MANY].join(",");
        assert!(decoded(with("data", &format!("{{{other_version},\"response_str\":\"hi\"}}"))).is_ok());
        let surrogates =
            decoded(with("data", &format!("{{\"response_str\":\"{}\"}}", r"\ud800".repeat(MANY)))).unwrap();
        assert_eq!((surrogates.response.len(), surrogates.response_bytes.unwrap().len()), (3 * MANY, 3 * MANY));
        let digits = "9".repeat(MANY);
        assert!(decoded(and(&format!("\"a\":-{digits}.{digits}e{digits}"))).is_ok());
        assert_eq!(reason(with("timestamp", &digits)), Some(Reason::InvalidTimestamp));
        assert_eq!(reason(with("data", &digits)), Some(Reason::MalformedJson));
    }

    #[test]
    fn the_detail_of_a_value_that_is_not_an_object_names_what_was_expected() {
        for (payload, expected) in [
            ("[]".to_owned(), "expected a JSON object at"),
            ("\"hi\"".to_owned(), "expected a JSON object at"),
            (with("data", "[]"), "expected a JSON object as `data` at"),
        ] {
            let detail = decoded(&payload).unwrap_err().detail;
            assert!(detail.contains(expected), "{detail}");
        }
    }
}
