//! Medians of all rounds with their spread, stored as JSON.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::measure::{Figure, Sample};
use crate::scenario::{ALL, Scenario};
use crate::spread::Spread;

/// The figures of each scenario, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) rounds: usize,
    /// The number of processors of the machine.
    pub(crate) cores: usize,
    /// Whether it contains all rounds of all scenarios, for programs with the profile of the shipped one.
    pub(crate) is_complete: bool,
    pub(crate) scenarios: BTreeMap<String, BTreeMap<Figure, Spread>>,
}

impl Results {
    /// Combines the rounds. Each ratio is computed within its round, before the median.
    pub(crate) fn of_rounds(rounds: &[BTreeMap<&'static str, Sample>], is_complete: bool) -> Results {
        let with_ratios: Vec<BTreeMap<&str, Sample>> = rounds.iter().map(ratios).collect();
        let figures = |scenario: &Scenario| {
            let samples: Vec<&Sample> = with_ratios.iter().filter_map(|round| round.get(scenario.name)).collect();
            let names = samples.iter().flat_map(|sample| sample.keys().copied());
            let spread =
                |figure| Spread::of(samples.iter().filter_map(|sample| sample.get(&figure).copied()).collect());
            names.filter_map(|figure| Some((figure, spread(figure)?))).collect::<BTreeMap<_, _>>()
        };
        let scenarios = ALL.iter().map(|scenario| (scenario.name.to_owned(), figures(scenario)));
        let scenarios = scenarios.filter(|(_, figures)| !figures.is_empty()).collect();
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Results { rounds: rounds.len(), cores, is_complete, scenarios }
    }

    /// Returns a figure of the named scenario.
    pub(crate) fn of(&self, name: &str, figure: Figure) -> Option<Spread> {
        self.scenarios.get(name)?.get(&figure).copied()
    }

    /// Adds a row that was measured elsewhere, without a spread.
    pub(crate) fn add(&mut self, name: &str, sample: Sample) {
        let spread = |value| Spread { low: value, median: value, high: value };
        let figures = sample.into_iter().map(|(figure, value)| (figure, spread(value))).collect();
        self.scenarios.insert(name.to_owned(), figures);
    }
}

/// Returns one round with the ratios to its own baselines and other rows.
fn ratios<'a>(round: &BTreeMap<&'a str, Sample>) -> BTreeMap<&'a str, Sample> {
    let mut all = round.clone();
    for scenario in ALL {
        let Some(sample) = all.get_mut(scenario.name) else { continue };
        for (ratio, figure, other) in [
            (Figure::CpuRatio, Figure::CpuMicroseconds, Some(scenario.baseline())),
            (Figure::CpuOverFloor, Figure::CpuMicroseconds, scenario.floor),
            (Figure::ThroughputOverFloor, Figure::MessagesPerSecond, scenario.floor),
            (Figure::RelativeThroughput, Figure::MessagesPerSecond, scenario.compared_to),
        ] {
            let other = other.and_then(|other| round.get(other)?.get(&figure).copied());
            if let (Some(value), Some(other)) = (sample.get(&figure).copied(), other) {
                sample.insert(ratio, value / other);
            }
        }
    }
    all
}
