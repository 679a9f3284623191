//! The picture: a bar chart of CPU per message relative to the bare loop, with the spread as a line.

use std::fmt::Write;

use crate::measure::Figure;
use crate::results::Results;
use crate::scenario::{ALL, BARE, Scenario};
use crate::spread::Spread;

const WIDTH: f64 = 900.0;
const LABELS: f64 = 390.0;
const ROW: f64 = 24.0;
const TOP: f64 = 66.0;
const AXIS: f64 = 48.0;
/// Longer bars are cut and show their value: otherwise the scans of 100 KB would shorten all other bars to stubs.
const LONGEST: f64 = 2.5;
const TICKS: [f64; 6] = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5];

const TITLE: &str = "CPU per message relative to the SDK's bare PutItem loop, lower is better";

/// The colours follow the viewer's light or dark mode, also when the SVG is embedded as an image.
const STYLE: &str = "\
.background { fill: #ffffff }
text { fill: #1f2328 }
.note { fill: #59636e }
.grid { stroke: #d1d9e0 }
.reference { stroke: #59636e; stroke-dasharray: 4 3 }
.spread { stroke: #1f2328 }
.baseline { fill: #9aa5b1 }
.consumer { fill: #2f6fde }
@media (prefers-color-scheme: dark) {
.background { fill: #0d1117 }
text { fill: #f0f6fc }
.note { fill: #9198a1 }
.grid { stroke: #3d444d }
.reference { stroke: #9198a1 }
.spread { stroke: #f0f6fc }
.baseline { fill: #6e7781 }
.consumer { fill: #4493f8 }
}
";

pub(crate) fn picture(results: &Results) -> String {
    let rows: Vec<(&Scenario, Spread)> = ALL
        .iter()
        .filter_map(|scenario| Some((scenario, results.of(scenario.name, Figure::CpuRatio)?)))
        .filter(|(scenario, _)| scenario.baseline() == BARE)
        .collect();
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + AXIS;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"title\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title id=\"title\">{TITLE}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"background\" width=\"100%\" height=\"100%\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\">CPU per message (lower is better)</text>\n\
         <text class=\"note\" x=\"16\" y=\"48\">grey: baselines; blue: mini-scan; bar: median, line: lowest to highest \
         of {} rounds</text>\n",
        results.rounds
    );
    axis(&mut svg, bottom);
    for (number, (scenario, spread)) in rows.iter().enumerate() {
        row(&mut svg, scenario, *spread, TOP + ROW * number as f64);
    }
    let one = at(1.0);
    _ = writeln!(svg, "<line class=\"reference\" x1=\"{one:.1}\" y1=\"{TOP}\" x2=\"{one:.1}\" y2=\"{bottom}\"/>");
    svg.push_str("</svg>\n");
    svg
}

/// Returns the horizontal position of a ratio.
fn at(ratio: f64) -> f64 {
    LABELS + (WIDTH - LABELS - 70.0) / LONGEST * ratio.min(LONGEST)
}

fn axis(svg: &mut String, bottom: f64) {
    for tick in TICKS {
        let (x, label) = (at(tick), bottom + 18.0);
        _ = writeln!(svg, "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>");
        _ = writeln!(svg, "<text class=\"note\" x=\"{x:.1}\" y=\"{label}\" text-anchor=\"middle\">{tick}</text>");
    }
    let (middle, label) = (f64::midpoint(at(0.0), at(LONGEST)), bottom + 38.0);
    _ = writeln!(svg, "<text class=\"note\" x=\"{middle:.1}\" y=\"{label}\" text-anchor=\"middle\">{TITLE}</text>");
}

fn row(svg: &mut String, scenario: &Scenario, Spread { low, median, high }: Spread, top: f64) {
    let (text, middle) = (top + 16.0, top + ROW / 2.0);
    let class = if scenario.is_baseline() { "baseline" } else { "consumer" };
    _ = writeln!(svg, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", LABELS - 10.0, scenario.title);
    let (bar, width) = (top + 4.0, at(median) - LABELS);
    _ = writeln!(svg, "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{bar}\" width=\"{width:.1}\" height=\"16\"/>");
    let (from, to) = (at(low), at(high));
    _ = writeln!(svg, "<line class=\"spread\" x1=\"{from:.1}\" y1=\"{middle}\" x2=\"{to:.1}\" y2=\"{middle}\"/>");
    _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{text}\">{median:.2}</text>", to + 6.0);
}
