//! Parses DHAT's output: allocations by the stage of a message's path.
//!
//! An allocation belongs to the innermost function that a stage names. A library's allocations therefore count for the
//! stage that called it. <https://valgrind.org/docs/manual/dh-manual.html>

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

/// The stages, each with parts of the names of its functions. The first match counts.
const STAGES: [(&str, &[&str]); 6] = [
    ("decode", &["mini_scan::scan::"]),
    ("item and statement", &["mini_scan::dynamo::item", "mini_scan::dynamo::batch"]),
    ("settle: lease and ack", &["google_cloud_pubsub::subscriber::lease"]),
    ("Pub/Sub client: stream", &["google_cloud_", "tonic::", "h2::", "prost::", "mini_scan::pubsub"]),
    ("the SDK's send", &["aws_", "hyper::proto::h1", "hyper_util::client", "mini_scan::dynamo"]),
    ("consumer: ordering, flow control, futures", &["mini_scan::consumer", "mini_scan::service", "futures_unordered"]),
];
const OTHER: &str = "other";

#[derive(Deserialize)]
struct Profile {
    #[serde(rename = "pps")]
    points: Vec<Point>,
    #[serde(rename = "ftbl")]
    frames: Vec<String>,
}

/// An allocation site, with its call stack.
#[derive(Deserialize)]
struct Point {
    #[serde(rename = "tbk")]
    blocks: i64,
    #[serde(rename = "tb")]
    bytes: i64,
    /// Frames, innermost first.
    #[serde(rename = "fs")]
    stack: Vec<usize>,
}

/// Allocations of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allocated {
    pub(super) blocks: i64,
    pub(super) bytes: i64,
}

/// Returns the allocations by stage.
pub(super) fn read(text: &str) -> anyhow::Result<BTreeMap<&'static str, Allocated>> {
    let profile: Profile = serde_json::from_str(text).context("cannot parse DHAT's output")?;
    let stages: Vec<Option<&str>> = profile.frames.iter().map(|frame| stage(frame)).collect();
    let mut sums: BTreeMap<&'static str, Allocated> = BTreeMap::new();
    for Point { blocks, bytes, stack } in profile.points {
        let stage = stack.iter().find_map(|frame| stages.get(*frame).copied().flatten());
        let sum = sums.entry(stage.unwrap_or(OTHER)).or_default();
        sum.blocks += blocks;
        sum.bytes += bytes;
    }
    Ok(sums)
}

fn stage(frame: &str) -> Option<&'static str> {
    STAGES.iter().find(|(_, parts)| parts.iter().any(|part| frame.contains(part))).map(|(name, _)| *name)
}

/// Returns the stages in the order of a message's path.
pub(super) fn stages() -> impl Iterator<Item = &'static str> {
    STAGES.iter().map(|(name, _)| *name).chain([OTHER])
}
