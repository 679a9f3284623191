//! Renders what all programs cost, each at the same rates.

use super::inputs::Inputs;
use super::plan::{Copies, Load, Mode};
use super::tables::{SIZES, header, range, row, short, whole};
use super::{history, webhooks, widgets};

/// The size of `data` of an event, in bytes.
const DATA: f64 = 500.0;
/// The services of a host that a request reads.
const SERVICES: f64 = 10.0;

pub(super) fn programs(inputs: &Inputs) -> String {
    let load = |(messages, cores): (f64, usize), mode, copies| Load { messages, mode, copies, cores };
    let both = |size: (f64, usize), mode| {
        [Copies::Meet, Copies::Miss].map(|copies| inputs.bill(&load(size, mode, copies)).total())
    };
    let readers = |size: (f64, usize)| {
        let load = load(size, Mode::Put, Copies::Miss);
        [history::month(inputs, &load), webhooks::month(inputs, &load)]
    };
    let reads = |(rate, _): (f64, usize)| rate * inputs.host(SERVICES) * inputs.seconds() * inputs.read_units_price;
    let mut rows = vec![header("program", &SIZES.map(|(rate, _)| format!("{} per second", whole(rate))))];
    let mut add = |name: &str, value: &dyn Fn((f64, usize)) -> [f64; 2]| {
        rows.push(row(name, &SIZES.map(|size| range(value(size).map(short)))));
    };
    add("[consumers](#three-sizes), PutItem, messages", &|size| both(size, Mode::Put));
    add("[consumers](#three-sizes), batches, messages", &|size| both(size, Mode::Batch));
    add("[history](#the-history) of these messages", &|size| [readers(size)[0]; 2]);
    add("[webhooks](#webhooks) for these messages", &|size| [readers(size)[1]; 2]);
    add("**mini-scan with PutItem, history and webhooks**", &|size| {
        both(size, Mode::Put).map(|consumers| consumers + readers(size).iter().sum::<f64>())
    });
    add("[API](#reads), requests for a host with 10 services", &|size| [reads(size); 2]);
    add("[event-pipeline](#events), events of 500 bytes", &|(rate, _)| [inputs.month_of_events(rate, DATA); 2]);
    add("[widget-registry](#widgets), updates", &|(rate, _)| [widgets::month(inputs, rate); 2]);
    rows.concat()
}
