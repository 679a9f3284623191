//! The HTML of the page. Every text of a response is a text node: it is escaped, and nothing interprets it. Pure.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use http_api::problem::PAGE;
use http_api::{Problem, inline};
use maud::{DOCTYPE, Markup, html};

use super::text::{SHOWN_BYTES, age, count, encode, hex, sentence, start, utc, visible};
use crate::changes::{Diff, Event, TimelineEvent};
use crate::hosts::{Network, Record};
use crate::scan::Key;

/// Renders the page with only the search box, and examples.
pub(super) fn home() -> Markup {
    around(
        "Search",
        "",
        html! {
            h1 { "What did the scans find?" }
            p class="quiet" { "Search for an address or a network." }
            (examples())
        },
    )
}

/// Renders that a search is neither an address nor a network.
pub(super) fn not_understood(searched: &str) -> Markup {
    around(
        "Unknown search",
        searched,
        html! {
            h1 { "This is neither an address nor a network" }
            p class="quiet" { "Search for one of these. IPv4 has no leading zeros, and IPv6 has no zone." }
            (examples())
        },
    )
}

fn examples() -> Markup {
    let examples: [(&str, &[&str]); 3] = [
        ("An address", &["1.1.1.7", "2001:db8::7"]),
        ("An address and a port", &["1.1.1.7:443", "[2001:db8::7]:443"]),
        ("A network of up to 256 addresses", &["1.1.1.0/24", "2001:db8::/120"]),
    ];
    html! {
        dl class="box" {
            @for (what, texts) in examples {
                dt { (what) }
                dd { @for (index, text) in texts.iter().enumerate() { @if index > 0 { " or " } code { (text) } } }
            }
        }
    }
}

/// Renders the services of one address.
pub(super) fn host(
    ip: IpAddr,
    port: Option<u16>,
    records: &[(bool, Record)],
    has_history: bool,
    next: Option<&str>,
    now: SystemTime,
) -> Markup {
    let last_seen = records.iter().map(|(_, record)| record.timestamp).max();
    around(
        &ip.to_string(),
        &searched(ip, port),
        html! {
            p class="path" { (link_to_network(ip)) }
            h1 { (ip) }
            @if let Some(last_seen) = last_seen { p class="quiet parts" { (time("Last seen", last_seen, now)) } }
            @if has_history { p { a href={ "/hosts/" (ip) "/timeline" } { "What changed" } } }
            @if let Some(port) = port {
                p { "Only port " (port) ". " a href={ "/hosts/" (ip) } { "Show all ports" } }
            }
            @if records.is_empty() {
                p { @if next.is_some() { "No service on this page." } @else { "No more services." } }
            }
            @for (is_stale, record) in records {
                article {
                    h2 { a href=(url_of(&record.key)) { (service(&record.key)) } }
                    (seen(record, *is_stale, now))
                    (response(record, SHOWN_BYTES))
                }
            }
            (next_page(next))
        },
    )
}

/// Renders the events of one address.
pub(super) fn timeline(ip: IpAddr, events: &[TimelineEvent], next: Option<&str>, now: SystemTime) -> Markup {
    around(
        &format!("What changed on {ip}"),
        &searched(ip, None),
        html! {
            p class="path" { (link_to_network(ip)) " / " a href={ "/hosts/" (ip) } { (ip) } }
            h1 { "What changed on " (ip) }
            @if events.is_empty() {
                p { @if next.is_some() { "No event on this page." } @else { "No more events are recorded." } }
            }
            @for event in events {
                article {
                    h2 {
                        span class="port" { (event.port) } " " (visible(&event.service)) " "
                        span class="event" { (happened(event)) }
                    }
                    p class="quiet parts" {
                        @if event.late { span class="stale" { "late" } " " }
                        @if event.at_or_before { span class="stale" { "at this time or before" } " " }
                        (time(if event.event == Event::Closed { "Removed" } else { "Seen" }, event.time, now))
                        @if let Some(size) = event.response_size {
                            " " span { (count(usize::try_from(size).unwrap_or(usize::MAX), "byte", "bytes")) }
                        }
                    }
                    @if let Some(diff) = &event.diff { (difference(diff)) }
                }
            }
            (next_page(next))
        },
    )
}

/// Returns e.g. `closed (expired)`.
fn happened(event: &TimelineEvent) -> String {
    let reason = event.reason.map(|reason| format!(" ({})", reason.name())).unwrap_or_default();
    format!("{}{reason}", event.event.name())
}

fn difference(diff: &Diff) -> Markup {
    html! {
        @if let Some(text) = &diff.text {
            pre class="text" dir="ltr" tabindex="0" { (visible(text)) }
            @if diff.cut { p class="quiet" { "Some of the changed lines are left out." } }
        }
        p class="quiet" {
            "Lines: +" (diff.lines_added) " −" (diff.lines_removed) ". Bytes: +" (diff.bytes_added) " −" (diff.bytes_removed) "."
        }
    }
}

