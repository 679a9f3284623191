//! The probe that shows whether the store of widgets answers.

use dynamodb::{StoreError, StoreErrorKind};
use ops::Probe;

use crate::ports::Store;
use crate::registry::{Failure, Registry};
use crate::widget::Serial;

/// Reads a widget.
pub async fn probe<S: Store>(registry: &Registry<S>) -> Probe {
    let serial = Serial::try_from("widget-registry probe".to_owned()).expect("it is printable");
    shown(registry.get(&serial).await.err().as_ref().map(error_of))
}

fn shown(error: Option<&StoreError>) -> Probe {
    use StoreErrorKind::{
        Clock, Conflict, Credentials, ForeignRow, HotKey, Misconfigured, MissingTable, OpenFiles, Permission, Refused,
        Throttled, Unavailable,
    };
    let Some(StoreError { kind, detail }) = error else { return Probe::Answered };
    let (name, detail) = (kind.name(), detail.clone());
    match kind {
        Unavailable => Probe::Unanswered { kind: name, detail },
        Clock | Credentials | MissingTable | Permission => Probe::Unusable { kind: name, detail },
        Conflict | ForeignRow | HotKey | Misconfigured | OpenFiles | Refused | Throttled => Probe::Answered,
    }
}

pub(super) fn error_of(failure: &Failure) -> &StoreError {
    match failure {
        Failure::Store(error) | Failure::Unknown(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_throttles_answers_and_one_without_permission_is_unusable() {
        let shown = |kind| shown(Some(&StoreError { kind, detail: "why".to_owned() }));
        assert_eq!(shown(StoreErrorKind::Throttled), Probe::Answered);
        let unusable = Probe::Unusable { kind: "Permission", detail: "why".to_owned() };
        assert_eq!(shown(StoreErrorKind::Permission), unusable);
        let silence = Probe::Unanswered { kind: "Unavailable", detail: "why".to_owned() };
        assert_eq!(shown(StoreErrorKind::Unavailable), silence);
    }
}
