use proptest::prelude::*;

use super::*;

fn built_in() -> Masks {
    Masks::new(BUILT_IN, &[], &[]).expect("the built-in masks are valid")
}

fn one(pattern: &str) -> Result<Masks, Refused> {
    Masks::new(&[], &[addition("own", pattern)], &[])
}

fn addition(name: &str, pattern: &str) -> Addition {
    Addition { name: name.to_owned(), pattern: pattern.to_owned() }
}

fn removal(name: &str) -> [String; 1] {
    [name.to_owned()]
}

fn masked(masks: &Masks, text: &str) -> String {
    String::from_utf8(masks.apply(text.as_bytes()).into_owned()).expect("the text was UTF-8")
}

#[test]
fn the_built_in_masks_are_sorted_and_valid() {
    assert!(BUILT_IN.is_sorted_by_key(|mask| mask.name));
    assert_eq!(built_in().list().count(), BUILT_IN.len());
}

#[test]
fn built_in_masks_hide_what_differs_in_every_http_response() {
    let response = "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 03:43:34 GMT\r\nServer: nginx/1.24.0\r\nexpires: 0\r\n\
        Set-Cookie: sid=8f3a; Path=/; expires=Mon, 23 Nov 2026 03:43:34 GMT; HttpOnly\r\nSet-Cookie: a=b\r\n\
        ETag: W/\"5e-18\"\r\nX-Request-Id: 7c1f\r\nCF-RAY: 8e6-FRA\r\n\
        Content-Security-Policy: script-src 'nonce-q1w2e3r4t5=='\r\n\r\n\
        <script nonce=\"q1w2e3r4t5==\"></script>\r\nDate: in the page\r\n";
    let expected = "HTTP/1.1 200 OK\r\nDate: [http-date]\r\nServer: nginx/1.24.0\r\nexpires: [http-date]\r\n\
        Set-Cookie: sid=[http-cookie]; Path=/; expires=[http-cookie]; HttpOnly\r\nSet-Cookie: a=[http-cookie]\r\n\
        ETag: [http-etag]\r\nX-Request-Id: [http-request-id]\r\nCF-RAY: [http-request-id]\r\n\
        Content-Security-Policy: script-src 'nonce-[csp-nonce]'\r\n\r\n\
        <script nonce=\"[csp-nonce]\"></script>\r\nDate: in the page\r\n";
    assert_eq!(masked(&built_in(), response), expected);
}

#[test]
fn built_in_masks_hide_times_in_greetings() {
    for (greeting, expected) in [
        (
            "220 mx.example ESMTP Exim 4.96 Sun, 22 Nov 2026 03:43:34 +0000\r\n",
            "220 mx.example ESMTP Exim 4.96 [mail-greeting-time]\r\n",
        ),
        (
            "220 mx.example ESMTP Sendmail 8.15.2; Sun, 2 Nov 2026 03:43:34 GMT\r\n",
            "220 mx.example ESMTP Sendmail 8.15.2; [mail-greeting-time]\r\n",
        ),
        ("220 mx.example ESMTP a1-20020a05.7 - gsmtp\r\n", "220 mx.example ESMTP [mail-greeting-time] - gsmtp\r\n"),
        ("220 mx.example at Sun Nov  2 03:43:34 2026\r\n", "220 mx.example at [mail-greeting-time]\r\n"),
        ("+OK POP3 <1896.697170952@mx.example>\r\n", "+OK POP3 <[mail-greeting-time]@mx.example>\r\n"),
        (
            "* OK [CAPABILITY IMAP4REV1] mx.example at Sun, 22 Nov 2026 03:43:34 +0000 (UTC)\r\n",
            "* OK [CAPABILITY IMAP4REV1] mx.example at [mail-greeting-time]\r\n",
        ),
        ("220 mx.example ESMTP Postfix\r\n", "220 mx.example ESMTP Postfix\r\n"),
        (
            "220-Welcome\r\n220-You are user number 3 of 50 allowed.\r\n220-Local time is now 03:43.\r\n220 Bye\r\n",
            "220-Welcome\r\n220-You are user number [ftp-greeting-time] of 50 allowed.\r\n\
             220-Local time is now [ftp-greeting-time].\r\n220 Bye\r\n",
        ),
        ("SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.5\r\n", "SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.5\r\n"),
    ] {
        assert_eq!(masked(&built_in(), greeting), expected);
    }
}

