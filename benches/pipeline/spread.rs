//! The median of several rounds, with their spread.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread { low, median, high })
    }
}

/// Returns the median, with the lowest and highest value if they differ.
pub(crate) fn cell(Spread { low, median, high }: Spread, digits: usize) -> String {
    let text = |value: f64| format!("{value:.digits$}");
    match text(low) == text(high) {
        true => text(median),
        false => format!("{} ({}–{})", text(median), text(low), text(high)),
    }
}
