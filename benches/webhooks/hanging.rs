//! 1,000 endpoints at a fixed rate, of which 100 hang in one of two measurements. As in a reader of a stream, a bounded
//! number of records is in progress, and a record is finished when its delivery is made or stored.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use webhooks::{Delivery, Handled, Origin};

use crate::deliveries::{body, endpoint_id, webhook_id};
use crate::engine::engine;
use crate::load::Protocol;
use crate::receiver::Receiver;
use crate::results::Hanging;

const ENDPOINTS: usize = 1000;
const HANGING: usize = 100;
/// Deliveries per second to all endpoints.
const PER_SECOND: u32 = 2000;
/// The records of a shard that are in progress at the same time.
const RECORDS: usize = 1024;
const MEASURED: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    urls: Vec<String>,
    /// The first endpoints hang.
    hanging: usize,
}

/// What a program prints at its end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Delivered {
    /// Deliveries per second to the endpoints that never hang.
    per_second: f64,
    peak_mb: f64,
}

/// Measures with and without hanging endpoints, in either order.
pub(crate) fn measure(round: usize) -> anyhow::Result<Hanging> {
    let receiver = Receiver::start(Protocol::Http)?;
    let load = |hanging| {
        let port =
            |number| if number < hanging { receiver.hanging } else { receiver.ports[number % receiver.ports.len()] };
        // Hosts of their own have connections of their own.
        let urls = (0..ENDPOINTS).map(|number| format!("http://e{number}.test:{}/hook", port(number))).collect();
        Load { urls, hanging }
    };
    let run = |hanging| crate::measure::<Delivered>("hanging", &load(hanging));
    let (all_healthy, some_hang) = if round.is_multiple_of(2) {
        let all_healthy = run(0)?;
        (all_healthy, run(HANGING)?)
    } else {
        let some_hang = run(HANGING)?;
        (run(0)?, some_hang)
    };
    Ok(Hanging { healthy: all_healthy.per_second, others: some_hang.per_second, peak_mb: some_hang.peak_mb })
}

pub(crate) async fn run(load: Load) -> anyhow::Result<Delivered> {
    let engine = Arc::new(engine(&load.urls)?);
    let mut tasks = JoinSet::new();
    let running = engine.clone();
    tasks.spawn(async move { running.run(pending()).await });
    let (records, delivered, body) = (Arc::new(Semaphore::new(RECORDS)), Arc::new(AtomicU64::new(0)), body());
    let mut order: Vec<_> = (0..load.urls.len()).collect();
    order.shuffle(&mut rand::rng());
    let begin = Instant::now();
    let mut number = 0;
    while begin.elapsed() < MEASURED {
        // Tokio's timers are accurate to a millisecond, so several records begin together.
        let due = begin.elapsed().as_secs_f64() * f64::from(PER_SECOND);
        while (number as f64) < due && begin.elapsed() < MEASURED {
            let permit = records.clone().acquire_owned().await?;
            let endpoint = order[number % order.len()];
            let (engine, delivered, body) = (engine.clone(), delivered.clone(), body.clone());
            let counts = endpoint >= HANGING;
            let record = number as u64;
            tasks.spawn(async move {
                let (endpoint, origin) = (endpoint_id(endpoint), Origin::default());
                let delivery = Delivery { id: webhook_id(record, &endpoint), endpoint, body, origin };
                let handled = engine.deliver(delivery, Instant::now()).await;
                if counts && handled == Handled::Delivered {
                    delivered.fetch_add(1, Ordering::Relaxed);
                }
                drop(permit);
            });
            number += 1;
        }
        while tasks.try_join_next().is_some() {}
        sleep_until(Instant::now() + Duration::from_millis(2)).await;
    }
    let per_second = delivered.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
    Ok(Delivered { per_second, peak_mb: crate::usage::usage("self")?.peak_mb })
}
