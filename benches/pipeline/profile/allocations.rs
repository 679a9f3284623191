//! Reads what DHAT writes: allocations, by the stage of a message's way in which they are made.
//!
//! An allocation belongs to the innermost function that a stage names, so that what a library allocates counts for the
//! stage that called it. <https://valgrind.org/docs/manual/dh-manual.html>

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

/// The stages, each with parts of the names of its functions. The first that fits counts.
const STAGES: [(&str, &[&str]); 6] = [
    ("decode", &["mini_scan::scan::"]),
    ("item and statement", &["mini_scan::dynamo::item", "mini_scan::dynamo::batch"]),
    ("settle: lease and ack", &["google_cloud_pubsub::subscriber::lease"]),
    ("Pub/Sub client: stream", &["google_cloud_", "tonic::", "h2::", "prost::", "mini_scan::pubsub"]),
    ("the SDK's send", &["aws_", "hyper::proto::h1", "hyper_util::client", "mini_scan::dynamo"]),
    ("consumer: order, pace, futures", &["mini_scan::consumer", "mini_scan::service", "futures_unordered"]),
];
const ELSEWHERE: &str = "elsewhere";

#[derive(Deserialize)]
struct Profile {
    #[serde(rename = "pps")]
    points: Vec<Point>,
    #[serde(rename = "ftbl")]
    frames: Vec<String>,
}

/// A place that allocates, by those that call it.
#[derive(Deserialize)]
struct Point {
    #[serde(rename = "tbk")]
    blocks: i64,
    #[serde(rename = "tb")]
    bytes: i64,
    /// From the innermost one.
    #[serde(rename = "fs")]
    stack: Vec<usize>,
}

/// Allocations of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allocated {
    pub(super) blocks: i64,
    pub(super) bytes: i64,
}

/// By stage.
pub(super) fn read(text: &str) -> anyhow::Result<BTreeMap<&'static str, Allocated>> {
    let profile: Profile = serde_json::from_str(text).context("DHAT wrote something else")?;
    let stages: Vec<Option<&str>> = profile.frames.iter().map(|frame| stage(frame)).collect();
    let mut sums: BTreeMap<&'static str, Allocated> = BTreeMap::new();
    for Point { blocks, bytes, stack } in profile.points {
        let stage = stack.iter().find_map(|frame| stages.get(*frame).copied().flatten());
        let sum = sums.entry(stage.unwrap_or(ELSEWHERE)).or_default();
        sum.blocks += blocks;
        sum.bytes += bytes;
    }
    Ok(sums)
}

fn stage(frame: &str) -> Option<&'static str> {
    STAGES.iter().find(|(_, parts)| parts.iter().any(|part| frame.contains(part))).map(|(name, _)| *name)
}

/// The stages in the order of a message's way.
pub(super) fn stages() -> impl Iterator<Item = &'static str> {
    STAGES.iter().map(|(name, _)| *name).chain([ELSEWHERE])
}
