//! What follows from an error of the store: every row of `docs/errors.md`, brought about for real.

mod faults;
mod injections;
mod page;
mod policies;

use std::collections::BTreeSet;

use futures_util::future::join_all;
use mini_scan::consumer::policy::policy;
use mini_scan::consumer::ports::StoreErrorKind;

use self::injections::{INJECTIONS, bring_about};
use self::page::{Row, Section, rows};
use crate::support::within_patience;

#[test]
fn every_row_of_the_page_is_injected_and_every_injection_is_a_row() {
    let classes: Vec<_> = rows().iter().map(|row| row.class).collect();
    let injected: Vec<_> = INJECTIONS.iter().map(|(class, _)| *class).collect();
    assert_eq!(classes, injected);
    let unique: BTreeSet<_> = classes.iter().collect();
    assert_eq!(unique.len(), classes.len(), "a class twice");
}

#[test]
fn every_kind_stands_on_the_page_under_its_policy() {
    for kind in StoreErrorKind::ALL {
        let name = format!("{kind:?}");
        let sections: Vec<_> = rows().iter().filter(|row| row.error_type == name).map(|row| row.section).collect();
        assert!(!sections.is_empty(), "{name} has no row");
        assert!(sections.iter().all(|section| *section == Section::Error(policy(kind))), "{name}: {sections:?}");
    }
}

#[tokio::test]
async fn every_row_is_what_the_program_makes_of_it() {
    let rows = rows();
    let failures = join_all(rows.iter().map(async |row| {
        let (_, fault) = INJECTIONS.iter().find(|(class, _)| *class == row.class)?;
        let seen = within_patience(row.class, bring_about(fault, row)).await;
        assert!(!seen.is_empty(), "{}: nothing was injected", row.class);
        let wrong: Vec<_> = seen.into_iter().filter(|seen| seen.error_type != row.error_type).collect();
        (!wrong.is_empty()).then(|| format!("{}: the page says {}: {wrong:#?}", row.class, row.error_type))
    }));
    let failures: Vec<_> = failures.await.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The rows say what is seen in words that the injections read; this holds that none is read as nothing.
#[test]
fn a_row_that_names_codes_is_read_whole() {
    let named = |class: &str| {
        let row: Row = rows().into_iter().find(|row| row.class == class).expect("a row");
        (row.statuses(), row.codes().len(), row.reasons().len(), row.messages().len())
    };
    assert_eq!(named("Hot key"), (vec![400], 3, 2, 0));
    assert_eq!(named("Clock skew"), (vec![400], 2, 0, 2));
    assert_eq!(named("5xx without a body"), (vec![500, 502, 503, 504], 0, 0, 0));
}
