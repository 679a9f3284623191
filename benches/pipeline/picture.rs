//! The picture: the CPU of a message beside the bare loop's, a bar a scenario, its spread as a line.

use std::fmt::Write;

use crate::measure::Figure;
use crate::results::{Results, Spread};
use crate::scenario::{ALL, BARE, Measure, Program, Scenario};

const WIDTH: f64 = 860.0;
const LABELS: f64 = 350.0;
const ROW: f64 = 24.0;
const TOP: f64 = 58.0;
/// A longer bar is cut, and its number says how long it is: the scans of 100 KB would make every other one a stub.
const LONGEST: f64 = 2.5;
const FLOOR: &str = "#9aa5b1";
const OURS: &str = "#2f6fde";

pub(crate) fn picture(results: &Results) -> String {
    let rows: Vec<(&Scenario, Spread)> = ALL
        .iter()
        .filter_map(|scenario| Some((scenario, results.of(scenario.name, Figure::CpuRatio)?)))
        .filter(|(scenario, _)| scenario.floor() == BARE)
        .collect();
    let scale = (WIDTH - LABELS - 70.0) / LONGEST;
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"16\">CPU a message, beside the SDK's bare PutItem loop in the same run</text>\n\
         <text x=\"16\" y=\"44\" fill=\"#5a6572\">grey: floors; blue: mini-scan; line: lowest to highest of {} rounds</text>\n",
        results.rounds
    );
    for (number, (scenario, spread)) in rows.iter().enumerate() {
        row(&mut svg, scenario, *spread, TOP + ROW * number as f64, scale);
    }
    let one = LABELS + scale;
    _ = writeln!(
        svg,
        "<line x1=\"{one:.1}\" y1=\"{TOP}\" x2=\"{one:.1}\" y2=\"{bottom}\" stroke=\"#5a6572\" stroke-dasharray=\"4 3\"/>"
    );
    svg.push_str("</svg>\n");
    svg
}

fn row(svg: &mut String, scenario: &Scenario, Spread { low, median, high }: Spread, top: f64, scale: f64) {
    let (text, middle) = (top + 16.0, top + ROW / 2.0);
    let colour = if is_floor(scenario) { FLOOR } else { OURS };
    let at = |ratio: f64| LABELS + scale * ratio.min(LONGEST);
    _ = writeln!(svg, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", LABELS - 10.0, scenario.what);
    let (bar, width) = (top + 4.0, at(median) - LABELS);
    _ = writeln!(svg, "<rect x=\"{LABELS}\" y=\"{bar}\" width=\"{width:.1}\" height=\"16\" fill=\"{colour}\"/>");
    let (from, to) = (at(low), at(high));
    _ = writeln!(svg, "<line x1=\"{from:.1}\" y1=\"{middle}\" x2=\"{to:.1}\" y2=\"{middle}\" stroke=\"black\"/>");
    _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{text}\">{median:.2}</text>", at(high) + 6.0);
}

fn is_floor(scenario: &Scenario) -> bool {
    match scenario.measure {
        Measure::Drain { program, .. } => !matches!(program, Program::Consumer(_)),
        Measure::Writes { .. } => true,
        Measure::Known { .. } | Measure::Hold { .. } | Measure::Start | Measure::Idle { .. } | Measure::Size => false,
    }
}
