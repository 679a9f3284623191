use proptest::prelude::*;

use super::*;
use crate::dead_letter::attributes;

const ENVELOPE: Envelope<'_> =
    Envelope { message_id: "5fea7756-0ea4-451a-a703-a558b933e274", sent: 1_700_000_000_123, moved: None, trace: None };

fn decode_text(body: &str) -> Result<Event, Invalid> {
    decode(body.as_bytes(), &ENVELOPE, &Schemas::default())
}

fn reason(body: &str) -> (Reason, Option<String>) {
    let invalid = decode_text(body).expect_err(body);
    (invalid.reason, invalid.pointer)
}

#[test]
fn an_event_without_id_and_time_gets_those_of_sqs() {
    let event = decode_text(r#"{"client_id":"c","event_type":"t","data":{"n": 1.10, "big":12345678901234567890123}}"#);
    let event = event.unwrap();
    assert_eq!((event.client_id.as_str(), event.event_type.as_str()), ("c", "t"));
    assert_eq!(event.id, ENVELOPE.message_id);
    assert_eq!(event.time.to_string(), "2023-11-14T22:13:20.123Z");
    assert_eq!(event.data, r#"{"n": 1.10, "big":12345678901234567890123}"#);
    assert_eq!(event.others, None);
}

#[test]
fn the_id_and_the_time_of_the_producer_win_over_those_of_a_redrive_and_of_sqs() {
    let moved = Envelope { moved: Some(Moved { event_id: "moved", event_time: "2020-01-01T00:00:00Z" }), ..ENVELOPE };
    let of = |body: &str, envelope| {
        let event = decode(body.as_bytes(), envelope, &Schemas::default()).unwrap();
        (event.id, event.time.to_string())
    };
    let both =
        r#"{"client_id":"c","event_type":"t","data":{},"event_id":"e","event_time":"2026-01-01T02:00:00+01:00"}"#;
    assert_eq!(of(both, &moved), ("e".to_owned(), "2026-01-01T01:00:00.000Z".to_owned()));
    let none = r#"{"client_id":"c","event_type":"t","data":{}}"#;
    assert_eq!(of(none, &moved), ("moved".to_owned(), "2020-01-01T00:00:00.000Z".to_owned()));
    let time = r#"{"client_id":"c","event_type":"t","data":{},"event_time":"2026-01-01T00:00:00Z"}"#;
    assert_eq!(of(time, &ENVELOPE), (ENVELOPE.message_id.to_owned(), "2026-01-01T00:00:00.000Z".to_owned()));
}

#[test]
fn each_invalid_body_has_its_reason() {
    let long = format!(r#"{{"client_id":"{}","event_type":"t","data":{{}}}}"#, "c".repeat(257));
    let large = format!(r#"{{"client_id":"c","event_type":"t","data":{{"a":"{}"}}}}"#, "x".repeat(410_000));
    let deep = format!(r#"{{"client_id":"c","event_type":"t","data":{{"a":{}{}}}}}"#, "[".repeat(200), "]".repeat(200));
    for (body, expected, pointer) in [
        ("", Reason::MalformedJson, None),
        ("{", Reason::MalformedJson, None),
        (deep.as_str(), Reason::MalformedJson, None),
        ("[]", Reason::SchemaViolation, Some("")),
        (r#"{"event_type":"t","data":{}}"#, Reason::SchemaViolation, Some("")),
        (r#"{"client_id":7,"event_type":"t","data":{}}"#, Reason::SchemaViolation, Some("/client_id")),
        (r#"{"client_id":"c","event_type":"t","data":"text"}"#, Reason::SchemaViolation, Some("/data")),
        (r#"{"client_id":"c","event_type":"t","data":{},"event_id":"e"}"#, Reason::SchemaViolation, Some("")),
        (
            r#"{"client_id":"c","event_type":"t","data":{},"event_id":"e","event_time":"now"}"#,
            Reason::InvalidTime,
            Some("/event_time"),
        ),
        (r#"{"client_id":"c\n","event_type":"t","data":{}}"#, Reason::InvalidId, Some("/client_id")),
        (long.as_str(), Reason::InvalidId, Some("/client_id")),
        (r#"{"client_id":"c","event_type":"t","data":{},"data":{}}"#, Reason::DuplicateMember, Some("/data")),
        (large.as_str(), Reason::ItemTooLarge, None),
    ] {
        assert_eq!(reason(body), (expected, pointer.map(str::to_owned)), "{}", &body[..body.len().min(80)]);
    }
}

#[test]
fn other_members_are_kept_as_they_are_written() {
    let event = decode_text(r#"{"b\n":1.0,"client_id":"c","event_type":"t","data":{},"a":[1, 2]}"#).unwrap();
    assert_eq!(event.others.as_deref(), Some(r#"{"b\n":1.0,"a":[1, 2]}"#));
}

#[test]
fn two_bodies_have_different_hashes() {
    let hash = |body| decode_text(body).unwrap().body_hash;
    let body = r#"{"client_id":"c","event_type":"t","data":{}}"#;
    assert_eq!(hash(body), hash(body));
    assert_ne!(hash(body), hash(r#"{"client_id":"c","event_type":"t","data":{} }"#));
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("2026-11-22T10:00:00+01:00")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let object = prop::collection::btree_map(any::<String>(), inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Bodies that are nearly events: each member may be missing, twice, or something else, and a byte may be wrong.
fn nearly_event() -> impl Strategy<Value = Vec<u8>> {
    let names = ["client_id", "event_type", "data", "event_id", "event_time", "event_version", "other"];
    let member = (prop::sample::select(names.to_vec()), prop_oneof![2 => Just(None), 1 => json().prop_map(Some)]);
    let broken = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
    (prop::collection::vec(member, 0..10), broken).prop_map(|(members, broken)| {
        let usual = |name| match name {
            "data" => Value::from_iter([("n", 1)]),
            "event_time" => Value::from("2026-11-22T10:00:00Z"),
            _ => Value::from("text"),
        };
        let members =
            members.into_iter().map(|(name, value)| format!("{name:?}:{}", value.unwrap_or_else(|| usual(name))));
        let mut body = format!("{{{}}}", members.collect::<Vec<_>>().join(",")).into_bytes();
        if let Some((index, byte)) = broken {
            let index = index.index(body.len());
            body[index] = byte;
        }
        body
    })
}

proptest! {
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body, &ENVELOPE, &Schemas::default());
    }

    #[test]
    fn every_body_is_an_event_or_has_a_reason_that_fits_into_a_dead_letter(body in nearly_event()) {
        match decode(&body, &ENVELOPE, &Schemas::default()) {
            Ok(event) => {
                let data: Value = serde_json::from_str(&event.data).unwrap();
                prop_assert!(data.is_object());
                prop_assert!(event.others.is_none_or(|others| serde_json::from_str::<Value>(&others).unwrap().is_object()));
                let key = sort_key(event.time, &event.id);
                prop_assert_eq!(parse_sort_key(&key), Some((event.time, event.id.as_str())));
            }
            Err(invalid) => {
                let attributes = attributes(&invalid, body.len(), 1, None);
                prop_assert_eq!(&attributes[0], &("reason", invalid.reason.name().to_owned()));
                prop_assert!(attributes.iter().any(|(name, value)| *name == "detail" && !value.contains('\n')));
                if let Some(pointer) = invalid.pointer {
                    let value: Value = serde_json::from_slice(&body).unwrap();
                    prop_assert!(value.pointer(&pointer).is_some() || invalid.reason == Reason::InvalidTime, "{}", pointer);
                }
            }
        }
    }

    #[test]
    fn details_are_one_line_without_the_body(body in "\\PC{0,40}") {
        let body = format!(r#"{{"client_id":{},"event_type":"t","data":{{}}}}"#, Value::from(body));
        if let Err(invalid) = decode_text(&body) {
            prop_assert!(!invalid.to_string().contains('\n'));
        }
    }

    #[test]
    fn a_sort_key_is_parsed_to_its_parts(millis in 0..253_402_300_799_999_u64, id in "[#a-c]{1,5}") {
        let time = Moment::from_unix_millis(millis).unwrap();
        let key = sort_key(time, &id);
        prop_assert_eq!(parse_sort_key(&key), Some((time, id.as_str())));
    }
}