#[test]
fn masks_of_http_act_on_the_head_of_a_response_only() {
    let masks = built_in();
    for text in ["Date: now\r\n", "220 HTTP/1.1\r\nDate: now\r\n", "", "HTTP"] {
        assert_eq!(masked(&masks, text), text);
    }
    assert_eq!(masked(&masks, "HTTP/1.1 200 OK\nDate: x\n\nDate: x"), "HTTP/1.1 200 OK\nDate: [http-date]\n\nDate: x");
    assert_eq!(masked(&masks, "HTTP/1.1 200 OK\r\nDate: x"), "HTTP/1.1 200 OK\r\nDate: [http-date]");
    let own = Masks::new(&[], &[addition("http-own", "x+"), addition("own", "y+")], &[]).expect("they are valid");
    assert_eq!(masked(&own, "HTTP/1.1 x y\r\n\r\nx y"), "HTTP/1.1 [http-own] [own]\r\n\r\nx [own]");
}

#[test]
fn an_empty_value_differs_from_a_value() {
    let text = |cookie| format!("HTTP/1.1 200 OK\r\nSet-Cookie: sid={cookie}; Path=/\r\n\r\n");
    assert_eq!(masked(&built_in(), &text("")), text(""));
    assert_eq!(masked(&built_in(), &text("1")), masked(&built_in(), &text("2")));
}

#[test]
fn named_groups_are_hidden_and_without_any_the_match_is() {
    let masks = |pattern| one(pattern).expect("the pattern is valid");
    assert_eq!(masked(&masks(r"at (\d+) ms"), "at 12 ms, at 7 ms"), "[own], [own]");
    assert_eq!(masked(&masks(r"at (?<time>\d+) (s|ms)"), "at 12 ms, at 7 s"), "at [own] ms, at [own] s");
    assert_eq!(masked(&masks(r"(?<a>\d+)-(?:x|(?<b>\d+))"), "1-2 3-x"), "[own]-[own] [own]-x");
}

#[test]
fn lines_and_bytes_are_what_patterns_see() {
    let masks = |pattern| one(pattern).expect("the pattern is valid");
    assert_eq!(masked(&masks("^b.*$"), "a\r\nb c\r\nd"), "a\r\n[own]\r\nd");
    let binary = masks(r"v\d+.");
    assert_eq!(binary.apply(b"\xffv12\xfe\x00"), b"\xff[own]\x00".as_slice());
}

#[test]
fn ranges_that_overlap_are_hidden_by_the_mask_that_begins_first() {
    let additions = [addition("b", "2345"), addition("a", "123"), addition("c", "78")];
    let masks = Masks::new(&[], &additions, &[]).expect("they are valid");
    let Masked { text, hidden, .. } = masks.mask(b"x123456789");
    assert_eq!(text, b"x[a]6[c]9".as_slice());
    let ranges: Vec<_> = hidden.iter().map(|hidden| (hidden.range.clone(), hidden.mask)).collect();
    assert_eq!(ranges, [(1..6, "a"), (7..9, "c")]);
    assert_eq!(masks.mask(b"x123456789").hidden_bytes(), 7);
}

#[test]
fn the_id_depends_on_names_and_patterns_and_not_on_their_order() {
    let (x, y) = (addition("x", "11"), addition("y", "2"));
    let id = |additions: &[Addition], removals: &[String]| {
        Masks::new(BUILT_IN, additions, removals).expect("they are valid").id().to_owned()
    };
    assert_eq!(id(&[x.clone(), y.clone()], &[]), id(&[y.clone(), x.clone()], &[]));
    let different = [
        id(&[], &[]),
        id(&[], &removal("http-date")),
        id(&[addition("http-date", "11")], &[]),
        id(std::slice::from_ref(&x), &[]),
        id(&[addition("x", "2")], &[]),
        id(&[addition("x1", "1")], &[]),
        id(&[addition("y", "11")], &[]),
    ];
    for (index, one) in different.iter().enumerate() {
        assert_eq!(one.len(), 16);
        assert!(!different[..index].contains(one), "{index}");
    }
}

