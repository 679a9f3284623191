//! The HTML of the page. Every text of a response is a text node: it is escaped, and nothing interprets it. Pure.

use std::time::SystemTime;

use http_api::Problem;
use http_api::problem::PAGE;
use maud::{DOCTYPE, Markup, html};

use super::text::{SHOWN_BYTES, age, encode, hex, start, utc, visible};
use crate::hosts::Record;
use crate::scan::Key;

/// Renders the page with only the search box, and examples.
pub(super) fn home() -> Markup {
    around(
        "mini-scan",
        "",
        html! {
            h1 { "What did the scans find?" }
            p { "Search for an address, an address with a port, or a network of up to 256 addresses:" }
            ul {
                @for example in ["1.1.1.7", "1.1.1.7:443", "1.1.1.0/24", "2001:db8::7", "[2001:db8::7]:443"] {
                    li { code { (example) } }
                }
            }
        },
    )
}

/// Renders the services of one address.
pub(super) fn host(
    ip: &str,
    port: Option<u16>,
    records: &[(bool, Record)],
    next: Option<&str>,
    now: SystemTime,
) -> Markup {
    let last_seen = records.iter().map(|(_, record)| record.timestamp).max();
    around(
        ip,
        ip,
        html! {
            h1 { (ip) }
            @if let Some(last_seen) = last_seen { p { "Last seen " (time(last_seen, now)) } }
            @if let Some(port) = port {
                p { "Only port " (port) ". " a href={ "/hosts/" (ip) } { "Show all ports" } }
            }
            @if records.is_empty() { p { "No more services." } }
            @for (is_stale, record) in records {
                article {
                    h2 { a href=(url_of(&record.key)) { (record.key.port()) " " (visible(record.key.service())) } }
                    (seen(record, *is_stale, now))
                    (response(record, SHOWN_BYTES))
                }
            }
            (next_page(next, port))
        },
    )
}

/// Renders one record with its whole response.
pub(super) fn record(record: &Record, is_stale: bool, now: SystemTime) -> Markup {
    let key = &record.key;
    around(
        key.ip(),
        key.ip(),
        html! {
            p { a href={ "/hosts/" (key.ip()) } { "All services of " (key.ip()) } }
            h1 { (key.ip()) " " (key.port()) " " (visible(key.service())) }
            (seen(record, is_stale, now))
            (response(record, usize::MAX))
        },
    )
}

/// Renders the hosts of a network with their ports.
pub(super) fn network(name: &str, keys: &[Key], next: Option<&str>) -> Markup {
    let hosts = keys.chunk_by(|one, other| one.ip() == other.ip());
    around(
        name,
        name,
        html! {
            h1 { (name) }
            @if keys.is_empty() {
                p { "No address of this network has a record." }
            } @else {
                table {
                    thead { tr { th scope="col" { "Address" } th scope="col" { "Services" } } }
                    tbody {
                        @for host in hosts {
                            tr {
                                th scope="row" { a href={ "/hosts/" (host[0].ip()) } { (host[0].ip()) } }
                                td {
                                    @for key in host {
                                        a class="service" href=(url_of(key)) { (key.port()) " " (visible(key.service())) }
                                        " "
                                    }
                                }
                            }
                        }
                    }
                }
            }
            (next_page(next, None))
        },
    )
}

/// Renders what went wrong, and what to do.
pub(super) fn problem(searched: &str, problem: &Problem) -> Markup {
    let kind = problem.kind();
    around(
        kind.title,
        searched,
        html! {
            h1 { (kind.title) }
            p { (visible(problem.detail())) }
            p { (kind.advice) " " a href={ (PAGE) "#" (kind.name) } { "More about this problem" } }
        },
    )
}

fn around(title: &str, searched: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – mini-scan" }
                link rel="stylesheet" href="/assets/page.css";
                script src="/assets/page.js" defer {}
            }
            body {
                header {
                    a class="name" href="/" { "mini-scan" }
                    form role="search" action="/" method="get" {
                        label for="q" { "Address or network" }
                        input id="q" name="q" type="search" value=(visible(searched)) autocomplete="off"
                            autocapitalize="none" spellcheck="false" autofocus[searched.is_empty()];
                        button { "Search" }
                    }
                }
                main { (content) }
                footer { a href="/docs" { "API" } }
            }
        }
    }
}

