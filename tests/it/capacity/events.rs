//! Renders what event-pipeline costs, by the size of `data`.

use super::inputs::Inputs;
use super::tables::{header, row, whole};

/// Bytes of keys, hash, times, trace and the names of attributes.
const ITEM: f64 = 310.0;
/// Bytes of a message without `data`.
const MESSAGE: f64 = 100.0;
/// Messages of a full batch.
const BATCH: f64 = 10.0;

/// The inputs of event-pipeline, under the names that the formulas use.
#[derive(Debug, Clone)]
pub(super) struct Events {
    requests_price: f64,
    fair_price: f64,
    payload: f64,
    pub(super) in_flight: f64,
}

impl Events {
    pub(super) fn read(mut take: impl FnMut(&str) -> f64) -> Events {
        Events {
            requests_price: take("million requests to a standard queue") / 1e6,
            fair_price: take("million requests with fair queues, in addition") / 1e6,
            payload: take("payload of one request") * 1024.0,
            in_flight: take("messages in flight per standard queue"),
        }
    }

    /// Returns the requests of an event: a batch is sent, received and deleted.
    fn requests(&self, data: f64) -> f64 {
        let payloads = (BATCH * (data + MESSAGE) / self.payload).ceil();
        (payloads + payloads + 1.0) / BATCH
    }
}

impl Inputs {
    /// Returns the dollars of an event for write units, and for requests.
    fn event(&self, data: f64) -> [f64; 2] {
        [self.units(data + ITEM) * self.units_price, self.events.requests(data) * self.events.requests_price]
    }

    /// Returns the dollars of a month with this many events per second.
    pub(super) fn month_of_events(&self, rate: f64, data: f64) -> f64 {
        self.event(data).iter().sum::<f64>() * rate * self.seconds()
    }
}

pub(super) fn events(inputs: &Inputs) -> String {
    let names = [
        "item",
        "write units",
        "SQS requests",
        "$ write units",
        "$ SQS",
        "**$ per million**",
        "$ more with fair queues",
        "events per second and client",
    ];
    let mut rows = vec![header("`data`", &names)];
    for data in [500.0, 700.0, 2_000.0, 10_000.0, 100_000.0] {
        let ([writes, sqs], units) = (inputs.event(data), inputs.units(data + ITEM));
        let requests = inputs.events.requests(data);
        let million = |dollars: f64| format!("{:.3}", dollars * 1e6);
        let cells = [
            whole(data + ITEM),
            whole(units),
            format!("{requests:.1}"),
            million(writes),
            million(sqs),
            million(writes + sqs),
            million(requests * inputs.events.fair_price),
            whole((inputs.partition_units / units).floor()),
        ];
        rows.push(row(&whole(data), &cells));
    }
    rows.concat()
}
