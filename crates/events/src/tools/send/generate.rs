//! Generated events, some of them invalid. The same seed gives the same events. Pure.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

const EVENT_TYPES: [&str; 4] = ["order.created", "order.paid", "order.shipped", "order.cancelled"];

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    pub seed: u64,
    pub clients: u32,
    /// From 0 to 1.
    pub bad_share: f64,
}

/// An endless source of bodies.
#[derive(Debug)]
pub(super) struct Generator {
    mix: Mix,
    random: StdRng,
    number: u64,
}

impl Generator {
    pub(super) fn new(mix: Mix) -> Generator {
        Generator { mix, random: StdRng::seed_from_u64(mix.seed), number: 0 }
    }
}

impl Iterator for Generator {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.number += 1;
        let (number, random) = (self.number, &mut self.random);
        let client = format!("client-{:04}", random.random_range(1..=self.mix.clients));
        let event_type = EVENT_TYPES[random.random_range(0..EVENT_TYPES.len())];
        let data = json!({ "number": number, "amount": random.random_range(1..100_000) });
        let body = match random.random_bool(self.mix.bad_share).then(|| random.random_range(0..4)) {
            None => json!({ "client_id": client, "event_type": event_type, "data": data }),
            Some(0) => json!({ "client_id": client, "event_type": event_type, "data": number.to_string() }),
            Some(1) => json!({ "event_type": event_type, "data": data }),
            Some(2) => json!({ "client_id": client, "event_type": number, "data": data }),
            Some(_) => return Some(format!("{{\"client_id\":\"{client}\",\"event_type\"")),
        };
        Some(body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Envelope, decode};
    use crate::schema::Schemas;

    const ENVELOPE: Envelope<'static> =
        Envelope { message_id: "m-1", sent: 1_700_000_000_000, moved: None, trace: None };

    #[test]
    fn the_same_seed_gives_the_same_events() {
        let some = |seed| Generator::new(Mix { seed, clients: 5, bad_share: 0.3 }).take(50).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn the_share_of_invalid_events_is_as_asked() {
        let schemas = Schemas::default();
        let invalid = |bad_share| {
            let bodies = Generator::new(Mix { seed: 1, clients: 3, bad_share }).take(1_000);
            bodies.filter(|body| decode(body.as_bytes(), &ENVELOPE, &schemas).is_err()).count()
        };
        assert_eq!((invalid(0.0), invalid(1.0)), (0, 1_000));
        // 300 are expected, with a standard deviation of 15. The seed is always the same.
        assert!((200..400).contains(&invalid(0.3)));
    }
}
