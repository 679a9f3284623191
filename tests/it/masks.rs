//! Computes the tables of `docs/history.md` about masks from the shipped masks and the generator, and compares them with
//! the page.

use mini_scan::changes::masks::{Addition, BUILT_IN, Masks};
use mini_scan::local::generator::{Server, version};

use crate::support::program::{Exit, mini_scan};

const PAGE: &str = include_str!("../../docs/history.md");

const DAY: u64 = 24 * 60 * 60;
const START: u64 = 1_760_000_000;
const SERVICES: u64 = 50;
const RESCANS: u64 = 30;

/// Rescans, and how many of them count as changed.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    rescans: u64,
    changed: u64,
    without_masks: u64,
    with_masks: u64,
    with_own: u64,
}

/// The built-in masks, and these with the mask that the page shows as an example.
struct Sets {
    built_in: Masks,
    with_own: Masks,
}

impl Sets {
    fn new() -> Sets {
        let (_, example) = PAGE.split_once("--mask page-duration='").expect("the page has an example");
        let (pattern, _) = example.split_once('\'').expect("the pattern ends");
        let own = Addition { name: "page-duration".to_owned(), pattern: pattern.to_owned() };
        let set = |additions: &[Addition]| Masks::new(BUILT_IN, additions, &[]).expect("the masks are valid");
        Sets { built_in: set(&[]), with_own: set(&[own]) }
    }
}

impl Counts {
    fn add(self, other: Counts) -> Counts {
        Counts {
            rescans: self.rescans + other.rescans,
            changed: self.changed + other.changed,
            without_masks: self.without_masks + other.without_masks,
            with_masks: self.with_masks + other.with_masks,
            with_own: self.with_own + other.with_own,
        }
    }

    fn row(self, name: &str) -> String {
        let share = |count: u64| format!("{:.1} %", count as f64 / self.rescans as f64 * 100.0);
        let Counts { rescans, changed, without_masks, with_masks, with_own } = self;
        let shares = [changed, without_masks, with_masks, with_own].map(share).join(" | ");
        format!("| {name} | {rescans} | {shares} |\n")
    }
}

/// Scans services of this kind once a day.
fn rescans(server: Server, sets: &Sets) -> Counts {
    let mut counts = Counts::default();
    let first = SERVICES * server as u64;
    for id in first..first + SERVICES {
        // Not at the same time every day.
        let at = |day: u64| START + day * DAY + (day * 7_919 + id * 104_729) % 3600;
        for day in 1..=RESCANS {
            let [before, now] = [day - 1, day].map(|day| server.banner(id, at(day)));
            let has_changed = version(id, at(day - 1)) != version(id, at(day));
            let differs = |masks: &Masks| masks.apply(before.as_bytes()) != masks.apply(now.as_bytes());
            let (with_masks, with_own) = (differs(&sets.built_in), differs(&sets.with_own));
            assert!(!has_changed || with_own, "a mask hides a change of {server:?}: {before} {now}");
            counts = counts.add(Counts {
                rescans: 1,
                changed: has_changed.into(),
                without_masks: (before != now).into(),
                with_masks: with_masks.into(),
                with_own: with_own.into(),
            });
        }
    }
    counts
}

fn name(server: Server) -> &'static str {
    match server {
        Server::StaticPage => "HTTP: static page",
        Server::PageWithSession => "HTTP: page with a session cookie",
        Server::PageBehindCdn => "HTTP: page behind a CDN",
        Server::PageWithNonce => "HTTP: page with nonces and request ids",
        Server::PageWithDuration => "HTTP: page that shows a duration",
        Server::Smtp => "SMTP: without a time",
        Server::SmtpWithTime => "SMTP: with the time",
        Server::Pop3 => "POP3: with a challenge",
        Server::Ftp => "FTP: with the time and the number of the user",
        Server::Ssh => "SSH",
    }
}

