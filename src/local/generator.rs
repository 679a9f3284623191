//! An endless, seeded sequence of messages, each with its expected outcome. The generator is pure: the time is an
//! argument. It shares no code with the decoder, so that a comparison with this sequence is a test of the consumer.

mod banners;
mod broken;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub use banners::{Server, version};
pub use broken::REASONS;

use crate::scan::Reason;

const SERVICES: [&str; 3] = ["HTTP", "SSH", "DNS"];
const ADDRESSES: u64 = 255;
const PORTS: u64 = 65_535;
/// The number of keys of the toy scanner: 1.1.1.0 to 1.1.1.254, ports 0 to 65534, three services.
pub const ALL_KEYS: u64 = ADDRESSES * PORTS * SERVICES.len() as u64;
/// A prime that does not divide [`ALL_KEYS`], so that multiplication by it permutes the keys.
const SCATTER: u64 = 15_485_863;

const DAY: u64 = 24 * 60 * 60;
/// How many of the last new scans a duplicate or a late scan can refer to.
const RECENT: usize = 1_000;

/// The shares of messages that are not new scans, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shares {
    pub duplicates: f64,
    pub late: f64,
    pub broken: f64,
}

impl Shares {
    pub fn total(&self) -> f64 {
        self.duplicates + self.late + self.broken
    }
}

/// What the responses of the generated scans look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Responses {
    /// Those of the toy scanner: a number.
    #[default]
    Toy,
    /// Those of real servers, which change rarely and contain times, cookies and nonces. The services differ too.
    Banners,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub payload: Bytes,
    pub kind: Kind,
}

/// The kind of a message, which determines its outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A scan with the current time.
    New(Record),
    /// The same bytes as an earlier new scan.
    Duplicate(Record),
    /// A scan that is older than an earlier scan of the same key.
    Late(Record),
    /// A message with one fault, which must be rejected for this reason.
    Broken(Reason),
}

impl Kind {
    /// Returns the scan in the message, or `None` if it is broken.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Kind::New(record) | Kind::Duplicate(record) | Kind::Late(record) => Some(record),
            Kind::Broken(_) => None,
        }
    }
}

/// A scan, which becomes the record of its key if it is the newest.
///
/// Response and version are a function of key and timestamp. So two scans of a key with the same timestamp are equal,
/// and it does not matter which of them is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub ip: String,
    pub port: u16,
    pub service: &'static str,
    pub timestamp: u64,
    pub data_version: u8,
    pub response: String,
}

impl Record {
    fn new(key: u64, timestamp: u64, responses: Responses) -> Record {
        let index = key * SCATTER % ALL_KEYS;
        let mut hasher = DefaultHasher::new();
        (index, timestamp).hash(&mut hasher);
        let content = hasher.finish();
        let service = index / ADDRESSES / PORTS;
        let (service, response) = match responses {
            Responses::Toy => (SERVICES[service as usize], format!("service response: {}", (content >> 1) % 10_000)),
            Responses::Banners => {
                let server = Server::of(service, index);
                (server.service(), server.banner(index, timestamp))
            }
        };
        Record {
            ip: format!("1.1.1.{}", index % ADDRESSES),
            port: (index / ADDRESSES % PORTS) as u16,
            service,
            timestamp,
            data_version: if content & 1 == 0 { 1 } else { 2 },
            response,
        }
    }

    pub fn key(&self) -> String {
        format!("{}#{}#{}", self.ip, self.port, self.service)
    }

    fn payload(&self) -> Bytes {
        let Record { ip, port, service, timestamp, data_version, .. } = self;
        let data = self.data();
        format!(
            r#"{{"ip":"{ip}","port":{port},"service":"{service}","timestamp":{timestamp},"data_version":{data_version},"data":{data}}}"#
        )
        .into()
    }

