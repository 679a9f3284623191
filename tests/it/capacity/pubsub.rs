//! What Pub/Sub bills: each request has a minimum, and retained messages cost storage.

use super::bill::GIB;
use super::inputs::Inputs;
use super::plan::Load;
use super::tables::{header, row};

impl Inputs {
    /// Returns the bytes that Pub/Sub bills for a message, once when it is published and once when it is delivered.
    pub(super) fn billed(&self) -> f64 {
        self.delivered().max(self.request_bytes / self.request_messages)
    }

    /// Returns the GiB that the topic retains for replays.
    pub(super) fn retained(&self, load: &Load) -> f64 {
        load.messages * self.delivered() * self.replay_days * 86_400.0 / GIB
    }
}

/// Renders what a million messages cost, by the messages of a request and the bytes of a response.
pub(super) fn requests(inputs: &Inputs) -> String {
    let responses = [64.0, 500.0, 934.0];
    let mut rows =
        vec![header("messages per request", &responses.map(|bytes| format!("$, response of {bytes} bytes")))];
    for request_messages in [1.0, 2.0, 5.0, 10.0, 100.0] {
        let dollars = |response| {
            let inputs = Inputs { response, request_messages, ..inputs.clone() };
            format!("{:.3}", 2.0 * 1e6 * inputs.billed() / GIB / 1024.0 * inputs.pubsub_price)
        };
        rows.push(row(&request_messages.to_string(), &responses.map(dollars)));
    }
    rows.concat()
}
