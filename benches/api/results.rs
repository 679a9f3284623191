//! The figures of all rounds, stored as JSON.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::load::Figures;
use crate::spread::Spread;

/// What reads a host: the API, or the SDK alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Api,
    Bare,
}

/// Which loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loop {
    Closed,
    Open,
}

/// The measurements of one host in one round.
pub(crate) type Round = BTreeMap<(Side, Loop), Figures>;

/// A measured figure of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Requests per second of CPU time, relative to the bare reads.
    PerCpuOverBare,
    /// Requests per second, relative to the bare reads.
    RateOverBare,
    PerSecond,
    BarePerSecond,
    CpuMicroseconds,
    BareCpuMicroseconds,
    /// The rate of the open loop.
    OpenPerSecond,
    P50Ms,
    BareP50Ms,
    P99Ms,
    BareP99Ms,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) rounds: usize,
    /// The number of processors of the machine.
    pub(crate) cores: usize,
    /// Whether it contains all rounds, for programs with the profile of the shipped one.
    pub(crate) is_complete: bool,
    /// The figures by the number of services of the host.
    pub(crate) hosts: BTreeMap<u8, BTreeMap<Figure, Spread>>,
}

impl Results {
    /// Combines the rounds of each host. Each ratio is computed within its round, before the median.
    pub(crate) fn of(rounds: &BTreeMap<u8, Vec<Round>>, is_complete: bool) -> Results {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let hosts = rounds.iter().map(|(services, rounds)| (*services, spreads(rounds))).collect();
        Results { rounds: rounds.values().map(Vec::len).max().unwrap_or_default(), cores, is_complete, hosts }
    }
}

fn spreads(rounds: &[Round]) -> BTreeMap<Figure, Spread> {
    let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (figure, value) in rounds.iter().filter_map(figures).flatten() {
        values.entry(figure).or_default().push(value);
    }
    values.into_iter().filter_map(|(figure, values)| Some((figure, Spread::of(values)?))).collect()
}

/// Returns the figures of a complete round.
fn figures(round: &Round) -> Option<[(Figure, f64); 11]> {
    let of = |side, pace| round.get(&(side, pace));
    let (api, bare) = (of(Side::Api, Loop::Closed)?, of(Side::Bare, Loop::Closed)?);
    let (open, bare_open) = (of(Side::Api, Loop::Open)?, of(Side::Bare, Loop::Open)?);
    Some([
        (Figure::PerCpuOverBare, bare.cpu_microseconds / api.cpu_microseconds),
        (Figure::RateOverBare, api.per_second / bare.per_second),
        (Figure::PerSecond, api.per_second),
        (Figure::BarePerSecond, bare.per_second),
        (Figure::CpuMicroseconds, api.cpu_microseconds),
        (Figure::BareCpuMicroseconds, bare.cpu_microseconds),
        (Figure::OpenPerSecond, open.per_second),
        (Figure::P50Ms, open.p50_ms),
        (Figure::BareP50Ms, bare_open.p50_ms),
        (Figure::P99Ms, open.p99_ms),
        (Figure::BareP99Ms, bare_open.p99_ms),
    ])
}
