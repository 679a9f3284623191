//! Several consumers run while processes are killed and servers fail. At the end, the table, its stream and the dead
//! letters are checked. `make chaos` runs it in full, `make chaos-short` in two minutes.
//!
//! The seed determines the schedule of faults and every random choice within a fault. The timing is real.

mod checks;
mod fleet;
mod observer;
mod publisher;
mod schedule;
mod store_faults;
mod world;

use std::time::Duration;

use pubsub_local::Counts;
use tokio::time::Instant;

use checks::Checks;
use publisher::Publisher;
use schedule::{Plan, schedule};
use world::{Outage, World};

/// How long the store is stopped. No process is killed during this time.
const OUTAGE: Duration = Duration::from_secs(60);
/// How soon after the outage the consumers must be at this rate.
const AT_FULL_RATE_WITHIN: Duration = Duration::from_secs(5);
const MIN_MESSAGES_PER_SECOND: u64 = 500;

#[tokio::test]
#[ignore = "a quarter of an hour; run by `make chaos`"]
async fn a_million_messages_and_a_hundred_kills() {
    let plan = Plan {
        messages: 1_000_000,
        kills: 110,
        terminations: 40,
        store_faults: 60,
        connection_faults: 40,
        dead_letter_freezes: 10,
        outage_messages: 10_000,
    };
    chaos(plan).await;
}

#[tokio::test]
#[ignore = "two minutes; run by `make chaos-short`"]
async fn two_minutes() {
    chaos(Plan {
        messages: 60_000,
        kills: 12,
        terminations: 6,
        store_faults: 10,
        connection_faults: 8,
        dead_letter_freezes: 2,
        outage_messages: 2_000,
    })
    .await;
}

#[expect(clippy::disallowed_methods, reason = "the tests have no flags; the environment may choose the seed")]
fn seed() -> u64 {
    let given = std::env::var("SEED").ok().filter(|given| !given.is_empty());
    given.map_or_else(rand::random, |given| given.parse().expect("SEED is a whole number"))
}

async fn chaos(plan: Plan) {
    let (seed, start) = (seed(), Instant::now());
    println!("\nChaos. SEED={seed} replays this schedule.\n");
    let schedule = schedule(seed, &plan, World::consumers());
    let world = World::start(seed).await;
    let mut publisher = Publisher::new(&world.pipeline, seed, plan.messages + plan.outage_messages).await;
    let (pipeline, published) = (world.pipeline.clone(), publisher.progress());
    let ((), world) = tokio::join!(publisher.publish_paced(plan.messages, &pipeline), world.run(&schedule, published));
    println!(
        "  {:>4} s  {} messages published, {} faults injected",
        start.elapsed().as_secs(),
        plan.messages,
        schedule.len()
    );
    world.stop_faults().await;
    println!("  {:>4} s  all messages settled", start.elapsed().as_secs());
    let outage = world.outage(&mut publisher, plan.outage_messages, OUTAGE).await;
    println!("  {:>4} s  an outage of {} s is over\n", start.elapsed().as_secs(), OUTAGE.as_secs());

    let mut checks = Checks::default();
    world.check(&publisher, &mut checks).await;
    check_outage(&outage, plan.outage_messages, &mut checks);
    let passed = checks.passed();
    println!("\n{} in {} s, SEED={seed}\n", if passed { "Passed" } else { "FAILED" }, start.elapsed().as_secs());
    assert!(passed, "see the report above; SEED={seed} replays this schedule");
}

/// Checks that each message of the outage was delivered once and written soon after the outage.
fn check_outage(outage: &Outage, messages: u64, checks: &mut Checks) {
    let Outage { before, during, after, recovered_in } = outage;
    let redelivered = |counts: &Counts| (counts.nacked, counts.expired);
    checks.that(during.acknowledged - before.acknowledged < messages / 2, "the store was stopped during the outage");
    checks.that(redelivered(after) == redelivered(before), "no message was nacked and no lease expired in the outage");
    let (published, delivered) = (after.published - before.published, after.delivered - before.delivered);
    let once = format!("each of the {published} messages of the outage was delivered once: {delivered} deliveries");
    checks.that(published == messages && delivered == published, once);
    let bound = AT_FULL_RATE_WITHIN + Duration::from_secs(messages / MIN_MESSAGES_PER_SECOND);
    checks.that(
        *recovered_in < bound,
        format_args!("they were settled {recovered_in:.1?} after the outage, bound {bound:?}"),
    );
}
