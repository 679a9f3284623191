//! The probe that shows whether the store of records answers.

use ops::Probe;

use crate::hosts::{Error, ErrorKind, Hosts, Records};
use crate::scan::Key;

/// Reads a record that does not exist.
pub async fn probe<R: Records>(hosts: &Hosts<R>) -> Probe {
    // An address for documentation, of which no scan exists.
    let key = Key::new([192, 0, 2, 0].into(), 0, "mini-scan probe");
    shown(hosts.record(&key).await.err())
}

fn shown(failure: Option<Error>) -> Probe {
    let Some(Error { kind, detail }) = failure else { return Probe::Answered };
    match kind {
        ErrorKind::Unavailable => Probe::Unanswered { kind: kind.name(), detail },
        ErrorKind::NotAuthorized | ErrorKind::MissingTable => Probe::Unusable { kind: kind.name(), detail },
        ErrorKind::Throttled | ErrorKind::MissingIndex(_) | ErrorKind::UnfinishedIndex(_) | ErrorKind::Refused => {
            Probe::Answered
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_throttles_or_refuses_a_request_answers() {
        let shown = |kind| shown(Some(Error { kind, detail: "why".to_owned() }));
        for kind in [ErrorKind::Throttled, ErrorKind::Refused] {
            assert_eq!(shown(kind), Probe::Answered);
        }
        for kind in [ErrorKind::NotAuthorized, ErrorKind::MissingTable] {
            assert_eq!(shown(kind), Probe::Unusable { kind: kind.name(), detail: "why".to_owned() });
        }
        let silence = Probe::Unanswered { kind: "Unavailable", detail: "why".to_owned() };
        assert_eq!(shown(ErrorKind::Unavailable), silence);
    }
}