/// Renders that nothing was found on an address, and where to look instead.
pub(super) fn no_host(ip: IpAddr, port: Option<u16>, problem: &Problem) -> Markup {
    let elsewhere = html! {
        p {
            "Look at "
            @if port.is_some() { a href={ "/hosts/" (ip) } { "all ports of " (ip) } " or at " }
            "the network " (link_to_network(ip)) "."
        }
    };
    explained(&searched(ip, port), problem, elsewhere)
}

/// Renders one record with its whole response.
pub(super) fn record(record: &Record, is_stale: bool, now: SystemTime) -> Markup {
    let key = &record.key;
    around(
        &format!("{} {} {}", key.ip(), key.port(), visible(key.service())),
        key.ip(),
        html! {
            p class="path" {
                @if let Ok(ip) = key.ip().parse() { (link_to_network(ip)) " / " }
                a href={ "/hosts/" (key.ip()) } { (key.ip()) }
            }
            h1 { (service(key)) }
            (seen(record, is_stale, now))
            div class="whole" { (response(record, usize::MAX)) }
        },
    )
}

/// Renders the hosts of a network with their ports.
pub(super) fn network(name: &str, keys: &[Key], next: Option<&str>) -> Markup {
    let hosts: Vec<_> = keys.chunk_by(|one, other| one.ip() == other.ip()).collect();
    around(
        name,
        name,
        html! {
            h1 { (name) }
            @if keys.is_empty() {
                div class="box" {
                    p { "No address of this network has a record." }
                    p { "A record that was stored a moment ago may not be listed yet." }
                }
            } @else {
                p class="quiet" {
                    (count(hosts.len(), "address", "addresses")) " with " (count(keys.len(), "service", "services")) " on this page"
                }
                table {
                    thead { tr { th scope="col" { "Address" } th scope="col" { "Services" } } }
                    tbody { @for host in hosts { (row(host)) } }
                }
            }
            (next_page(next))
        },
    )
}

fn row(host: &[Key]) -> Markup {
    html! {
        tr {
            th scope="row" { a href={ "/hosts/" (host[0].ip()) } { (host[0].ip()) } }
            td { ul class="services" { @for key in host { li { a href=(url_of(key)) { (service(key)) } } } } }
        }
    }
}

/// Renders what went wrong, and what to do.
pub(super) fn problem(searched: &str, problem: &Problem) -> Markup {
    explained(searched, problem, html! {})
}

fn explained(searched: &str, problem: &Problem, elsewhere: Markup) -> Markup {
    let kind = problem.kind();
    around(
        kind.title,
        searched,
        html! {
            h1 { (kind.title) }
            div class="box" {
                p { (inline(&sentence(&visible(problem.detail())))) }
                p { (inline(kind.advice)) " " a href={ (PAGE) "#" (kind.name) } { "More about this problem" } }
                (elsewhere)
            }
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
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/page.css";
                script src="/assets/page.js" defer {}
            }
            body {
                header {
                    div {
                        a class="name" href="/" { "mini-scan" }
                        form role="search" action="/" method="get" {
                            label for="q" { "Address or network" }
                            input id="q" name="q" type="search" value=(visible(searched)) autocomplete="off"
                                placeholder="Address or network" autocapitalize="none" spellcheck="false"
                                autofocus[searched.is_empty()];
                            button { "Search" }
                        }
                    }
                }
                main { (content) }
                footer { a href="/docs" { "Reference of the API" } }
            }
        }
    }
}

/// Returns what a person enters to find this.
fn searched(ip: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| ip.to_string(), |port| SocketAddr::new(ip, port).to_string())
}

fn link_to_network(ip: IpAddr) -> Markup {
    let network = Network::around(ip);
    html! { a href={ "/networks/" (network) } { (network) } }
}

fn service(key: &Key) -> Markup {
    html! { span class="port" { (key.port()) } " " (visible(key.service())) }
}

fn seen(record: &Record, is_stale: bool, now: SystemTime) -> Markup {
    let bytes = record.response_bytes.as_ref().map_or(record.response.len(), Vec::len);
    html! {
        p class="quiet parts" {
            @if is_stale { span class="stale" { "stale" } " " }
            (time("Seen", record.timestamp, now))
            @if bytes > 0 {
                " "
                span { (count(bytes, "byte", "bytes")) @if record.response_bytes.is_some() { ", not text" } }
            }
        }
    }
}

/// The script adds the local time.
fn time(what: &str, timestamp: u64, now: SystemTime) -> Markup {
    let utc = utc(timestamp);
    html! {
        span { (what) " " (age(timestamp, now)) } " "
        time datetime=(utc) { (utc.replace('T', " ").replace('Z', " UTC")) }
    }
}

