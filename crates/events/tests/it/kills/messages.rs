//! What the producers send, and where each message must end.

use event_pipeline::moment::Moment;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The clients with a route.
pub(super) const CLIENTS: u32 = 8;
/// A client without a route.
const NOBODY: &str = "nobody";
const EVENT_TYPE: &str = "order";
/// 2025-02-19.
const FIRST_TIME: u64 = 1_740_000_000_000;
/// How many messages later a producer repeats one, at most.
const REPEATED_WITHIN: usize = 500;

/// A message. Its number, which is its index, is in its body.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) body: String,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Valid(Event),
    /// It becomes a dead letter with this reason.
    Invalid(&'static str),
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) client: String,
    /// The JSON text.
    pub(super) data: String,
    /// The sort key, unless SQS chooses the time and the id.
    pub(super) key: Option<String>,
    /// An earlier event with the same key. Only one of them is stored, and the other one is a conflict.
    pub(super) rival: Option<usize>,
}

impl Event {
    /// Returns the body of the webhook.
    pub(super) fn webhook(&self) -> String {
        let Event { client, data, .. } = self;
        format!(r#"{{"client_id":"{client}","event_type":"{EVENT_TYPE}","data":{data}}}"#)
    }

    pub(super) fn has_route(&self) -> bool {
        self.client != NOBODY
    }
}

pub(super) struct Messages {
    pub(super) all: Vec<Message>,
    /// The indexes of the messages in the order in which they are sent. Some are sent twice.
    pub(super) order: Vec<usize>,
}

impl Messages {
    pub(super) fn new(count: usize, seed: u64) -> Messages {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut all, mut order, mut last) = (Vec::with_capacity(count), Vec::new(), None);
        for number in 0..count {
            // Each key has at most two bodies.
            let rival = if random.random_ratio(1, 20) { last.take() } else { None };
            let message = match (rival, random.random_range(0..10)) {
                (Some((rival, name)), _) => valid(number, Some(rival), name),
                (None, 0) => invalid(number, &mut random),
                (None, 1..5) => valid(number, None, client(&mut random)),
                _ => {
                    let name = client(&mut random);
                    last = Some((number, name.clone()));
                    valid(number, Some(number), name)
                }
            };
            order.push((number, number));
            let has_own_key = matches!(&message.kind, Kind::Valid(event) if event.key.is_some());
            if has_own_key && random.random_ratio(1, 20) {
                order.push((number + random.random_range(1..REPEATED_WITHIN), number));
            }
            all.push(message);
        }
        order.sort_by_key(|(position, _)| *position);
        Messages { all, order: order.into_iter().map(|(_, number)| number).collect() }
    }

    pub(super) fn events(&self) -> impl Iterator<Item = (usize, &Event)> {
        (0..self.all.len()).filter_map(|number| Some((number, self.event(number)?)))
    }

    pub(super) fn event(&self, number: usize) -> Option<&Event> {
        match &self.all.get(number)?.kind {
            Kind::Valid(event) => Some(event),
            Kind::Invalid(_) => None,
        }
    }

    /// Returns how many events must be stored: one of each pair of rivals.
    pub(super) fn stored(&self) -> usize {
        self.events().filter(|(_, event)| event.rival.is_none()).count()
    }

    /// Returns how many events must be received.
    pub(super) fn received(&self) -> usize {
        self.events().filter(|(_, event)| event.rival.is_none() && event.has_route()).count()
    }
}

fn client(random: &mut StdRng) -> String {
    match random.random_range(0..=CLIENTS) {
        CLIENTS => NOBODY.to_owned(),
        number => format!("client-{number}"),
    }
}

/// Returns a valid event. `id` is the message whose key it has.
fn valid(number: usize, id: Option<usize>, client: String) -> Message {
    // A parser would change the text of the price.
    let data = format!(r#"{{"number": {number}, "price": {number}.50}}"#);
    let (mut own, mut key) = (String::new(), None);
    if let Some(id) = id {
        let time = Moment::from_unix_millis(FIRST_TIME + id as u64).expect("a time").to_string();
        own = format!(r#","event_id":"order-{id}","event_time":"{time}""#);
        key = Some(format!("{time}#order-{id}"));
    }
    let body = format!(r#"{{"client_id":"{client}","event_type":"{EVENT_TYPE}","data":{data}{own}}}"#);
    let rival = id.filter(|id| *id != number);
    Message { body, kind: Kind::Valid(Event { client, data, key, rival }) }
}

fn invalid(number: usize, random: &mut StdRng) -> Message {
    let (reason, body) = match random.random_range(0..8) {
        0 => ("malformed_json", format!(r#"{{"number": {number}"#)),
        1 => ("schema_violation", format!("[{number}]")),
        2 => ("schema_violation", format!(r#"{{"event_type":"order","data":{{"number":{number}}}}}"#)),
        3 => ("schema_violation", format!(r#"{{"client_id":"client-0","event_type":"order","data":"{number}"}}"#)),
        4 => ("schema_violation", format!(r#"{{"client_id":"c","event_type":"t","data":{{}},"event_id":"{number}"}}"#)),
        5 => {
            ("duplicate_member", format!(r#"{{"client_id":"c","event_type":"t","data":{{}},"data":{{"n":{number}}}}}"#))
        }
        6 => (
            "invalid_time",
            format!(r#"{{"client_id":"c","event_type":"t","data":{{"n":{number}}},"event_time":"x"}}"#),
        ),
        _ => {
            let long = "x".repeat(300);
            ("invalid_id", format!(r#"{{"client_id":"{long}","event_type":"t","data":{{"n":{number}}}}}"#))
        }
    };
    Message { body, kind: Kind::Invalid(reason) }
}
