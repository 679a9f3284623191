//! Several consumers run while processes are killed and servers fail. Every acknowledgement is checked while the run goes
//! on: at that moment, the table or the dead-letter topic must have stored what the message asked for. A run in which the
//! planned faults did not happen fails. `make chaos` runs it in full, `make chaos-short` in two minutes.
//!
//! The seed determines the schedule of faults and every random choice within a fault. The timing is real.

mod audit;
mod checks;
mod fleet;
mod log;
mod publisher;
mod schedule;
mod store_faults;
mod stream;
mod world;

use std::time::Duration;

use pubsub_local::Counts;
use tokio::time::Instant;

use checks::Checks;
use log::Log;
use publisher::Publisher;
use schedule::{Plan, schedule};
use store_faults::Mode;
use world::{Outage, World};

/// How long the store is stopped. No process is killed during this time.
const OUTAGE: Duration = Duration::from_secs(60);

#[tokio::test]
#[ignore = "a quarter of an hour; run by `make chaos`"]
async fn a_million_messages_and_a_hundred_kills() {
    let long = Plan {
        messages: 1_000_000,
        messages_per_second: 2_000,
        kills: 110,
        terminations: 40,
        expired_leases: 10_000,
        lost_acks: 2_500,
        store_faults: 60,
        modes: modes(),
        connection_faults: 40,
        pubsub_refusals: 2,
        stream_closes: 20,
        dead_letter_freezes: 10,
        store_restarts: 2,
        recreations: 0,
        refused_items: 0,
        outage_messages: 10_000,
    };
    let recreated = Plan {
        messages: 150_000,
        kills: 15,
        terminations: 5,
        lost_acks: 200,
        store_faults: 15,
        recreations: 10,
        refused_items: 100,
        ..recreated()
    };
    chaos(seed(), &[long, recreated]).await;
}

#[tokio::test]
#[ignore = "two minutes; run by `make chaos-short`"]
async fn two_minutes() {
    let short = Plan {
        messages: 40_000,
        messages_per_second: 2_000,
        kills: 12,
        terminations: 6,
        expired_leases: 1_000,
        lost_acks: 100,
        store_faults: 7,
        modes: modes(),
        connection_faults: 8,
        pubsub_refusals: 1,
        stream_closes: 3,
        dead_letter_freezes: 2,
        store_restarts: 1,
        recreations: 0,
        refused_items: 0,
        outage_messages: 2_000,
    };
    chaos(seed(), &[short, recreated()]).await;
}

/// Returns the plan in which the table is recreated and the store refuses items. It lasts half a minute.
fn recreated() -> Plan {
    Plan {
        messages: 15_000,
        messages_per_second: 1_000,
        kills: 2,
        terminations: 1,
        // The consumers are faster than the publisher, so a killed one may have no message.
        expired_leases: 0,
        lost_acks: 20,
        store_faults: 3,
        modes: modes()[..3].to_vec(),
        connection_faults: 0,
        pubsub_refusals: 0,
        stream_closes: 1,
        dead_letter_freezes: 0,
        store_restarts: 0,
        recreations: 2,
        refused_items: 20,
        outage_messages: 0,
    }
}

fn modes() -> Vec<Mode> {
    match World::writes_batches() {
        true => Mode::BATCH.to_vec(),
        false => Mode::PUT.to_vec(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests have no flags; the environment may choose the seed")]
fn seed() -> u64 {
    let given = std::env::var("SEED").ok().filter(|given| !given.is_empty());
    given.map_or_else(rand::random, |given| given.parse().expect("SEED is a whole number"))
}

/// Runs the plans one after the other, each with its own servers.
async fn chaos(seed: u64, plans: &[Plan]) {
    println!("\nChaos. SEED={seed} replays this schedule.\n");
    let start = Instant::now();
    let mut passed = true;
    for plan in plans {
        let log = Log::new();
        passed &= tokio::select! {
            passed = run(seed, plan, &log) => passed,
            violation = log.first_violation() => {
                panic!("after {} s, {violation}\nSEED={seed}", start.elapsed().as_secs());
            }
        };
    }
    println!("\n{} in {} s, SEED={seed}\n", if passed { "Passed" } else { "FAILED" }, start.elapsed().as_secs());
    assert!(passed, "see the report above; SEED={seed} replays this schedule");
}

/// Runs one plan and returns whether it passed.
async fn run(seed: u64, plan: &Plan, log: &Log) -> bool {
    let start = Instant::now();
    let schedule = schedule(seed, plan, World::consumers());
    let world = World::start(seed, plan, log.clone()).await;
    let mut publisher = Publisher::new(&world.pipeline, seed, plan, log.clone()).await;
    let (pipeline, published) = (world.pipeline.clone(), publisher.progress());
    let ((), world) = tokio::join!(publisher.publish_paced(plan, &pipeline), world.run(&schedule, published));
    let seconds = || start.elapsed().as_secs();
    println!("  {:>4} s  {} messages published, {} faults injected", seconds(), plan.messages, schedule.len());
    world.stop_faults(plan, &mut publisher).await;
    println!("  {:>4} s  all messages settled", seconds());
    let mut outage = None;
    if plan.outage_messages > 0 {
        outage = Some(world.outage(&mut publisher, plan.outage_messages, OUTAGE).await);
        println!("  {:>4} s  an outage of {} s is over", seconds(), OUTAGE.as_secs());
    }
    println!();
    let mut checks = Checks::default();
    world.check(plan, &publisher, &mut checks).await;
    if let Some(outage) = outage {
        check_outage(&outage, plan.outage_messages, &mut checks);
    }
    println!();
    checks.passed()
}

/// Checks that each message of the outage was delivered once.
fn check_outage(outage: &Outage, messages: u64, checks: &mut Checks) {
    let Outage { before, during, after, recovered_in } = outage;
    let redelivered = |counts: &Counts| (counts.nacked, counts.expired);
    checks.that(during.acknowledged - before.acknowledged < messages / 2, "the store was stopped during the outage");
    checks.that(redelivered(after) == redelivered(before), "no message was nacked and no lease expired in the outage");
    let (published, delivered) = (after.published - before.published, after.delivered - before.delivered);
    let once = format!("each of the {published} messages of the outage was delivered once: {delivered} deliveries");
    checks.that(published == messages && delivered == published, once);
    println!("    they were settled {recovered_in:.1?} after the outage");
}
