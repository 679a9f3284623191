//! Several consumers, servers and faults of every kind, with truth at the end: `make chaos`, and a short one for CI.
//!
//! The script of what is done comes from the seed, and so do the dice of every fault; what it meets is as it happens.

mod fleet;
mod publisher;
mod script;
mod verdict;
mod weather;
mod witness;
mod world;

use std::time::Duration;

use pubsub_local::Counts;
use tokio::time::Instant;

use publisher::Publisher;
use script::{Plan, script};
use verdict::Decision;
use world::{Outage, World};

/// The store is away for so long, and nothing is killed meanwhile.
const OUTAGE: Duration = Duration::from_secs(60);
/// After it, and beyond what the messages that it held up take at this rate.
const AT_FULL_RATE_WITHIN: Duration = Duration::from_secs(5);
const LEAST_A_SECOND: u64 = 500;

#[tokio::test]
#[ignore = "a quarter of an hour; run by `make chaos`"]
async fn a_million_messages_and_a_hundred_kills() {
    let plan = Plan {
        messages: 1_000_000,
        kills: 110,
        terminations: 40,
        weathers: 60,
        wires: 40,
        letterless: 10,
        in_outage: 10_000,
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
        weathers: 10,
        wires: 8,
        letterless: 2,
        in_outage: 2_000,
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
    println!("\nChaos. The same script again: SEED={seed}\n");
    let script = script(seed, &plan, World::consumers());
    let world = World::begin(seed).await;
    let mut publisher = Publisher::new(&world.pipeline, seed, plan.messages + plan.in_outage).await;
    let (pipeline, published) = (world.pipeline.clone(), publisher.progress());
    let ((), world) = tokio::join!(publisher.publish_paced(plan.messages, &pipeline), world.play(&script, published));
    println!(
        "  {:>4} s  {} messages published, {} things done",
        start.elapsed().as_secs(),
        plan.messages,
        script.len()
    );
    world.calm_down().await;
    println!("  {:>4} s  all of them settled", start.elapsed().as_secs());
    let outage = world.outage(&mut publisher, plan.in_outage, OUTAGE).await;
    println!("  {:>4} s  an outage of {} s is over\n", start.elapsed().as_secs(), OUTAGE.as_secs());

    let mut verdict = Decision::default();
    world.classify(&publisher, &mut verdict).await;
    classify(&outage, plan.in_outage, &mut verdict);
    let passed = verdict.passed();
    println!("\n{} in {} s, SEED={seed}\n", if passed { "Passed" } else { "FAILED" }, start.elapsed().as_secs());
    assert!(passed, "see the report above; SEED={seed} plays the same script");
}

/// The outage cost nothing: each message of that time was delivered once, and written soon after it.
fn classify(outage: &Outage, messages: u64, verdict: &mut Decision) {
    let Outage { before, during, after, recovered } = outage;
    let given_back = |counts: &Counts| (counts.nacked, counts.expired);
    verdict.is_so(during.acknowledged - before.acknowledged < messages / 2, "the store was away in the outage");
    verdict.is_so(given_back(after) == given_back(before), "the outage gave nothing back");
    let (published, delivered) = (after.published - before.published, after.delivered - before.delivered);
    let once = format!("the {published} messages of the outage were delivered {delivered} times: each has attempt 1");
    verdict.is_so(published == messages && delivered == published, once);
    let bound = AT_FULL_RATE_WITHIN + Duration::from_secs(messages / LEAST_A_SECOND);
    verdict.is_so(*recovered < bound, format_args!("they were settled {recovered:.1?} after it, bound {bound:?}"));
}
