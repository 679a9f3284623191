//! Several clients of two instances, while DynamoDB and the network fail. Every answer is compared with the table.

mod proxy;

use std::collections::BTreeSet;
use std::sync::Arc;

use widget_registry::local::clients::{self, Plan, Progress};

use crate::support::truth::{Truth, seed};
use proxy::{Fault, Proxy};

#[tokio::test]
async fn all_answers_are_right_although_transactions_conflict_and_answers_are_lost() {
    let seed = seed();
    let truth = Truth::start().await;
    let proxy = Proxy::before(&truth.url(), seed).await;
    let instances = [truth.serve(&proxy.url).await, truth.serve(&proxy.url).await];
    let widgets = truth.create(&instances[0].client, 120).await;
    let apis = instances.iter().map(|instance| instance.client.clone()).collect();
    let plan = Plan { apis, widgets, clients: 12, requests: 1_500, seed };
    proxy.set_failing(true);
    let report = clients::run(&plan, &Arc::<Progress>::default()).await;
    proxy.set_failing(false);
    // The last requests that arrive late have no connection that could be waited for.
    truth.settle().await;

    let counts = proxy.counts();
    println!("faults of transactions: {counts:?}\nresults: {:#?}", report.results);
    println!("resolved by their key: {}, unknown: {}, repeated: {}", report.resolved, report.unknown, report.repeated);
    let happened: BTreeSet<Fault> = counts.keys().copied().collect();
    assert_eq!(happened, Fault::OF_WRITES.into(), "all faults happen");
    assert!(report.repeated > 0 && report.count("connect", "200") > 0, "{:?}", report.results);
    truth.check(&report).await;
}
