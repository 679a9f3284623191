//! The web page in a real Chromium, served by the real program on the embedded DynamoDB. `make test-browser` runs these tests.

mod driver;
mod records;
mod screenshots;

use std::collections::BTreeSet;

use driver::{Browser, ENTER, TAB, browse};
use mini_scan::scan::Scan;
use records::{HOST, hostile_service, neighbours, records};
use serde_json::json;

use crate::api::{Api, launch};
use crate::hosts::{Table, scan};
use crate::past::{Past, life, service};
use crate::support::program::mini_scan;

/// Runs a test in a browser, against the API of a table with these scans.
async fn browse_records(scans: Vec<Scan>, test: impl AsyncFnOnce(&Browser, &str)) {
    let table = Table::new().await;
    table.store(scans).await;
    let api = Api::of(&table).await;
    browse(async |browser| test(browser, &api.url).await).await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn a_search_leads_to_an_address_a_port_and_a_network() {
    browse_records(records().into_iter().chain(neighbours()).collect(), async |browser, url| {
        browser.open(url).await;
        browser.heading("What did the scans find?").await;
        browser.search(HOST).await;
        browser.heading(HOST).await;
        assert_eq!(browser.texts("h2").await, ["22 SSH", "80 HTTP", "161 SNMP", "443 TLS", "8080 HTTP"]);

        browser.search(&format!("{HOST}:443")).await;
        browser.search_box(&format!("{HOST}:443")).await;
        assert_eq!(browser.texts("h2").await, ["443 TLS"]);
        browser.follow("Show all ports").await;
        assert_eq!(browser.texts("h2").await.len(), 5);

        browser.search("198.51.100.9/24").await;
        browser.heading("198.51.100.0/24").await;
        assert_eq!(browser.texts("tbody tr").await.len(), 11);
        browser.follow(HOST).await;
        browser.heading(HOST).await;
        browser.follow("443 TLS").await;
        browser.heading("443 TLS").await;
        assert_eq!(browser.path().await, format!("/hosts/{HOST}/services/443/TLS"));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn every_result_has_a_url_that_survives_reload_and_back() {
    browse_records(records(), async |browser, url| {
        browser.open(&format!("{url}/hosts/{HOST}?port=80")).await;
        browser.heading(HOST).await;
        browser.follow("80 HTTP").await;
        browser.heading("80 HTTP").await;
        browser.reload().await;
        browser.heading("80 HTTP").await;
        browser.back().await;
        browser.heading(HOST).await;
        assert_eq!(browser.path().await, format!("/hosts/{HOST}?port=80"));
        assert_eq!(browser.texts("h2").await, ["80 HTTP"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn the_next_page_leads_through_every_service_once() {
    // A service on each port, so that the query of the links has something to keep.
    let services = ["HTTP", "TLS"].into_iter().flat_map(|name| (1..=120).map(move |port| scan(HOST, port, name)));
    browse_records(services.collect(), async |browser, url| {
        for (path, selector, pages) in [
            (format!("/hosts/{HOST}?service=TLS"), "h2", 3),
            ("/networks/198.51.100.0/24?service=TLS".to_owned(), ".services a", 3),
            (format!("/hosts/{HOST}?page_size=100"), "h2", 3),
        ] {
            browser.open(&format!("{url}{path}")).await;
            let mut texts = browser.texts(selector).await;
            for _ in 1..pages {
                browser.follow("Next page").await;
                texts.extend(browser.texts(selector).await);
            }
            assert_eq!(browser.texts("[rel=next]").await, [""; 0], "{path}");
            let expected = if path.contains("TLS") { 120 } else { 240 };
            let unique: BTreeSet<_> = texts.iter().collect();
            assert_eq!((texts.len(), unique.len()), (expected, expected), "{path}: {texts:?}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn a_hostile_response_is_only_text() {
    browse_records(records().into_iter().chain([hostile_service()]).collect(), async |browser, url| {
        let expected = [
            "<script>hostile=1;alert(1)</script>",
            "<img src=http://198.51.100.66/ onerror=hostile=2>",
            "</pre></details><svg onload=hostile=3>",
            r"\u{1b}[2J\u{1b}[31mred\u{1b}[0m invoice\u{202e}fdp.exe\u{2066}",
        ];
        let first_link = "return document.querySelector('h2 a').pathname";
        browser.open(&format!("{url}/hosts/{HOST}?port=9")).await;
        let record = browser.text_of(first_link).await;
        for path in [&format!("/hosts/{HOST}"), "/networks/198.51.100.0/24", &record, "/?q=<script>hostile=5</script>"]
        {
            browser.open(&format!("{url}{path}")).await;
            assert!(!browser.has_dialog().await, "{path}");
            assert_eq!(browser.run("return typeof hostile").await, "undefined", "{path}");
            assert_eq!(browser.run("return document.scripts.length").await, 1, "{path}");
            assert_eq!(browser.run("return document.querySelectorAll('img, svg, b').length").await, 0, "{path}");
            let source = browser.text_of("return document.documentElement.outerHTML").await;
            assert!(!source.contains(['\u{1b}', '\u{202e}', '\u{2066}']), "{path}: {source}");
            if path.starts_with("/hosts") {
                let shown = browser.text().await;
                assert!(expected.iter().all(|line| shown.contains(line)), "{path}: {shown}");
            }
            // The search is refused with 400, and Chromium logs it.
            let console = browser.console().await;
            assert!(console.iter().all(|line| line.contains("status of 400")), "{path}: {console:#?}");
        }
        let requests = browser.requests().await;
        assert!(requests.iter().any(|request| request.ends_with("/assets/page.js")), "{requests:#?}");
        let foreign: Vec<_> = requests.iter().filter(|request| !request.starts_with(url)).collect();
        assert!(foreign.is_empty(), "{foreign:#?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn a_host_leads_to_what_changed_and_a_hostile_difference_is_only_text() {
    let past = Past::new().await;
    past.table.store(records()).await;
    let hostile = hostile_service();
    past.record(life(&service(HOST, 443, "TLS"), "new")).await;
    past.record(life(&hostile.key, &hostile.response)).await;
    let api = Api::start(past.api()).await;
    browse(async |browser| {
        browser.open(&format!("{}/hosts/{HOST}", api.url)).await;
        browser.follow("What changed").await;
        browser.heading(&format!("What changed on {HOST}")).await;
        let events = browser.texts("h2").await;
        assert_eq!(events.len(), 6, "{events:?}");
        assert_eq!(
            (events[0].as_str(), events[5].ends_with("opened")),
            ("443 TLS closed (expired)", true),
            "{events:?}"
        );
        assert_eq!(browser.texts("pre").await[0], "-old\n+new");
        assert!(!browser.has_dialog().await);
        assert_eq!(browser.run("return typeof hostile").await, "undefined");
        assert_eq!(browser.run("return document.scripts.length").await, 1);
        assert_eq!(browser.run("return document.querySelectorAll('img, svg, b').length").await, 0);
        let shown = browser.text().await;
        assert!(
            shown.contains("<script>hostile=1;alert(1)</script>") && shown.contains(r"invoice\u{202e}fdp"),
            "{shown}"
        );
        assert_eq!(browser.console().await, [""; 0]);
        browser.emulate(390, 844, 1.5, true).await;
        assert_eq!(browser.run("return document.documentElement.scrollWidth <= innerWidth").await, true);
    })
    .await;
}

/// Shows that the policy stops a script even if the page contained one.
#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn the_policy_stops_what_escaping_would_miss() {
    browse_records(records(), async |browser, url| {
        browser.open(&format!("{url}/hosts/{HOST}")).await;
        let markup = "<img src=http://127.0.0.1:9/x onerror=hostile=1><style>main { display: none }</style>";
        browser.run(&format!("document.querySelector('main').insertAdjacentHTML('beforeend', {markup:?})")).await;
        let script = "const script = document.createElement('script'); script.textContent = 'hostile = 2';
            document.body.append(script); return typeof hostile";
        assert_eq!(browser.run(script).await, "undefined");
        assert!(browser.text().await.contains(HOST));
        let console = browser.console().await.concat();
        for directive in ["img-src", "style-src", "script-src"] {
            assert!(console.contains(directive), "{console}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn a_binary_response_is_hex_and_a_click_shows_its_text() {
    browse_records(records(), async |browser, url| {
        browser.open(&format!("{url}/hosts/{HOST}?port=443")).await;
        assert!(browser.texts("pre.hex").await.concat().starts_with("00000000  16 03 03 00 5a 02"));
        assert_eq!(browser.texts("pre.text").await, [""; 0]);
        browser.click("summary").await;
        let text = browser.texts("pre.text").await.concat();
        assert!(text.starts_with(r"\u{16}\u{3}\u{3}\u{0}Z"), "{text}");
        assert!(browser.text().await.contains("91 bytes, not text"));

        browser.open(&format!("{url}/hosts/{HOST}?port=22")).await;
        assert_eq!(browser.texts("pre.hex").await, [""; 0]);
        browser.click("summary").await;
        assert!(browser.texts("pre.hex").await.concat().starts_with("00000000  53 53 48 2d"));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn the_keyboard_reaches_everything_and_shows_where_it_is() {
    let focused = "const e = document.activeElement; return e.tagName + ' ' + (e.value || e.innerText).split('\\n')[0]";
    let is_outlined = "return parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2";
    browse_records(records(), async |browser, url| {
        browser.open(url).await;
        // The search box has the focus from the start.
        browser.press(&format!("{HOST}:443{ENTER}")).await;
        browser.heading(HOST).await;
        for expected in [
            "A mini-scan",
            "INPUT 198.51.100.7:443",
            "BUTTON Search",
            "A 198.51.100.0/24",
            "A Show all ports",
            "A 443 TLS",
            "PRE 00000000",
            "SUMMARY Show as text",
        ] {
            browser.press(TAB).await;
            let element = browser.text_of(focused).await;
            assert!(element.starts_with(expected), "{element}, expected {expected}");
            assert_eq!(browser.run(is_outlined).await, true, "{element}");
        }
        browser.press(ENTER).await;
        assert_eq!(browser.texts("pre.text").await.len(), 1);
        for expected in ["PRE ", "A Reference of the API"] {
            browser.press(TAB).await;
            let element = browser.text_of(focused).await;
            assert!(element.starts_with(expected), "{element}, expected {expected}");
        }
        browser.press(ENTER).await;
        browser.heading("mini-scan API").await;
        assert_eq!(browser.path().await, "/docs");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn a_time_has_an_age_and_is_in_utc_and_local() {
    browse_records(vec![scan(HOST, 80, "HTTP")], async |browser, url| {
        browser.open(&format!("{url}/hosts/{HOST}")).await;
        // The browser separates the hour by a narrow space.
        let text = browser.text().await.replace(['\u{202f}', '\n'], " ");
        let expected = "ago 2025-02-23 08:08:45 UTC Feb 23, 2025, 3:08:45 AM EST";
        assert_eq!(text.matches(expected).count(), 2, "{text}");

        browser.devtools("Emulation.setTimezoneOverride", json!({ "timezoneId": "UTC" })).await;
        browser.reload().await;
        let text = browser.text().await;
        assert!(text.contains("2025-02-23 08:08:45 UTC") && !text.contains("Feb 23"), "{text}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn the_page_works_without_scripts() {
    browse_records(records(), async |browser, url| {
        browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        browser.open(url).await;
        browser.search(&format!("{HOST}:443")).await;
        browser.heading(HOST).await;
        browser.click("summary").await;
        browser.click("details[open] pre.text").await;
        browser.click("h2 a").await;
        browser.heading("443 TLS").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn an_empty_result_and_an_error_help() {
    browse_records(records(), async |browser, url| {
        browser.open(url).await;
        for (search, heading, help) in [
            ("host", "This is neither an address nor a network", "[2001:db8::7]:443"),
            ("1.0.0.0/8", "The network has too many addresses", "mini-scan export --network 1.0.0.0/8"),
            ("1.1.1.0/24", "1.1.1.0/24", "No address of this network has a record"),
            ("198.51.100.3:9", "There is no record of this address", "Look at all ports of 198.51.100.3"),
        ] {
            browser.search(search).await;
            browser.heading(heading).await;
            let text = browser.text().await;
            assert!(text.contains(help) && !text.contains('`'), "{search}: {text}");
        }
        browser.follow("198.51.100.0/24").await;
        browser.follow(HOST).await;
        browser.heading(HOST).await;
        browser.open(&format!("{url}/hosts/{HOST}?page_token=x")).await;
        browser.heading("The page token does not belong to this query").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn a_missing_index_is_explained() {
    let complete = Table::new().await;
    let name = complete.dynamo.table().await;
    let api = Api::of(&Table { dynamo: complete.dynamo, name }).await;
    browse(async |browser| {
        browser.open(&format!("{}/hosts/{HOST}", api.url)).await;
        browser.heading("The table lacks the index of addresses").await;
        let text = browser.text().await;
        assert!(text.contains("mini-scan setup table"), "{text}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn a_phone_scrolls_only_down() {
    let long = Scan { response: "x".repeat(9_000), ..scan(HOST, 7, &"long-service".repeat(9)) };
    let address = scan("2001:db8:1234:5678:9abc:def0:1234:5678", 443, "TLS");
    let scans = records().into_iter().chain(neighbours()).chain([hostile_service(), long, address]);
    browse_records(scans.collect(), async |browser, url| {
        browser.emulate(390, 844, 1.0, true).await;
        for path in [
            "/",
            &format!("/hosts/{HOST}"),
            &format!("/hosts/{HOST}/services/443/TLS"),
            "/networks/198.51.100.0/24",
            "/networks/2001:db8:1234:5678:9abc:def0:1234:5600/120",
            "/hosts/2001:db8:1234:5678:9abc:def0:1234:5678",
            "/?q=host",
            "/hosts/2001:db8:1234:5678:9abc:def0:1234:5679?port=65535",
        ] {
            browser.open(&format!("{url}{path}")).await;
            browser.run("for (const details of document.querySelectorAll('details')) details.open = true").await;
            assert_eq!(browser.run("return innerWidth").await, 390, "{path}");
            assert_eq!(browser.run("return document.documentElement.scrollWidth").await, 390, "{path}");
            let sizes = "return Math.min(...[...document.querySelectorAll('body *')].map(e =>
                parseFloat(getComputedStyle(e).fontSize)))";
            assert!(browser.run(sizes).await.as_f64().expect("a size") >= 12.0, "{path}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn every_text_is_readable_in_light_and_in_dark() {
    let back = "return getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)[0]";
    browse_records(records(), async |browser, url| {
        for (colors, is_dark) in [("light", false), ("dark", true)] {
            browser.prefer(colors).await;
            let host = format!("/hosts/{HOST}");
            for path in ["/", &host, "/networks/198.51.100.0/24", "/networks/1.0.0.0/8"] {
                browser.open(&format!("{url}{path}")).await;
                let unreadable = browser.run(include_str!("browser/contrast.js")).await;
                assert_eq!(unreadable, json!([]), "{colors} {path}");
                assert_eq!(browser.run(back).await.as_u64().expect("red") < 64, is_dark, "{colors} {path}");
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium; run by `make test-browser`"]
async fn the_token_is_a_password_in_the_url() {
    let table = Table::new().await;
    table.store(records()).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("tokens").to_str().expect("UTF-8").to_owned();
    let exit = mini_scan(["api", "token", "person", "--tokens-file", &file]).run().await;
    let api = Api::start(launch(&table).arguments(["--tokens-file", &file])).await;
    browse(async |browser| {
        let token = &exit.output.stdout[0];
        let url = api.url.replace("http://", &format!("http://person:{token}@"));
        browser.open(&url).await;
        browser.search(HOST).await;
        browser.heading(HOST).await;
        browser.follow("443 TLS").await;
        browser.heading("443 TLS").await;
        assert_eq!(browser.console().await, [""; 0]);
    })
    .await;
}
