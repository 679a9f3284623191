//! Errors of the store: every row of `docs/errors.md` is injected, and the program's decision compared with the page.

mod faults;
mod injections;
mod page;
mod policies;

use std::collections::BTreeSet;

use futures_util::future::join_all;
use mini_scan::consumer::policy::policy;
use mini_scan::consumer::ports::StoreErrorKind;
use tokio::time::timeout;

use self::injections::{INJECTIONS, inject};
use self::page::{Row, Section, rows};
use crate::support::TIMEOUT;

#[test]
fn every_row_of_the_page_has_an_injection_and_every_injection_a_row() {
    let classes: Vec<_> = rows().iter().map(|row| row.class).collect();
    let injected: Vec<_> = INJECTIONS.iter().map(|(class, _)| *class).collect();
    assert_eq!(classes, injected);
    let unique: BTreeSet<_> = classes.iter().collect();
    assert_eq!(unique.len(), classes.len(), "the page has a class twice");
}

#[test]
fn every_kind_of_error_is_on_the_page_in_the_section_of_its_policy() {
    for kind in StoreErrorKind::ALL {
        let name = format!("{kind:?}");
        let sections: Vec<_> = rows().iter().filter(|row| row.error_type == name).map(|row| row.section).collect();
        assert!(!sections.is_empty(), "{name} has no row");
        assert!(sections.iter().all(|section| *section == Section::Error(policy(kind))), "{name}: {sections:?}");
    }
}

#[tokio::test]
async fn the_program_classifies_every_injected_error_as_documented() {
    let rows = rows();
    let failures = join_all(rows.iter().map(async |row| {
        let (_, fault) = INJECTIONS.iter().find(|(class, _)| *class == row.class)?;
        let outcomes = timeout(4 * TIMEOUT, inject(fault, row)).await.expect(row.class);
        assert!(!outcomes.is_empty(), "{}: nothing was injected", row.class);
        let different: Vec<_> = outcomes.into_iter().filter(|outcome| outcome.error_type != row.error_type).collect();
        (!different.is_empty()).then(|| format!("{}: the page has {}: {different:#?}", row.class, row.error_type))
    }));
    let failures: Vec<_> = failures.await.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The injections parse the column "Seen". This test fails if the parser finds nothing.
#[test]
fn the_codes_reasons_and_messages_of_a_row_are_parsed() {
    let named = |class: &str| {
        let row: Row = rows().into_iter().find(|row| row.class == class).expect("a row");
        (row.statuses(), row.codes().len(), row.reasons().len(), row.messages().len())
    };
    assert_eq!(named("Hot key"), (vec![400], 3, 2, 0));
    assert_eq!(named("Clock skew"), (vec![400], 2, 0, 2));
    assert_eq!(named("5xx without a body"), (vec![500, 502, 503, 504], 0, 0, 0));
}
