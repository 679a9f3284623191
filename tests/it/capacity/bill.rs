//! The second half of the formulas of `docs/capacity.md`: bytes between the clouds, and dollars per month.

use super::inputs::Inputs;
use super::plan::{Copies, Load, Mode};

pub(super) const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// Bytes that TLS 1.3 adds to a record.
const TLS_RECORD: f64 = 22.0;
/// Bytes of the headers of a TCP segment.
const HEADERS: f64 = 52.0;
/// Bytes of content in a TCP segment.
const SEGMENT: f64 = 1400.0;

/// Returns the bytes on the wire: one TLS record, its TCP segments, and one more segment for an acknowledgement.
pub(super) fn wire(bytes: f64) -> f64 {
    bytes + TLS_RECORD + HEADERS * (1.0 + (bytes / SEGMENT).ceil())
}

/// Returns the dollars for `gib` GiB, by tiers of (upper limit in GiB, dollars per GiB).
pub(super) fn tiered(gib: f64, tiers: &[(f64, f64)]) -> f64 {
    let mut from = 0.0;
    let mut dollars = 0.0;
    for (to, price) in tiers {
        dollars += (gib.min(*to) - from).max(0.0) * price;
        from = *to;
    }
    dollars
}

/// Dollars per month.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bill {
    pub(super) write_units: f64,
    pub(super) index_units: f64,
    pub(super) provisioned: f64,
    pub(super) pubsub: f64,
    pub(super) retained: f64,
    pub(super) from_google: f64,
    pub(super) nat: f64,
    pub(super) from_aws: f64,
    pub(super) consumers: f64,
}

impl Bill {
    /// Returns the total with on-demand write units.
    pub(super) fn total(&self) -> f64 {
        let pubsub = self.pubsub + self.retained;
        self.write_units + self.index_units + pubsub + self.from_google + self.nat + self.from_aws + self.consumers
    }
}

impl Inputs {
    pub(super) fn seconds(&self) -> f64 {
        self.hours * 3600.0
    }

    /// Returns the bytes of one call to the table.
    pub(super) fn request(&self, mode: Mode) -> f64 {
        wire(match mode {
            Mode::Put => self.put_frame + self.credentials + self.record(),
            Mode::Batch => {
                self.call_frame + self.credentials + self.statements_per_call() * (self.statement_frame + self.record())
            }
        })
    }

    /// Returns the bytes per second from Google Cloud to AWS.
    pub(super) fn to_aws(&self, load: &Load) -> f64 {
        self.calls(load) * self.request(load.mode)
    }

    /// Returns the bytes per second from AWS to Google Cloud. The response to a stale write contains the stored record.
    pub(super) fn to_google(&self, load: &Load) -> f64 {
        let stale_share = match load.copies {
            Copies::Meet => 0.0,
            Copies::Miss => self.copies,
        };
        match load.mode {
            Mode::Put => {
                let stale = stale_share * wire(self.stale_answer + self.record());
                self.calls(load) * ((1.0 - stale_share) * wire(self.answer) + stale)
            }
            Mode::Batch => {
                let stale = stale_share * (self.stale_answer - self.answer + self.record());
                self.calls(load) * wire(self.answer + self.statements_per_call() * (self.statement_answer + stale))
            }
        }
    }

    pub(super) fn bill(&self, load: &Load) -> Bill {
        let (units, index_units) = (self.write_units(load), self.index_units(load));
        let gib = |bytes_per_second: f64| bytes_per_second * self.seconds() / GIB;
        let (to_aws, to_google) = (gib(self.to_aws(load)), gib(self.to_google(load)));
        let pubsub_tib = gib(load.messages * self.billed()) / 1024.0;
        let consumer_hour = load.cores as f64 * self.core_price + self.memory_limit(load) / 1024.0 * self.memory_price;
        Bill {
            write_units: units * self.seconds() * self.units_price,
            index_units: index_units * self.seconds() * self.units_price,
            provisioned: (units + index_units) / self.provisioned_use * self.hours * self.provisioned_price,
            pubsub: 2.0 * pubsub_tib * self.pubsub_price,
            retained: self.retained(load) * self.retained_price,
            from_google: tiered(to_aws, &self.google_tiers),
            nat: (to_aws + to_google) * self.nat_price,
            from_aws: tiered(to_google, &self.aws_tiers),
            consumers: self.consumers(load) * consumer_hour * self.hours,
        }
    }

    /// Returns the dollars per month to store `records` records and their backup.
    pub(super) fn storage(&self, records: f64) -> f64 {
        records * (self.record() + self.record_overhead) / GIB * self.keep_price
    }
}