#[test]
fn masks_that_cannot_work_are_refused() {
    let twice = [addition("x", "1"), addition("x", "2")];
    assert_eq!(Masks::new(&[], &twice, &[]).err(), Some(Refused::Twice("x".to_owned())));
    assert_eq!(Masks::new(BUILT_IN, &[], &removal("x")).err(), Some(Refused::Unknown("x".to_owned())));
    assert_eq!(one("a*").err(), Some(Refused::MatchesNothing("own".to_owned())));
    for pattern in [".+", r"(?s).+", r"\S+", r"(?<all>[^ \r\n]+)", "[[:ascii:]]"] {
        assert_eq!(one(pattern).err(), Some(Refused::MatchesAll("own".to_owned())), "{pattern}");
    }
    for pattern in ["(", "a{10000}", r"[a-z]{1,400}[0-9]{1,400}x{1,9000}"] {
        assert!(matches!(one(pattern), Err(Refused::Pattern { .. })), "{pattern}");
    }
    for name in ["", "Own", "a b", "ä", &"x".repeat(MAX_NAME + 1)] {
        assert_eq!(format!("{name}=x").parse::<Addition>(), Err(Refused::Name(name.to_owned())));
    }
    assert_eq!("x".parse::<Addition>(), Err(Refused::NoName));
    assert_eq!("x=a=b".parse::<Addition>(), Ok(addition("x", "a=b")));
    let many: Vec<_> = (0..=MAX_MASKS).map(|n| addition(&format!("x{n}"), "x")).collect();
    assert!(Masks::new(&[], &many[1..], &[]).is_ok());
    assert_eq!(Masks::new(&[], &many, &[]).err(), Some(Refused::TooMany(MAX_MASKS + 1)));
}

#[test]
fn a_default_can_be_replaced_and_removed() {
    let response = "HTTP/1.1 200 OK\r\nDate: x\r\nETag: y\r\n\r\n";
    let without = Masks::new(BUILT_IN, &[], &removal("http-date")).expect("it is valid");
    assert_eq!(masked(&without, response), "HTTP/1.1 200 OK\r\nDate: x\r\nETag: [http-etag]\r\n\r\n");
    let replaced = Masks::new(BUILT_IN, &[addition("http-etag", "OK")], &[]).expect("it is valid");
    assert_eq!(masked(&replaced, response), "HTTP/1.1 200 [http-etag]\r\nDate: [http-date]\r\nETag: y\r\n\r\n");
}

#[test]
fn a_pattern_that_matches_between_bytes_hides_nothing_and_ends() {
    let masks = one(r"\b").expect("it does not match the empty text");
    let text = "a b ".repeat(1_000);
    assert!(matches!(masks.apply(text.as_bytes()), Cow::Borrowed(_)));
}

#[test]
fn what_lies_behind_the_limit_is_compared_as_it_is() {
    let masks = one(r"\d+").expect("the pattern is valid");
    let text = format!("1{}2", "x".repeat(MAX_TEXT - 2) + "9");
    assert_eq!(masked(&masks, &text), format!("[own]{}[own]2", "x".repeat(MAX_TEXT - 2)));
    let text = format!("1{}2", "x".repeat(MAX_TEXT - 1));
    assert_eq!(masked(&masks, &text), format!("[own]{}2", "x".repeat(MAX_TEXT - 1)));
}

#[test]
fn hostile_responses_take_a_bounded_number_of_steps() {
    let head = "HTTP/1.1 200 OK\r\n";
    let full = |line: &str| format!("{head}{}", line.repeat(MAX_TEXT / line.len()));
    let masks = built_in();
    for text in [
        full("Date: x\r\n"),
        full("Age:1\n"),
        full("Set-Cookie: a=b; ; ; ; expires=c;\r\n"),
        full("Set-Cookie: a=b;;;;;;;;"),
        full("nonce-aaaaaaaa "),
        full("nonce-"),
        format!("220 {}", "1 jan 2026 ".repeat(6_000)),
        format!("220 {}", "<".repeat(MAX_TEXT)),
        "220-Local time is now 1".repeat(3_000),
        "a".repeat(4 * MAX_TEXT),
    ] {
        let Masked { text: replaced, steps, hidden, .. } = masks.mask(text.as_bytes());
        assert!(steps <= MAX_STEPS * BUILT_IN.len() as u64);
        assert!(replaced.len() <= text.len() + hidden.len() * (MAX_NAME + 2));
    }
}

