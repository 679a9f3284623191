//! The cost per million messages at the table, compared with one write per delivery.

use std::fmt::Write;

use crate::load::USUAL_RESPONSE;
use crate::measure::Figure;
use crate::results::Results;
use crate::scenario::{ALL, BARE, Scenario};

/// Dollars per million write units of an on-demand table in us-east-1: <https://aws.amazon.com/dynamodb/pricing/on-demand/>
const MILLION_UNITS: f64 = 0.625;
/// Dollars per GB between the clouds, in either direction; approximately the price of both:
/// <https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer>, <https://cloud.google.com/vpc/network-pricing>
const GB: f64 = 0.1;

/// The cost of one message at the table.
#[derive(Clone, Copy)]
struct Cost {
    units: f64,
    bytes_to: f64,
    bytes_from: f64,
}

impl Cost {
    fn measured(results: &Results, name: &str) -> Option<Cost> {
        let median = |figure| Some(results.of(name, figure)?.median);
        Some(Cost {
            units: median(Figure::UnitsPerMessage)?,
            bytes_to: median(Figure::BytesTo)?,
            bytes_from: median(Figure::BytesFrom)?,
        })
    }

    /// Returns the cost of one write of the bare loop, for a record with a response of this size.
    fn of_one_write(bare: Cost, response_bytes: usize) -> Cost {
        let more = (response_bytes - USUAL_RESPONSE) as f64;
        // The rest of a record is small compared with a started KB.
        let units = (response_bytes as f64 / 1024.0).ceil();
        Cost { units, bytes_to: bare.bytes_to + more, ..bare }
    }

    /// Returns dollars per million messages, for write units and for bytes.
    fn dollars(self) -> (f64, f64) {
        (self.units * MILLION_UNITS, (self.bytes_to + self.bytes_from) / 1e3 * GB)
    }
}

/// Returns dollars per million messages at the table, for write units and for bytes together.
pub(crate) fn dollars(results: &Results, name: &str) -> Option<f64> {
    let (units, bytes) = Cost::measured(results, name)?.dollars();
    Some(units + bytes)
}

pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from(
        "| per million messages | million write units | GB to the table | GB from the table | $ units | $ bytes | $ total | \
         $ with one write per delivery | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let bare = Cost::measured(results, BARE);
    for (scenario, cost) in ALL.iter().filter_map(|row| Some((row, Cost::measured(results, row.name)?))) {
        if let Some(bare) = bare {
            row(&mut text, scenario, cost, Cost::of_one_write(bare, scenario.response_bytes()));
        }
    }
    text
}

fn row(text: &mut String, scenario: &Scenario, cost: Cost, one_write: Cost) {
    let (of_units, of_bytes) = cost.dollars();
    let dollars = of_units + of_bytes;
    let (units, bytes) = one_write.dollars();
    let plain = units + bytes;
    let Cost { units, bytes_to, bytes_from } = cost;
    _ = writeln!(
        text,
        "| {} | {units:.3} | {:.3} | {:.3} | {of_units:.3} | {of_bytes:.3} | {dollars:.3} | {plain:.3} | {:.0} % |",
        scenario.title,
        bytes_to / 1e3,
        bytes_from / 1e3,
        100.0 * dollars / plain,
    );
}
