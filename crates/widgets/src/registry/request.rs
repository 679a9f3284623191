//! What is remembered of a request with an Idempotency-Key. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::operation::{Answer, Operation, Refusal};
use crate::registry::Answered;
use crate::transaction::{Request, StoredRequest};

/// An Idempotency-Key of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    id: String,
}

impl RequestKey {
    /// Callers cannot meet each other's keys. `part` is the number of an operation in a batch.
    pub fn new(caller: &str, key: &str, part: Option<usize>) -> RequestKey {
        let part = part.map(|part| part.to_string()).unwrap_or_default();
        RequestKey { id: hash([caller, key, &part]) }
    }

    pub(super) fn request(
        &self,
        operation: &Operation,
        answer: &Answer,
        now: SystemTime,
        remember_for: Duration,
    ) -> Request {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let stored = StoredRequest { operation: hash_of(operation), answer: answer.clone() };
        Request { id: self.id.clone(), stored, expires_at: seconds(now + remember_for), now: seconds(now) }
    }
}

/// Returns the answer to a request whose id is stored.
pub(super) fn answered(stored: StoredRequest, operation: &Operation) -> Answered {
    let is_repeat = stored.operation == hash_of(operation);
    Answered { answer: if is_repeat { stored.answer } else { Err(Refusal::KeyReused) }, is_repeat }
}

fn hash_of(operation: &Operation) -> String {
    let text = serde_json::to_string(operation).expect("an operation has text, numbers and lists");
    hash([&*text])
}

/// Hashes texts so that no others have the same hash, however they are divided.
fn hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Outcome;
    use crate::widget::{Port, Serial};

    fn disconnect(serial: &str) -> Operation {
        Operation::Disconnect { serial: Serial::try_from(serial.to_owned()).unwrap(), port: Port::P }
    }

    #[test]
    fn callers_keys_and_parts_have_ids_of_their_own() {
        let ids = [("a", "b", None), ("ab", "", None), ("", "ab", None), ("a", "b", Some(1)), ("a", "b1", None)]
            .map(|(caller, key, part)| RequestKey::new(caller, key, part).id);
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn a_key_answers_only_its_own_operation() {
        let key = RequestKey::new("a", "b", None);
        let request = key.request(&disconnect("1"), &Ok(Outcome::Disconnected), UNIX_EPOCH, Duration::from_secs(60));
        assert_eq!((request.now, request.expires_at), (0, 60));
        let answered = |operation| answered(request.stored.clone(), &operation);
        assert_eq!(answered(disconnect("1")), Answered { answer: Ok(Outcome::Disconnected), is_repeat: true });
        assert_eq!(answered(disconnect("2")), Answered { answer: Err(Refusal::KeyReused), is_repeat: false });
    }
}
