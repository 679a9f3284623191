//! Renders what reads cost. All of them are eventually consistent, at half a unit.

use super::inputs::Inputs;
use super::tables::{GB, header, row};

impl Inputs {
    fn half_units(&self, bytes: f64) -> f64 {
        0.5 * (bytes / self.read_unit).ceil()
    }

    /// Returns the read units of a query of the index by-ip that returns this many services.
    fn index_query(&self, services: f64) -> f64 {
        self.half_units(services * self.index_entry)
    }

    fn records(&self, services: f64) -> f64 {
        services * self.half_units(self.record())
    }

    /// Returns the read units of a host with this many services.
    pub(super) fn host(&self, services: f64) -> f64 {
        self.index_query(services) + self.records(services)
    }
}

/// Renders what a thousand reads cost.
pub(super) fn reads(inputs: &Inputs) -> String {
    let host = |services: f64| (inputs.index_query(services), inputs.host(services), services);
    let network = 256.0 * inputs.index_query(1.0);
    let lines = [
        ("one record", (f64::NAN, inputs.records(1.0), 1.0)),
        ("a host with 1 service", host(1.0)),
        ("a host with 10 services", host(10.0)),
        ("a host with 50 services", host(50.0)),
        ("a /24 with 20 hosts of 10 services", (network, network + inputs.records(200.0), 200.0)),
    ];
    let names =
        ["units, `minify`", "units", "$ per thousand, `minify`", "$ per thousand", "$ per thousand, bytes out of AWS"];
    let mut rows = vec![header("read", &names)];
    for (name, (minified, whole, records)) in lines {
        let dollars = |units: f64| format!("{:.6}", 1e3 * units * inputs.read_units_price);
        let or_none = |text: String| if minified.is_nan() { "–".to_owned() } else { text };
        let bytes = 1e3 * records * inputs.record() / GB * inputs.aws_tiers[0].1;
        let cells = [
            or_none(format!("{minified:.1}")),
            format!("{whole:.1}"),
            or_none(dollars(minified)),
            dollars(whole),
            format!("{bytes:.6}"),
        ];
        rows.push(row(name, &cells));
    }
    rows.concat()
}