fn seen(record: &Record, is_stale: bool, now: SystemTime) -> Markup {
    html! {
        p class="seen" {
            "Seen " (time(record.timestamp, now))
            @if is_stale { " " span class="stale" { "stale" } }
        }
    }
}

/// The script adds the local time.
fn time(timestamp: u64, now: SystemTime) -> Markup {
    let utc = utc(timestamp);
    html! { (age(timestamp, now)) ", " time datetime=(utc) { (utc.replace('T', " ").replace('Z', " UTC")) } }
}

/// Renders a response as text, and as hex on demand. One that is not text is shown as hex first.
fn response(record: &Record, shown: usize) -> Markup {
    let is_binary = record.response_bytes.is_some();
    let bytes = record.response_bytes.as_deref().unwrap_or(record.response.as_bytes());
    let rest = bytes.len().saturating_sub(shown);
    html! {
        @if bytes.is_empty() {
            p { "The response is empty." }
        } @else {
            details open[!is_binary] {
                summary { "Text" }
                pre dir="ltr" tabindex="0" { (visible(start(&record.response, shown))) }
            }
            details open[is_binary] {
                summary { "Hex" }
                pre dir="ltr" tabindex="0" { (hex(&bytes[..bytes.len().min(shown)])) }
            }
            @if rest > 0 {
                p { (rest) " more bytes: " a href=(url_of(&record.key)) { "show all" } }
            }
        }
    }
}

fn next_page(token: Option<&str>, port: Option<u16>) -> Markup {
    html! {
        @if let Some(token) = token {
            @let port = port.map(|port| format!("&port={port}")).unwrap_or_default();
            nav { a rel="next" href={ "?page_token=" (token) (port) } { "Next page" } }
        }
    }
}

fn url_of(key: &Key) -> String {
    format!("/hosts/{}/services/{}/{}", key.ip(), key.port(), encode(key.service()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_with(response: &str, bytes: Option<Vec<u8>>) -> Record {
        let key = Key::new("1.1.1.7".parse().unwrap(), 80, "\"><script>alert(1)</script>");
        Record { key, timestamp: 1_740_298_125, data_version: 2, response: response.to_owned(), response_bytes: bytes }
    }

    fn pages(record_of: &Record) -> [String; 3] {
        let now = SystemTime::UNIX_EPOCH;
        [
            host("1.1.1.7", None, &[(true, record_of.clone())], Some("a-_"), now).into_string(),
            record(record_of, false, now).into_string(),
            network("1.1.1.0/24", std::slice::from_ref(&record_of.key), None).into_string(),
        ]
    }

    #[test]
    fn a_hostile_response_stays_text() {
        let hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\u{1b}[2J\u{202e}&lt;";
        for page in pages(&record_with(hostile, None)) {
            assert_eq!(page.matches("<script").count(), 1, "{page}");
            assert!(page.contains("<script src=\"/assets/page.js\" defer></script>"), "{page}");
            assert!(!page.contains("<img") && !page.contains('\u{1b}') && !page.contains('\u{202e}'), "{page}");
            assert!(!page.contains(" style="), "{page}");
        }
        let [host, ..] = pages(&record_with(hostile, None));
        assert!(host.contains("&lt;/pre&gt;&lt;script&gt;") && host.contains("&amp;lt;"), "{host}");
        assert!(host.contains("/services/80/%22%3E%3Cscript%3E"), "{host}");
    }

    #[test]
    fn a_binary_response_is_shown_as_hex_first() {
        let [binary, ..] = pages(&record_with("a\u{fffd}", Some(vec![b'a', 0xff])));
        assert!(binary.contains("<details open><summary>Hex") && binary.contains("61 ff"), "{binary}");
        let [text, ..] = pages(&record_with("hello", None));
        assert!(text.contains("<details open><summary>Text") && text.contains("<details><summary>Hex"), "{text}");
    }

    #[test]
    fn a_long_response_is_cut_and_its_own_page_shows_all() {
        let [host, record, _] = pages(&record_with(&"x".repeat(SHOWN_BYTES + 5), None));
        assert!(host.contains("5 more bytes") && !record.contains("more bytes"));
        assert!(record.contains(&"x".repeat(SHOWN_BYTES + 5)));
    }

    #[test]
    fn a_problem_helps_and_repeats_the_search() {
        let page = problem("1.1.1.999", &super::super::invalid("expected an address")).into_string();
        assert!(
            page.contains("value=\"1.1.1.999\"") && page.contains("href=\"/docs/problems#invalid-request\""),
            "{page}"
        );
    }
}
