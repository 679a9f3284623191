//! The scans of both waves, and the entries that history must have for them. This module is pure.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::json;

use super::{EXPIRY, LIFETIME};

/// The Unix times of the scans.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) first: u64,
    pub(super) second: u64,
    /// Of a scan in the second wave that is older than those of the first.
    late: u64,
    /// Of a scan whose record expires shortly after it is stored.
    pub(super) expiring: u64,
}

impl Times {
    pub(super) fn at(now: u64) -> Times {
        let before = |seconds| now.saturating_sub(seconds);
        Times {
            first: before(3_600),
            second: before(1_800),
            late: before(7_200),
            expiring: before(LIFETIME.as_secs() - EXPIRY.as_secs()),
        }
    }
}

/// What the second wave does with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The response is the same.
    Same,
    /// The response differs only in its date and its cookie, which the masks hide.
    Masked,
    /// The response differs.
    Changed,
    /// Only a copy of the first scan and an older scan with another response arrive.
    Late,
    /// The service is not scanned again, and its record expires.
    Expired,
}

const FATES: [Fate; 4] = [Fate::Same, Fate::Masked, Fate::Changed, Fate::Late];
/// The most services that expire.
const EXPIRING: u32 = 100;

/// A scanned service.
#[derive(Debug)]
pub(super) struct Service {
    number: u32,
    pub(super) fate: Fate,
}

impl Service {
    pub(super) fn ip(&self) -> String {
        format!("1.1.{}.{}", self.number / 256 % 256, self.number % 256)
    }

    pub(super) fn port(&self) -> u16 {
        80 + (self.number / 65_536) as u16
    }

    /// Returns the response of a wave. `software` is what a client would notice.
    fn response(&self, wave: u8, software: u8) -> String {
        let number = self.number;
        format!(
            "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 0{wave}:00:00 GMT\r\nServer: nginx/1.{software}\r\n\
             Set-Cookie: session={wave}{number:08x}\r\n\r\n<title>Service {number}</title>\n"
        )
    }

    /// Returns the message of a scan, in one of both formats.
    fn message(&self, timestamp: u64, response: &str) -> Bytes {
        let (version, data) = if self.number.is_multiple_of(2) {
            (1, json!({ "response_bytes_utf8": BASE64.encode(response) }))
        } else {
            (2, json!({ "response_str": response }))
        };
        let (ip, port) = (self.ip(), self.port());
        json!({
            "ip": ip, "port": port, "service": "HTTP", "timestamp": timestamp, "data_version": version, "data": data,
        })
        .to_string()
        .into()
    }
}

/// All services, with their fates.
pub(super) struct Services {
    pub(super) all: Vec<Service>,
    pub(super) times: Times,
}

impl Services {
    pub(super) fn new(count: NonZeroU32, times: Times) -> Services {
        let expiring = EXPIRING.min(count.get() / 5);
        let fate = |number: u32| match number < expiring {
            true => Fate::Expired,
            false => FATES[number as usize % FATES.len()],
        };
        Services { all: (0..count.get()).map(|number| Service { number, fate: fate(number) }).collect(), times }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the number of entries that history must have.
    pub(super) fn events(&self) -> usize {
        let closed_or_changed = |service: &&Service| matches!(service.fate, Fate::Changed | Fate::Expired);
        self.len() + self.all.iter().filter(closed_or_changed).count()
    }

    /// Returns the time of the first scan of a service.
    pub(super) fn opened(&self, service: &Service) -> u64 {
        if service.fate == Fate::Expired { self.times.expiring } else { self.times.first }
    }

    /// Returns one scan of each service. Those that expire come first.
    pub(super) fn first_wave(&self) -> Vec<Bytes> {
        let mut services: Vec<_> = self.all.iter().collect();
        services.sort_by_key(|service| service.fate != Fate::Expired);
        services.into_iter().map(|service| service.message(self.opened(service), &service.response(1, 0))).collect()
    }

    pub(super) fn second_wave(&self) -> Vec<Bytes> {
        let Times { first, second, late, .. } = self.times;
        self.all
            .iter()
            .flat_map(|service| match service.fate {
                Fate::Same => vec![service.message(second, &service.response(1, 0))],
                Fate::Masked => vec![service.message(second, &service.response(2, 0))],
                Fate::Changed => vec![service.message(second, &service.response(2, 1))],
                Fate::Late => vec![
                    service.message(first, &service.response(1, 0)),
                    service.message(late, &service.response(1, 2)),
                ],
                Fate::Expired => vec![],
            })
            .collect()
    }
}