#[test]
fn a_mask_that_reaches_its_limit_is_reported() {
    let masks = one("a").expect("the pattern is valid");
    let text = "a".repeat(MAX_TEXT);
    let Masked { hidden, limited, steps, .. } = masks.mask(text.as_bytes());
    assert_eq!(limited, ["own"]);
    // 256 searches, each over almost the whole text.
    assert!((256..260).contains(&hidden.len()), "{}", hidden.len());
    assert_eq!(steps, MAX_STEPS);
    let again = masks.mask(text.as_bytes());
    assert_eq!(again.hidden.len(), hidden.len());
    assert_eq!(masks.mask(&text.as_bytes()[..4_000]).limited, [""; 0]);
}

/// Hides by the definition: character by character, without the library's search for all matches.
fn reference(pattern: &Regex, text: &[u8]) -> Vec<u8> {
    let (mut hidden, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match pattern.find_at(text, at) {
            Some(found) if found.start() == at && !found.is_empty() => {
                hidden.extend(b"[own]");
                at = found.end();
            }
            _ => {
                hidden.push(text[at]);
                at += 1;
            }
        }
    }
    hidden
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let parts = [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/",
        "Date: ",
        "Set-Cookie: a=",
        "expires=",
        ";",
        "\r\n",
        "\n",
        "\r\n\r\n",
        "nonce-",
        "aaaaaaaaaa",
        "220 ",
        "220-",
        "22 Nov 2026 03:43:34",
        "<",
        "@",
        " - gsmtp",
        "[http-date]",
        "+OK ",
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(parts.map(|part| part.as_bytes().to_vec()).to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..10),
    ];
    (prop::collection::vec(piece, 0..60), 1..40_usize).prop_map(|(pieces, times)| pieces.concat().repeat(times))
}

proptest! {
    #[test]
    fn hostile_texts_are_masked_within_the_limits(text in hostile()) {
        let masks = built_in();
        let Masked { text: replaced, hidden, limited, steps } = masks.mask(&text);
        prop_assert!(steps <= MAX_STEPS * BUILT_IN.len() as u64);
        prop_assert!(limited.is_empty() || steps >= MAX_STEPS);
        prop_assert!(hidden.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
        prop_assert!(hidden.iter().all(|hidden| !hidden.range.is_empty() && hidden.range.end <= MAX_TEXT));
        let names: usize = hidden.iter().map(|hidden| hidden.mask.len() + 2).sum();
        let bytes: usize = hidden.iter().map(|hidden| hidden.range.len()).sum();
        prop_assert_eq!(replaced.len(), text.len() - bytes + names);
        prop_assert_eq!(matches!(replaced, Cow::Borrowed(_)), hidden.is_empty());
        prop_assert_eq!(&masks.mask(&text).text, &replaced);
    }

    #[test]
    fn a_mask_hides_each_match(text in "[ab0-9\\n]{0,200}", pattern in "(a|b|[0-9]|\\\\d|ab|b0){1,3}[+]?") {
        let masks = one(&pattern);
        prop_assume!(masks.is_ok());
        let masks = masks.expect("it was checked");
        prop_assert_eq!(masks.apply(text.as_bytes()).into_owned(), reference(&masks.masks[0].pattern, text.as_bytes()));
    }

    #[test]
    fn values_of_masked_headers_are_never_a_change(
        one in "[!-:<-~][ -:<-~]{0,50}", other in "[!-:<-~][ -:<-~]{0,50}", body in "[a-z ]{0,50}",
    ) {
        let masks = built_in();
        let response = |value: &str| format!(
            "HTTP/1.1 200 OK\r\nDate: {value}\r\nSet-Cookie: sid={value}; Secure\r\nETag: {value}\r\n\
             X-Request-Id: {value}\r\n\r\n{body}"
        );
        // A value may contain a nonce.
        prop_assume!(!one.contains("nonce") && !other.contains("nonce"));
        prop_assert_eq!(masked(&masks, &response(&one)), masked(&masks, &response(&other)));
    }

    #[test]
    fn a_difference_outside_of_the_masks_stays(one in "[a-m]{1,20}", other in "[a-m]{1,20}") {
        let masks = built_in();
        let response = |server: &str| format!("HTTP/1.1 200 OK\r\nDate: x\r\nServer: {server}\r\n\r\n");
        prop_assert_eq!(one == other, masked(&masks, &response(&one)) == masked(&masks, &response(&other)));
    }
}