/// Renders a response as text, and as hex on demand. One that is not text is rendered the other way round.
fn response(record: &Record, shown: usize) -> Markup {
    let bytes = record.response_bytes.as_deref().unwrap_or(record.response.as_bytes());
    let rest = bytes.len().saturating_sub(shown);
    let text = html! { pre class="text" dir="ltr" tabindex="0" { (visible(start(&record.response, shown))) } };
    let hex = html! { pre class="hex" dir="ltr" tabindex="0" { (hex(&bytes[..bytes.len().min(shown)])) } };
    html! {
        @if bytes.is_empty() {
            p class="quiet" { "The response is empty." }
        } @else if record.response_bytes.is_some() {
            (hex)
            details { summary { "Show as text" } (text) }
        } @else {
            (text)
            details { summary { "Show as hex" } (hex) }
        }
        @if rest > 0 {
            p { a href=(url_of(&record.key)) { "Show " (rest) " more bytes" } }
        }
    }
}

fn next_page(url: Option<&str>) -> Markup {
    html! {
        @if let Some(url) = url { nav { a class="button" rel="next" href=(url) { "Next page" } } }
    }
}

fn url_of(key: &Key) -> String {
    // A browser removes these from a path, also if they are encoded.
    if matches!(key.service(), "." | "..") {
        return format!("/hosts/{}?port={}&service={}", key.ip(), key.port(), key.service());
    }
    format!("/hosts/{}/services/{}/{}", key.ip(), key.port(), encode(key.service()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::{Difference, Entry, EntryKey, Sequence};

    fn record_with(response: &str, bytes: Option<Vec<u8>>) -> Record {
        let key = Key::new("1.1.1.7".parse().unwrap(), 80, "\"><script>alert(1)</script>");
        Record { key, timestamp: 1_740_298_125, data_version: 2, response: response.to_owned(), response_bytes: bytes }
    }

    /// Returns the pages on which the response, the service and a difference are.
    fn pages(record_of: &Record) -> [String; 4] {
        let now = SystemTime::UNIX_EPOCH;
        let service = record_of.key.clone();
        let key = EntryKey { service, time: 1_740_298_125, sequence: Sequence::none() };
        let text = Some(format!("+{}", record_of.response));
        let difference = Some(Difference { text, is_cut: true, ..Difference::default() });
        let changed = Entry { difference, ..Entry::new(key, Event::Changed, 0, 0) };
        [
            host([1, 1, 1, 7].into(), None, &[(true, record_of.clone())], true, Some("a-_"), now).into_string(),
            record(record_of, false, now).into_string(),
            network("1.1.1.0/24", std::slice::from_ref(&record_of.key), None).into_string(),
            timeline([1, 1, 1, 7].into(), &[changed.into()], None, now).into_string(),
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
        let [host, _, _, timeline] = pages(&record_with(hostile, None));
        for page in [&host, &timeline] {
            assert!(page.contains("&lt;/pre&gt;&lt;script&gt;") && page.contains("&amp;lt;"), "{page}");
        }
        assert!(host.contains("/services/80/%22%3E%3Cscript%3E"), "{host}");
    }

    #[test]
    fn a_service_called_like_an_event_is_not_marked_as_one() {
        let service = Key::new([1, 1, 1, 7].into(), 80, "SSH closed (deleted)");
        let key = EntryKey { service, time: 7, sequence: Sequence::none() };
        let opened = Entry::new(key, Event::Opened, 0, 0).into();
        let page = timeline([1, 1, 1, 7].into(), &[opened], None, SystemTime::UNIX_EPOCH).into_string();
        let heading = "</span> SSH closed (deleted) <span class=\"event\">opened</span></h2>";
        assert!(page.contains(heading), "{page}");
    }

    #[test]
    fn a_service_that_browsers_remove_from_a_path_is_a_parameter() {
        let url = |service| url_of(&Key::new("1.1.1.7".parse().unwrap(), 80, service));
        assert_eq!(url(".."), "/hosts/1.1.1.7?port=80&service=..");
        assert_eq!(url("a/."), "/hosts/1.1.1.7/services/80/a%2F%2E");
    }

    #[test]
    fn a_binary_response_is_shown_as_hex_first() {
        let [binary, ..] = pages(&record_with("a\u{fffd}", Some(vec![b'a', 0xff])));
        assert!(binary.contains("61 ff") && binary.contains("2 bytes, not text"), "{binary}");
        assert!(binary.contains("<details><summary>Show as text"), "{binary}");
        let [text, ..] = pages(&record_with("hello", None));
        assert!(text.contains("5 bytes<") && text.contains("<details><summary>Show as hex"), "{text}");
    }

    #[test]
    fn a_long_response_is_cut_and_its_own_page_shows_all() {
        let [host, record, ..] = pages(&record_with(&"x".repeat(SHOWN_BYTES + 5), None));
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