    fn data(&self) -> String {
        if self.data_version == 1 {
            format!(r#"{{"response_bytes_utf8":"{}"}}"#, BASE64.encode(&self.response))
        } else {
            format!(r#"{{"response_str":{}}}"#, serde_json::Value::from(self.response.as_str()))
        }
    }
}

/// Generates the sequence. The same seed, shares, keys and times give the same messages.
#[derive(Debug)]
pub struct Generator {
    rng: SmallRng,
    shares: Shares,
    responses: Responses,
    keys: u64,
    recent: VecDeque<RecentScan>,
    broken: u64,
}

#[derive(Debug)]
struct RecentScan {
    key: u64,
    record: Record,
    payload: Bytes,
}

impl Generator {
    /// Creates a generator with `keys` different keys, at most [`ALL_KEYS`].
    pub fn new(seed: u64, shares: Shares, keys: u64) -> Generator {
        Generator {
            rng: SmallRng::seed_from_u64(seed),
            shares,
            responses: Responses::default(),
            keys: keys.clamp(1, ALL_KEYS),
            recent: VecDeque::with_capacity(RECENT),
            broken: 0,
        }
    }

    /// Generates responses that look like these.
    pub fn with_responses(self, responses: Responses) -> Generator {
        Generator { responses, ..self }
    }

    /// Returns the next message; `now` is the time in Unix seconds.
    pub fn next_at(&mut self, now: u64) -> Message {
        let Shares { duplicates, late, broken } = self.shares;
        let draw: f64 = self.rng.random();
        if draw < broken {
            return self.broken(now);
        }
        if draw < broken + late && !self.recent.is_empty() {
            return self.late(now);
        }
        if draw < broken + late + duplicates && !self.recent.is_empty() {
            let RecentScan { record, payload, .. } = self.recent_scan();
            return Message { payload: payload.clone(), kind: Kind::Duplicate(record.clone()) };
        }
        self.new_scan(now)
    }

    fn new_scan(&mut self, now: u64) -> Message {
        let key = self.rng.random_range(0..self.keys);
        let record = Record::new(key, now, self.responses);
        let payload = record.payload();
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(RecentScan { key, record: record.clone(), payload: payload.clone() });
        Message { payload, kind: Kind::New(record) }
    }

    fn late(&mut self, now: u64) -> Message {
        let &RecentScan { key, ref record, .. } = self.recent_scan();
        let newer = record.timestamp;
        let newest = newer.saturating_sub(1);
        let oldest = now.saturating_sub(DAY).min(newest);
        let record = Record::new(key, self.rng.random_range(oldest..=newest), self.responses);
        Message { payload: record.payload(), kind: Kind::Late(record) }
    }

    fn broken(&mut self, now: u64) -> Message {
        let reason = broken::reason(self.broken);
        self.broken += 1;
        let scan = Record::new(self.rng.random_range(0..self.keys), now, self.responses);
        Message { payload: broken::payload(reason, scan, &mut self.rng), kind: Kind::Broken(reason) }
    }

    fn recent_scan(&mut self) -> &RecentScan {
        let chosen = self.rng.random_range(0..self.recent.len());
        &self.recent[chosen]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::scan;

    const NOW: u64 = 1_740_298_125;
    const MAX_SKEW: Duration = Duration::from_secs(DAY);
    const MIXED: Shares = Shares { duplicates: 0.1, late: 0.1, broken: 0.05 };

    fn published() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn messages(seed: u64, shares: Shares, keys: u64, count: usize) -> Vec<Message> {
        let mut generator = Generator::new(seed, shares, keys);
        (0..count as u64).map(|second| generator.next_at(NOW + second)).collect()
    }

    #[test]
    fn without_shares_all_messages_are_new_scans_like_the_toy_scanner() {
        let scans = messages(1, Shares::default(), ALL_KEYS, 200);
        for (second, message) in scans.iter().enumerate() {
            let Kind::New(record) = &message.kind else { panic!("{:?} is not new", message.kind) };
            assert_eq!(record.timestamp, NOW + second as u64);
            assert!(record.ip.starts_with("1.1.1.") && record.port < 65_535, "{record:?}");
            assert!(record.response.starts_with("service response: "), "{record:?}");
        }
        let of = |version| scans.iter().filter(|s| s.kind.record().unwrap().data_version == version).count();
        assert!(of(1) > 50 && of(2) > 50, "both versions should be sent");
    }

    #[test]
    fn both_versions_have_the_documented_format() {
        let record = Record {
            ip: "1.1.1.14".to_owned(),
            port: 59_331,
            service: "SSH",
            timestamp: 1_740_298_124,
            data_version: 2,
            response: "service response: 28".to_owned(),
        };
        let text = r#"{"ip":"1.1.1.14","port":59331,"service":"SSH","timestamp":1740298124,"data_version":2,"data":{"response_str":"service response: 28"}}"#;
        assert_eq!(record.payload(), text);
        let base64 = text.replace(r#"n":2"#, r#"n":1"#).replace(
            r#""response_str":"service response: 28""#,
            r#""response_bytes_utf8":"c2VydmljZSByZXNwb25zZTogMjg=""#,
        );
        assert_eq!(Record { data_version: 1, ..record }.payload(), base64);
    }

    #[test]
    fn messages_have_the_requested_shares() {
        let counts = messages(7, MIXED, 2_000, 20_000).iter().fold([0; 4], |mut counts, message| {
            counts[match message.kind {
                Kind::New(_) => 0,
                Kind::Duplicate(_) => 1,
                Kind::Late(_) => 2,
                Kind::Broken(_) => 3,
            }] += 1;
            counts
        });
        for (count, share) in counts.into_iter().zip([0.75, 0.1, 0.1, 0.05]) {
            let found = f64::from(count) / 20_000.0;
            assert!((found - share).abs() < 0.01, "{counts:?}: {found} instead of {share}");
        }
    }

    #[test]
    fn the_first_ten_broken_messages_cover_every_reason() {
        let shares = Shares { broken: 1.0, ..Shares::default() };
        let broken = messages(3, shares, 10, 10);
        let reasons = broken.iter().map(|message| match message.kind {
            Kind::Broken(reason) => reason,
            _ => panic!("{:?} is not broken", message.kind),
        });
        assert_eq!(reasons.collect::<HashSet<_>>(), HashSet::from(REASONS));
    }

    #[test]
    fn broken_messages_are_rejected_for_their_reason() {
        for message in messages(5, Shares { broken: 1.0, ..Shares::default() }, ALL_KEYS, 2_000) {
            let Kind::Broken(reason) = message.kind else { panic!("{:?} is not broken", message.kind) };
            let start = String::from_utf8_lossy(&message.payload[..message.payload.len().min(300)]).into_owned();
            let found = match scan::decode(&message.payload, published(), MAX_SKEW) {
                // The decoder does not know the size limit of the store.
                Ok(scan) if scan.response.len() > 400 * 1024 => Reason::ItemTooLarge,
                Ok(_) => panic!("not rejected: {start}"),
                Err(rejection) => rejection.reason,
            };
            assert_eq!(found, reason, "{start}");
        }
    }

    #[test]
    fn every_other_message_decodes_to_its_record() {
        for message in messages(6, MIXED, ALL_KEYS, 2_000) {
            let Some(record) = message.kind.record() else { continue };
            let scan = scan::decode(&message.payload, published(), MAX_SKEW).unwrap();
            assert_eq!(scan.key.as_str(), record.key());
            assert_eq!((scan.timestamp, scan.data_version as u8), (record.timestamp, record.data_version));
            assert_eq!((scan.response, scan.response_bytes), (record.response.clone(), None));
        }
    }

    #[test]
    fn banners_decode_and_are_a_function_of_key_and_time() {
        let mut generator = Generator::new(6, MIXED, 500).with_responses(Responses::Banners);
        let (mut seen, mut services) = (HashMap::new(), HashSet::new());
        for at in 0..5_000 {
            let message = generator.next_at(NOW + at / 10);
            let Some(record) = message.kind.record() else { continue };
            let scan = scan::decode(&message.payload, published(), MAX_SKEW).unwrap();
            assert_eq!((scan.key.as_str(), &scan.response), (record.key().as_str(), &record.response));
            let first = seen.entry((record.key(), record.timestamp)).or_insert_with(|| message.payload.clone());
            assert_eq!(*first, message.payload);
            services.insert(record.service);
        }
        assert_eq!(services, HashSet::from(["HTTP", "SSH", "SMTP", "POP3", "FTP"]));
    }

    #[test]
    fn few_broken_messages_are_large() {
        let shares = Shares { broken: 1.0, ..Shares::default() };
        let large = messages(3, shares, 10, 500).iter().filter(|message| message.payload.len() > 400_000).count();
        assert_eq!(large, 2);
    }

    #[test]
    fn all_keys_are_different() {
        let keys: HashSet<_> = (0..100_000).map(|key| Record::new(key, NOW, Responses::Toy).key()).collect();
        assert_eq!(keys.len(), 100_000);
        assert_ne!(SCATTER % 3, 0);
        assert_ne!(SCATTER % 5, 0);
        assert_ne!(SCATTER % 17, 0);
        assert_ne!(SCATTER % 257, 0);
    }

    #[test]
    fn for_many_keys_the_last_message_is_not_the_newest_scan() {
        let mut last = HashMap::new();
        let mut newest = HashMap::new();
        for message in messages(1, MIXED, 2_000, 10_000) {
            let Some(record) = message.kind.record() else { continue };
            last.insert(record.key(), record.timestamp);
            let newest = newest.entry(record.key()).or_insert(0);
            *newest = record.timestamp.max(*newest);
        }
        let wrong = newest.iter().filter(|(key, timestamp)| last[*key] != **timestamp).count();
        assert!(wrong > 100, "only {wrong}");
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_messages(seed: u64) {
            prop_assert_eq!(messages(seed, MIXED, 100, 100), messages(seed, MIXED, 100, 100));
        }

        #[test]
        fn scans_of_one_key_with_one_timestamp_are_equal(seed: u64, keys in 1..20_u64) {
            let mut seen: HashMap<_, Bytes> = HashMap::new();
            let mut generator = Generator::new(seed, MIXED, keys);
            for at in 0..300 {
                let message = generator.next_at(NOW + at / 10);
                let Some(record) = message.kind.record() else { continue };
                let first = seen.entry((record.key(), record.timestamp)).or_insert_with(|| message.payload.clone());
                prop_assert_eq!(&*first, &message.payload);
            }
        }

        #[test]
        fn duplicates_and_late_scans_come_after_the_scan_that_they_refer_to(seed: u64) {
            let mut newest: HashMap<String, u64> = HashMap::new();
            let mut seen = HashSet::new();
            for (second, message) in messages(seed, MIXED, 50, 400).into_iter().enumerate() {
                match &message.kind {
                    Kind::New(record) => {
                        newest.insert(record.key(), record.timestamp);
                        seen.insert(message.payload);
                    }
                    Kind::Duplicate(_) => prop_assert!(seen.contains(&message.payload)),
                    Kind::Late(record) => {
                        prop_assert!(record.timestamp < newest[&record.key()]);
                        prop_assert!(record.timestamp >= NOW + second as u64 - DAY);
                    }
                    Kind::Broken(_) => {}
                }
            }
        }
    }
}
