//! Decides what follows from the results of a batch, for each of its statements. Pure.

use crate::consumer::policy::{Policy, policy};
use crate::consumer::ports::{Attempt, StoreError, StoreErrorKind, Verb};

/// What follows for one scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// The result is like that of a PutItem.
    Done(Attempt),
    /// Nothing was written. Try the other verb, which is the right one.
    Try(Verb),
    /// Send a PutItem. The result does not tell what is at fault, but that of a PutItem will.
    Put,
}

/// Classifies the result of a call whose statements had these verbs.
pub(super) fn classify(result: Result<Vec<Option<Attempt>>, StoreError>, verbs: &[Verb]) -> Vec<Next> {
    match result {
        Ok(attempts) => {
            let throttled = Throttled::among(&attempts);
            attempts.into_iter().zip(verbs).map(|(attempt, verb)| next(attempt, *verb, throttled)).collect()
        }
        Err(error) => verbs.iter().map(|_| failed_as_a_whole(&error)).collect(),
    }
}

/// What was throttled. Errors of statements contain no reasons.
#[derive(Debug, Clone, Copy)]
enum Throttled {
    /// One key: the only throttled statement, beside others that succeeded.
    Key,
    /// The table: several statements were throttled and none succeeded.
    Table,
    /// One statement without others that succeeded, or several beside others that did: hot keys, or a table at its limit.
    Unclear,
}

impl Throttled {
    fn among(attempts: &[Option<Attempt>]) -> Throttled {
        let is_throttled =
            |attempt: &&Option<Attempt>| matches!(attempt, Some(Err(error)) if error.kind == StoreErrorKind::Throttled);
        let has_succeeded = |attempt: &Option<Attempt>| !matches!(attempt, Some(Err(_)));
        match (attempts.iter().filter(is_throttled).count(), attempts.iter().any(has_succeeded)) {
            (1, true) => Throttled::Key,
            (2.., false) => Throttled::Table,
            (_, _) => Throttled::Unclear,
        }
    }
}

fn next(attempt: Option<Attempt>, verb: Verb, throttled: Throttled) -> Next {
    let error = match attempt {
        None => return Next::Try(verb.other()),
        Some(Ok(answer)) => return Next::Done(Ok(answer)),
        Some(Err(error)) => error,
    };
    match (error.kind, throttled) {
        (StoreErrorKind::Throttled, Throttled::Key) => {
            Next::Done(Err(StoreError { kind: StoreErrorKind::HotKey, ..error }))
        }
        (StoreErrorKind::Throttled, Throttled::Unclear) => Next::Put,
        (kind, _) if policy(kind) == Policy::Park => Next::Put,
        _ => Next::Done(Err(error)),
    }
}

/// An error of the whole call is no decision about a single key or item.
fn failed_as_a_whole(error: &StoreError) -> Next {
    match policy(error.kind) {
        Policy::Retry | Policy::NeedsFix | Policy::SlowDown => Next::Done(Err(error.clone())),
        Policy::DelayKey | Policy::Park | Policy::DeadLetter => Next::Put,
    }
}

impl Verb {
    fn other(self) -> Verb {
        match self {
            Verb::Update => Verb::Insert,
            Verb::Insert => Verb::Update,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::ports::{Answer, Record};

    const STORED: Option<Attempt> = Some(Ok(Answer::Stored));
    const STALE: Option<Attempt> = Some(Ok(Answer::Stale(Record { timestamp: 9, is_same: false, bytes: 100 })));

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError { kind, detail: "why".to_owned() }
    }

    fn failed(kind: StoreErrorKind) -> Option<Attempt> {
        Some(Err(error(kind)))
    }

    fn classified(attempts: Vec<Option<Attempt>>) -> Vec<Next> {
        let verbs = vec![Verb::Update; attempts.len()];
        classify(Ok(attempts), &verbs)
    }

    fn is(kind: StoreErrorKind) -> Next {
        Next::Done(Err(error(kind)))
    }

    #[test]
    fn classifies_each_statement_by_its_own_answer() {
        let kinds = [StoreErrorKind::Permission, StoreErrorKind::Conflict, StoreErrorKind::ForeignRow];
        let attempts: Vec<_> = [STORED, STALE].into_iter().chain(kinds.map(failed)).collect();
        let expected: Vec<_> = attempts.iter().flatten().cloned().map(Next::Done).collect();
        assert_eq!(classified(attempts), expected);
    }

    #[test]
    fn a_wrong_verb_is_followed_by_the_other_one() {
        let next = classify(Ok(vec![None; 2]), &[Verb::Update, Verb::Insert]);
        assert_eq!(next, [Next::Try(Verb::Insert), Next::Try(Verb::Update)]);
    }

    #[test]
    fn a_refused_statement_is_repeated_alone() {
        let refused = StoreErrorKind::Refused;
        assert_eq!(classified(vec![failed(refused), STORED])[0], Next::Put);
        assert_eq!(classified(vec![failed(refused)]), [Next::Put]);
    }

    #[test]
    fn one_throttled_statement_beside_a_successful_one_is_a_hot_key() {
        for beside in [STORED, STALE, None] {
            assert_eq!(classified(vec![failed(StoreErrorKind::Throttled), beside])[0], is(StoreErrorKind::HotKey));
        }
    }

    #[test]
    fn several_throttled_statements_beside_a_successful_one_are_repeated_alone() {
        let throttled = StoreErrorKind::Throttled;
        let next = classified(vec![failed(throttled), STORED, failed(throttled)]);
        assert_eq!((&next[0], &next[2]), (&Next::Put, &Next::Put));
    }

    #[test]
    fn several_throttled_statements_without_a_successful_one_throttle_the_table() {
        let next = classified(vec![failed(StoreErrorKind::Throttled), failed(StoreErrorKind::Throttled)]);
        assert_eq!(next, [is(StoreErrorKind::Throttled), is(StoreErrorKind::Throttled)]);
    }

    #[test]
    fn one_throttled_statement_without_a_successful_one_is_repeated_alone() {
        let throttled = StoreErrorKind::Throttled;
        assert_eq!(classified(vec![failed(throttled)]), [Next::Put]);
        // A refused statement does not show whether the table has capacity.
        assert_eq!(classified(vec![failed(throttled), failed(StoreErrorKind::Refused)])[0], Next::Put);
    }

    #[test]
    fn an_error_of_the_whole_call_decides_about_no_key_or_item() {
        for kind in [StoreErrorKind::Refused, StoreErrorKind::HotKey, StoreErrorKind::Conflict] {
            let next = classify(Err(error(kind)), &[Verb::Update, Verb::Insert]);
            assert_eq!(next, [Next::Put, Next::Put]);
        }
        for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Throttled, StoreErrorKind::MissingTable] {
            assert_eq!(classify(Err(error(kind)), &[Verb::Update, Verb::Insert]), [is(kind), is(kind)]);
        }
    }
}
