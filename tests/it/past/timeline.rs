//! The events of an address: as pages of the API, as a web page, and by `mini-scan get --history`.

use mini_scan::changes::{Body, Entry, Event};
use serde_json::{Value, json};

use super::{Past, TIME, entry, life, service, start};
use crate::api::{Api, open};
use crate::support::program::mini_scan;

fn ids(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().expect("events");
    events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
}

/// Reads all pages of a timeline.
async fn all(api: &Api, parameters: &str) -> (Vec<String>, Value) {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/hosts/1.1.1.7/timeline?{parameters}{token}")).await.ok();
        found.extend(ids(&page));
        match page["next_page_token"].as_str() {
            Some(next) => token = format!("&page_token={next}"),
            None => return (found, page["scanned_to"].clone()),
        }
    }
}

#[tokio::test]
async fn a_timeline_has_what_happened_with_the_difference() {
    let past = Past::new().await;
    let http = service("1.1.1.7", 443, "HTTP");
    past.record(life(&http, "new")).await;
    past.record([entry(&service("1.1.1.8", 443, "HTTP"), Event::Opened, TIME, 9)]).await;
    let api = start(past.api()).await;

    let timeline = api.get("/v1/hosts/::ffff:1.1.1.7/timeline").await.ok();

    let id = |time: u64, sequence: u64| format!("{time:020}#00443#{sequence:040}#HTTP");
    let event = |time: u64, sequence: u64, event: &str, others: Value| {
        let mut value = json!({
            "id": id(time, sequence), "ip": "1.1.1.7", "port": 443, "service": "HTTP", "time": time, "created": time,
            "event": event, "number": sequence,
        });
        value.as_object_mut().expect("an object").extend(others.as_object().expect("an object").clone());
        value
    };
    let diff =
        json!({ "lines_added": 1, "lines_removed": 1, "bytes_added": 5, "bytes_removed": 4, "text": "-old\n+new" });
    let expected = [
        event(TIME, 1, "opened", json!({ "response_size": 3 })),
        event(TIME + 86_400, 2, "changed", json!({ "diff": diff, "old_timestamp": TIME })),
        event(TIME + 2 * 86_400, 3, "closed", json!({ "reason": "expired" })),
    ];
    assert_eq!(timeline, json!({ "ip": "1.1.1.7", "events": expected, "scanned_to": TIME + 2 * 86_400 }));
    let with = api.get("/v1/hosts/1.1.1.7/timeline?with=response").await.ok();
    assert_eq!(with["events"][1]["response"], "new");
    assert_eq!(api.get("/v1/hosts/1.1.1.9/timeline").await.ok(), json!({ "ip": "1.1.1.9", "events": [] }));
}

#[tokio::test]
async fn pages_have_each_event_of_the_time_once_in_both_orders() {
    let past = Past::new().await;
    let keys: Vec<_> = [80, 443].map(|port| service("1.1.1.7", port, "A#B")).into();
    let entries = (0..10_u64).map(|nth| entry(&keys[nth as usize % 2], Event::Changed, TIME + nth / 2, nth));
    past.record(entries.clone()).await;
    let mut expected: Vec<_> = entries.map(|entry| entry.key.sort_key()).collect();
    expected.sort();
    let api = start(past.api()).await;
    let (start, end) = (TIME + 1, TIME + 4);
    let inside = expected[2..8].to_vec();

    assert_eq!(all(&api, "page_size=3").await, (expected.clone(), json!(TIME + 4)));
    assert_eq!(all(&api, &format!("page_size=4&start={start}&end={end}")).await, (inside.clone(), json!(end)));
    let reversed: Vec<_> = inside.into_iter().rev().collect();
    assert_eq!(all(&api, &format!("page_size=1&order=desc&start={start}&end={end}")).await, (reversed, json!(start)));
    for wrong in ["start=5&end=5", "end=0", "order=up", "page_size=0", "page_size=101", "with=history", "page_token=x"]
    {
        let problem = api.get(&format!("/v1/hosts/1.1.1.7/timeline?{wrong}")).await;
        assert_eq!(problem.status, 400, "{wrong}: {problem:?}");
    }
}

