//! Instances of the API that are killed at random while clients change widgets. Every answer is compared with the table.

use std::net::SocketAddr;
use std::sync::Arc;

use demo::Ports;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use widget_registry::client::Client;
use widget_registry::local::clients::{self, Progress};

use crate::support::program::{Program, Signal};
use crate::support::truth::{Truth, answers, seed, serve};
use crate::support::with_timeout;

const INSTANCES: usize = 3;

struct Plan {
    widgets: u32,
    clients: usize,
    requests: usize,
    kills: usize,
}

#[tokio::test]
async fn every_answer_is_in_the_table_although_the_instances_are_killed() {
    run(Plan { widgets: 200, clients: 12, requests: 3_000, kills: 8 }).await;
}

#[tokio::test]
#[ignore = "many minutes; run by `make check-slow`"]
async fn every_answer_of_200_000_is_in_the_table_although_the_instances_are_killed() {
    run(Plan { widgets: 2_000, clients: 24, requests: 200_000, kills: 80 }).await;
}

async fn run(plan: Plan) {
    let (began, seed) = (Instant::now(), seed());
    let truth = Truth::start().await;
    let ports = Ports::<INSTANCES>::reserve().expect("free ports");
    let mut instances = Vec::new();
    for address in ports.addresses().expect("bound sockets") {
        instances.push(Instance::start(&truth, address).await);
    }
    let apis: Vec<Client> = instances.iter().map(|instance| instance.client.clone()).collect();
    let widgets = truth.create(&apis[0], plan.widgets).await;
    let plan_of_clients = clients::Plan { apis, widgets, clients: plan.clients, requests: plan.requests, seed };
    let progress = Arc::<Progress>::default();
    let work = clients::run(&plan_of_clients, &progress);
    let (report, ()) = tokio::join!(work, kill(&plan, &truth, &mut instances, &progress, seed));
    truth.settle().await;

    let took = began.elapsed().as_secs_f64();
    println!("{} kills in {took:.0} s\nresults: {:#?}", plan.kills, report.results);
    println!("resolved by their key: {}, unknown: {}, repeated: {}", report.resolved, report.unknown, report.repeated);
    assert!(report.resolved > 0 && report.unknown > 0 && report.repeated > 0, "no kill met a request");
    truth.check(&report).await;
}

struct Instance {
    address: SocketAddr,
    client: Client,
    program: Option<Program>,
}

impl Instance {
    async fn start(truth: &Truth, address: SocketAddr) -> Instance {
        let program = serve(&truth.url(), &address.to_string()).start();
        let client = Client::new(&format!("http://{address}"), None).expect("a URL");
        with_timeout("the API answers", answers(&client)).await;
        Instance { address, client, program: Some(program) }
    }

    /// Kills the process, and starts another one on the same port.
    async fn restart(&mut self, truth: &Truth) {
        if let Some(program) = self.program.take() {
            program.signal(Signal::Kill).await;
            program.exit().await;
        }
        let program = serve(&truth.url(), &self.address.to_string()).start();
        self.program = Some(program);
        with_timeout("the API answers", answers(&self.client)).await;
    }
}

/// Kills an instance as often as planned, each time after a random number of requests.
async fn kill(plan: &Plan, truth: &Truth, instances: &mut [Instance], progress: &Progress, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    // Not at the end, when the last requests of the clients may have been answered.
    let after = |random: &mut StdRng| random.random_range(0..plan.requests * 9 / 10);
    let mut kills: Vec<usize> = (0..plan.kills).map(|_| after(&mut random)).collect();
    kills.sort_unstable();
    for after in kills {
        progress.until(after).await;
        let one = random.random_range(0..instances.len());
        instances[one].restart(truth).await;
    }
}
