use proptest::prelude::*;

use super::*;

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

proptest! {
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body, &ENVELOPE, &Schemas::default());
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
