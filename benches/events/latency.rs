//! From sending an event to its receipt at an endpoint, in an open loop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bare::Clients;
use crate::programs::Servers;
use crate::receiver::Receiver;

const PER_SECOND: u32 = 500;
const LASTS: u32 = 15;
const PATIENCE: Duration = Duration::from_secs(60);
/// The polling interval, which is 250 ms, and 250 ms more.
const STREAM_GOAL_MS: f64 = 500.0;
const DIRECT_GOAL_MS: f64 = 100.0;

pub(crate) async fn report(program: &Path, direct: bool) -> anyhow::Result<()> {
    let receiver = Receiver::listen().await?;
    let mut servers = Servers::start(program)?;
    let target = receiver.address().to_string();
    servers.run(&["setup"])?;
    servers.run(&["routes", "add", "acme", &format!("http://{target}/"), "--allow-target", &target])?;
    let mut processor = vec!["processor", "--allow-target", &target];
    processor.extend(direct.then_some("--direct-dispatch"));
    servers.spawn(&processor)?;
    servers.spawn(&["deliver", "--allow-target", &target])?;
    let clients = Arc::new(Clients::connect(&servers.sqs, &servers.dynamo).await?);
    // The first event shows that both programs run.
    clients.send(body(0)).await?;
    receiver.wait_for(1, PATIENCE).await?;
    let sent = send(&clients).await?;
    receiver.wait_for(sent.len() + 1, PATIENCE).await?;
    let mut latencies = Vec::with_capacity(sent.len());
    for (number, at) in &sent {
        let receipt = receiver.of(*number).with_context(|| format!("event {number} did not arrive"))?;
        latencies.push(receipt.saturating_duration_since(*at).as_secs_f64() * 1e3);
    }
    latencies.sort_by(f64::total_cmp);
    let percentile = |hundredths: usize| latencies[(latencies.len() * hundredths / 100).min(latencies.len() - 1)];
    let (how, goal) = if direct { ("direct dispatch", DIRECT_GOAL_MS) } else { ("the stream", STREAM_GOAL_MS) };
    println!(
        "From sending to receipt through {how}, {PER_SECOND} per second: p50 {:.0} ms, p99 {:.0} ms (goal {goal:.0} ms)",
        percentile(50),
        percentile(99)
    );
    Ok(())
}

/// Sends events at fixed times, however long the ones before take. Returns when each one was due.
async fn send(clients: &Arc<Clients>) -> anyhow::Result<Vec<(u32, Instant)>> {
    let (begin, mut sending, mut sent) = (Instant::now(), JoinSet::new(), Vec::new());
    for number in 1..=PER_SECOND * LASTS {
        let due = begin + Duration::from_secs(1) * number / PER_SECOND;
        sleep_until(due).await;
        let clients = Arc::clone(clients);
        sending.spawn(async move { clients.send(body(number)).await });
        sent.push((number, due));
    }
    while let Some(result) = sending.join_next().await {
        result??;
    }
    ensure!(!sent.is_empty(), "nothing was sent");
    Ok(sent)
}

fn body(number: u32) -> String {
    format!(r#"{{"client_id":"acme","event_type":"order.created","data":{{"number":{number}}}}}"#)
}

/// Waits until a condition is true.
pub(crate) async fn until(limit: Duration, what: &str, mut is_true: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !is_true() {
        ensure!(begin.elapsed() < limit, "still waiting after {limit:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