fn shares() -> String {
    let sets = Sets::new();
    let all = Server::ALL.map(|server| (server, rescans(server, &sets)));
    let head = "| Server | Rescans | Changed | Without masks | Built-in masks | With `page-duration` |\n|---|---|---|---|---|---|\n";
    let rows = all.iter().map(|(server, counts)| counts.row(name(*server)));
    let sum = all.iter().fold(Counts::default(), |sum, (_, counts)| sum.add(*counts));
    format!("{head}{}{}", rows.collect::<String>(), sum.row("All"))
}

fn masks() -> String {
    let rows = BUILT_IN.iter().map(|mask| format!("| `{}` | {} |\n", mask.name, mask.hides));
    format!("| Mask | Hides |\n|---|---|\n{}", rows.collect::<String>())
}

/// Returns the table of this name from the page.
fn on_page(name: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("<!-- {name} -->")).unwrap_or_else(|| panic!("no table {name:?}"));
    rest.split_once("<!-- end -->").expect("a table has an end").0.trim()
}

#[test]
fn the_page_has_the_masks_and_the_shares_that_they_give() {
    let tables = [("masks", masks()), ("shares", shares())];
    let different: String = tables
        .iter()
        .filter(|(name, table)| table.trim() != on_page(name))
        .map(|(name, table)| format!("\n<!-- {name} -->\n\n{table}\n<!-- end -->\n"))
        .collect();
    assert!(different.is_empty(), "docs/history.md should have, between these lines:\n{different}");
}

async fn masks_of(arguments: &[&str]) -> Exit {
    mini_scan(["changes", "masks"]).arguments(arguments.iter().copied()).run().await
}

#[tokio::test]
async fn the_masks_are_listed_with_their_id() {
    let exit = masks_of(&["--mask", "own=a+", "--no-mask", "csp-nonce,http-etag"]).await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let names: Vec<_> = exit.output.stdout.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(
        names,
        ["ftp-greeting-time", "http-cookie", "http-date", "http-request-id", "mail-greeting-time", "own"]
    );
    let own = Addition { name: "own".to_owned(), pattern: "a+".to_owned() };
    let masks = Masks::new(BUILT_IN, &[own], &["csp-nonce".to_owned(), "http-etag".to_owned()]).unwrap();
    assert_eq!(exit.output.stderr, [format!("The id of these masks is {}.", masks.id())]);
}

#[tokio::test]
async fn a_response_is_shown_behind_the_masks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("response");
    let response = b"HTTP/1.1 200 OK\r\nDate: now\r\nAge: 7\r\n\r\n\x1b[2Jmade in 0.1 s\xff";
    std::fs::write(&file, response).unwrap();
    let launch = mini_scan(["changes", "masks", "--on", file.to_str().unwrap()]);
    let exit = launch.env("MINI_SCAN_MASKS", "own=made in (?<time>[0-9.]+) s\nother=x{1,2}").run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let shown = ["HTTP/1.1 200 OK", "Date: [http-date]", "Age: [http-date]", "", "\\u{1b}[2Jmade in [own] s\u{fffd}"];
    assert_eq!(exit.output.stdout, shown);
    let size = response.len();
    assert_eq!(
        exit.output.stderr,
        [
            "http-date hides 4 bytes in 2 ranges.".to_owned(),
            "own hides 3 bytes in 1 range.".to_owned(),
            format!("Together the masks hide 7 bytes of {size}."),
        ]
    );
}

#[tokio::test]
async fn masks_that_cannot_work_are_wrong_usage() {
    for (arguments, part) in [
        (["--mask", "own=("], "the mask own has no valid pattern: "),
        (["--mask", "own"], "a mask is NAME=REGEX"),
        (["--mask", "own=.+"], "would hide whole responses"),
        (["--no-mask", "own"], "no built-in mask is called \"own\""),
    ] {
        let exit = masks_of(&arguments).await;
        assert_eq!(exit.code, Some(2), "{exit:#?}");
        assert!(exit.output.stderr.join("\n").contains(part), "{exit:#?}");
    }
    let exit = masks_of(&["--on", "missing"]).await;
    assert_eq!((exit.code, exit.output.stderr.len()), (Some(1), 1), "{exit:#?}");
}
