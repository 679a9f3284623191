//! Medians with their spread, of all rounds; kept as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::measure::{Figure, Sample};
use crate::scenario::{ALL, Scenario};

/// The figures of each scenario, by its name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) rounds: usize,
    pub(crate) scenarios: BTreeMap<String, BTreeMap<Figure, Spread>>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        Some(Spread { low, median: values[values.len() / 2], high })
    }
}

impl Results {
    /// Each ratio is taken within its round, before the median.
    pub(crate) fn of(rounds: &[BTreeMap<&'static str, Sample>]) -> Results {
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
        Results { rounds: rounds.len(), scenarios }
    }

    pub(crate) fn of_scenario(&self, scenario: &Scenario, figure: Figure) -> Option<Spread> {
        self.scenarios.get(scenario.name)?.get(&figure).copied()
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<Results> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} holds no results", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// One round with the ratios to its own floors.
fn ratios<'a>(round: &BTreeMap<&'a str, Sample>) -> BTreeMap<&'a str, Sample> {
    let mut all = round.clone();
    for scenario in ALL {
        let (Some(sample), Some(floor)) = (all.get_mut(scenario.name), round.get(scenario.floor())) else { continue };
        for (figure, ratio) in
            [(Figure::CpuMicroseconds, Figure::CpuRatio), (Figure::MessagesASecond, Figure::RateRatio)]
        {
            if let (Some(value), Some(floor)) = (sample.get(&figure).copied(), floor.get(&figure)) {
                sample.insert(ratio, value / floor);
            }
        }
    }
    all
}
