//! Pages: each record exactly once, in any query and for any page size.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mini_scan::dynamo::HostTable;
use mini_scan::hosts::{Filter, Hosts, Network, Query};
use mini_scan::scan::{Key, Scan};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Table, all_of, scan};
use crate::support::dynamo::{item, number, text};

/// Returns the keys of all pages, in order, of the records and of the index. Both must be the same.
async fn pages(hosts: &Hosts<HostTable>, query: &Query, size: usize) -> Vec<Key> {
    let (mut records, mut keys) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let page = hosts.records(query, after.as_ref(), size).await.expect("a page of records");
        assert!(page.items.len() <= size, "{page:?}");
        records.extend(page.items.into_iter().map(|record| record.key));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    after = None;
    loop {
        let page = hosts.keys(query, after.as_ref(), size).await.expect("a page of keys");
        keys.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if matches!(query, Query::Addresses(_, Filter { since: None, .. })) {
        assert_eq!(records, keys);
    }
    records
}

const IPS: [&str; 5] = ["1.1.1.0", "1.1.1.7", "1.1.1.10", "1.1.1.255", "2001:db8::7"];
const SERVICES: [&str; 4] = ["HTTP", "#", "a/b c%", "SSH é"];

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|ip| ip.parse().expect("an address")).collect()
}

fn scans() -> impl Strategy<Value = Vec<Scan>> {
    let keys = (0..IPS.len(), 0..4_u16, 0..SERVICES.len());
    let make = |((ip, port, service), timestamp)| Scan { timestamp, ..scan(IPS[ip], port, SERVICES[service]) };
    prop::collection::btree_map(keys, 0..3_u64, 0..40).prop_map(move |scans| scans.into_iter().map(make).collect())
}

fn filters() -> impl Strategy<Value = Filter> {
    let service = prop::option::of(prop::sample::select(&SERVICES[..]).prop_map(str::to_owned));
    (prop::option::of(0..4_u16), service, prop::option::of(0..3_u64)).prop_map(|(port, service, since)| Filter {
        port,
        service,
        since,
    })
}

fn passes(filter: &Filter, scan: &Scan) -> bool {
    filter.port.is_none_or(|port| port.to_string() == scan.key.port())
        && filter.service.as_deref().is_none_or(|service| service == scan.key.service())
        && filter.since.is_none_or(|since| scan.timestamp >= since)
}

#[test]
fn paging_returns_each_record_of_any_query_exactly_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let strategy = (scans(), filters(), 1..12_usize);
    let property = |(scans, filter, size): (Vec<Scan>, Filter, usize)| {
        runtime.block_on(async {
            let table = Table::new().await;
            table.store(scans.clone()).await;
            let (hosts, _) = table.hosts().await;
            let network: Network = "1.1.1.0/24".parse().expect("a network");
            for (ips, of) in [
                (network.addresses().expect("a small network"), "the network"),
                (ips(&IPS), "a lookup"),
                (ips(&IPS[1..2]), "a host"),
            ] {
                let query = Query::Addresses(ips.clone(), filter.clone());
                let found = pages(&hosts, &query, size).await;
                let is_asked = |scan: &&Scan| ips.iter().any(|ip| ip.to_string() == scan.key.ip());
                let expected: BTreeSet<&str> = scans
                    .iter()
                    .filter(is_asked)
                    .filter(|scan| passes(&filter, scan))
                    .map(|scan| scan.key.as_str())
                    .collect();
                let once: BTreeSet<&str> = found.iter().map(Key::as_str).collect();
                prop_assert_eq!((found.len(), &once), (expected.len(), &expected), "{}", of);
            }
            Ok(())
        })
    };
    TestRunner::new(config).run(&strategy, property).expect("the property holds");
}

#[tokio::test]
async fn paging_through_a_service_returns_each_host_exactly_once() {
    let table = Table::new().await;
    if table.lacks_services() {
        return;
    }
    let ips: Vec<String> = (0..25).map(|n| format!("10.0.0.{n}")).collect();
    table.store(ips.iter().map(|ip| scan(ip, 3389, "RDP"))).await;
    table.store([scan("10.0.0.1", 3389, "HTTP"), scan("10.0.0.1", 80, "RDP")]).await;
    for pk in ["a", "b", "10.0.0.1#03389#RDP"] {
        let service = ("service", text("RDP"));
        let row = item([("pk", text(pk)), ("ip", text("10.0.0.1")), ("port", number(3389)), service]);
        table.dynamo.put(&table.name, row).await;
    }
    let (hosts, _) = table.hosts().await;
    let query = Query::Service { port: 3389, service: "RDP".to_owned(), since: None };
    let mut expected = ips;
    expected.sort();
    for size in [1, 2, 10] {
        let keys = pages(&hosts, &query, size).await;
        assert_eq!(keys.iter().map(Key::ip).collect::<Vec<_>>(), expected, "{size} per page");
    }
}

#[tokio::test]
async fn a_record_that_is_deleted_between_two_pages_does_not_disturb_them() {
    let table = Table::new().await;
    table.store((1..=4).map(|port| scan("1.1.1.7", port, "HTTP"))).await;
    let (hosts, _) = table.hosts().await;
    let first = hosts.records(&all_of("1.1.1.7"), None, 2).await.expect("the first page");
    table.delete(first.next.as_ref().expect("another page")).await;

    let second = hosts.records(&all_of("1.1.1.7"), first.next.as_ref(), 2).await.expect("the second page");

    let ports: Vec<_> = second.items.iter().map(|record| record.key.port()).collect();
    assert_eq!((ports, second.next), (vec!["3", "4"], None));
}

#[tokio::test]
async fn rows_that_are_no_records_are_left_out() {
    let table = Table::new().await;
    table.store([scan("1.1.1.7", 80, "HTTP")]).await;
    for (pk, port) in [("a", 1), ("b", 2), ("1.1.1.7#090#HTTP", 90), ("1.1.1.7#91#HTTP", 91)] {
        let row = item([("pk", text(pk)), ("ip", text("1.1.1.7")), ("port", number(port))]);
        table.dynamo.put(&table.name, row).await;
    }
    let (hosts, _) = table.hosts().await;

    let page = hosts.records(&all_of("1.1.1.7"), None, 1).await.expect("a page");

    assert_eq!(page.items.iter().map(|record| record.key.as_str()).collect::<Vec<_>>(), ["1.1.1.7#80#HTTP"]);
    let rest = hosts.records(&all_of("1.1.1.7"), page.next.as_ref(), 1).await.expect("the rest");
    assert_eq!((rest.items, rest.next), (vec![], None));
}