#[tokio::test]
async fn get_shows_the_same_history_from_the_table_and_from_an_api() {
    let past = Past::new().await;
    let (http, other) = (service("1.1.1.7", 443, "HTTP"), service("1.1.1.7", 80, "HTTP"));
    past.record(life(&http, "new\u{1b}[2J")).await;
    let binary = Entry { body: Some(Body::Bytes(vec![b'a', 0xff])), ..entry(&other, Event::Opened, TIME + 1, 4) };
    past.record([binary]).await;
    let api = start(past.api()).await;
    for arguments in [&["1.1.1.7"][..], &["1.1.1.7:443"], &["1.1.1.0/28", "2001:db8::7"], &["--json", "1.1.1.7"]] {
        let by_table = past.get().arguments(arguments.iter().copied()).run().await;
        let by_api = mini_scan(["get", "--history", "--api", &api.url]).arguments(arguments.iter().copied());
        let by_api = by_api.run().await;
        assert_eq!((by_table.code, by_api.code), (Some(0), Some(0)), "{by_table:#?} {by_api:#?}");
        assert_eq!(by_table.output, by_api.output, "{arguments:?}");
    }

    let table = past.get().arguments(["1.1.1.7:443", "1.1.1.9"]).run().await.output;
    assert_eq!(table.stderr, ["1.1.1.9: no event"]);
    let expected = [
        "TIME                  ADDRESS  PORT  SERVICE  EVENT             LINES  CHANGE",
        "2025-02-25T08:08:45Z  1.1.1.7   443  HTTP     closed (expired)",
        "2025-02-24T08:08:45Z  1.1.1.7   443  HTTP     changed           +1 -1  -old\\n+new\\u{1b}[2J",
        "2025-02-23T08:08:45Z  1.1.1.7   443  HTTP     opened",
    ];
    assert_eq!(table.stdout, expected);
    let lines = past.get().arguments(["--json", "1.1.1.7"]).run().await.output.stdout;
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let found: Vec<_> =
        events.iter().map(|event| (&event["port"], &event["response"], &event["response_base64"])).collect();
    let missing = &Value::Null;
    let (new, bytes) = (json!("new\u{1b}[2J"), json!("Yf8="));
    let expected = [
        (&json!(443), missing, missing),
        (&json!(443), &new, missing),
        (&json!(80), &json!("a\u{fffd}"), &bytes),
        (&json!(443), missing, missing),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn get_names_a_missing_history_table() {
    let past = Past::new().await;
    let missing = ["get", "--history", "--history-table", "missing-history", "1.1.1.7"];
    let exit = mini_scan(missing).env("AWS_ENDPOINT_URL_DYNAMODB", &past.table.dynamo.endpoint).run().await;
    let stderr = exit.output.stderr.join("\n");
    assert_eq!(exit.code, Some(1), "{stderr}");
    assert!(stderr.contains("missing-history") && stderr.contains("mini-scan setup changes"), "{stderr}");
}

#[tokio::test]
async fn the_page_of_a_timeline_shows_hostile_differences_harmlessly() {
    let past = Past::new().await;
    let hostile = service("1.1.1.7", 443, "<b>&\"'");
    past.record(life(&hostile, "</pre><script>alert(1)</script>\u{1b}[2J\u{202e}")).await;
    past.table.store([crate::hosts::scan("1.1.1.7", 443, "HTTP")]).await;
    let (with, without) = (start(past.api()).await, Api::of(&past.table).await);

    let page = open(&with, "/hosts/1.1.1.7/timeline").await;
    assert_eq!(page.status, 200, "{}", page.html);
    let heading = "443</span> &lt;b&gt;&amp;&quot;' <span class=\"event\">changed</span>";
    assert!(page.html.contains(heading), "{}", page.html);
    assert!(
        page.html.contains("+&lt;/pre&gt;&lt;script&gt;") && page.html.matches("<script").count() == 1,
        "{}",
        page.html
    );
    assert!(!page.html.contains('\u{1b}') && !page.html.contains('\u{202e}'), "{}", page.html);
    let closed = page.html.find("closed (expired)").expect("the last event");
    assert!(closed < page.html.find(">opened").expect("the first event"), "the newest event is not the first");
    let link = "href=\"/hosts/1.1.1.7/timeline\"";
    assert!(open(&with, "/hosts/1.1.1.7").await.html.contains(link));
    assert!(!open(&without, "/hosts/1.1.1.7").await.html.contains(link));
    let next = open(&with, "/hosts/1.1.1.7/timeline?page_size=2").await;
    assert!(next.html.contains("rel=\"next\""), "{}", next.html);
    let problem = open(&without, "/hosts/1.1.1.7/timeline").await;
    assert!(problem.status == 501 && problem.html.contains("The API has no history"), "{}", problem.html);
}
