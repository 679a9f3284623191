//! Decides what follows from the answer to a batch, for each of its statements. Pure.

use crate::consumer::policy::{Policy, policy};
use crate::consumer::ports::{Answer, Put, StoreError, StoreErrorKind, Verb};

/// What follows for one scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// A result like that of a PutItem.
    Answered(Result<Put, StoreError>),
    /// Nothing was written. The other verb is the right one.
    Try(Verb),
    /// The answer does not tell what is at fault. The answer to a PutItem will.
    Alone(StoreError),
    /// Its deadline passed before it was sent.
    Late,
}

/// Classifies the result of a call whose statements had these verbs.
pub(super) fn classify(result: Result<Vec<Answer>, StoreError>, verbs: &[Verb]) -> Vec<Next> {
    match result {
        Ok(answers) => {
            let throttled = Throttled::among(&answers);
            answers.into_iter().zip(verbs).map(|(answer, verb)| next(answer, *verb, throttled)).collect()
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
    fn among(answers: &[Answer]) -> Throttled {
        let is_throttled =
            |answer: &&Answer| matches!(answer, Answer::Failed(error) if error.kind == StoreErrorKind::Throttled);
        let has_succeeded = |answer: &Answer| matches!(answer, Answer::Put(_) | Answer::OtherVerb);
        match (answers.iter().filter(is_throttled).count(), answers.iter().any(has_succeeded)) {
            (1, true) => Throttled::Key,
            (2.., false) => Throttled::Table,
            (_, _) => Throttled::Unclear,
        }
    }
}

fn next(answer: Answer, verb: Verb, throttled: Throttled) -> Next {
    let error = match answer {
        Answer::Put(put) => return Next::Answered(Ok(put)),
        Answer::OtherVerb => return Next::Try(verb.other()),
        Answer::Failed(error) => error,
    };
    match (error.kind, throttled) {
        (StoreErrorKind::Throttled, Throttled::Key) => {
            Next::Answered(Err(StoreError { kind: StoreErrorKind::HotKey, ..error }))
        }
        (StoreErrorKind::Throttled, Throttled::Unclear) => Next::Alone(error),
        (kind, _) if policy(kind) == Policy::Park => Next::Alone(error),
        _ => Next::Answered(Err(error)),
    }
}

/// An error of the whole call is no decision about a single key or item.
fn failed_as_a_whole(error: &StoreError) -> Next {
    match policy(error.kind) {
        Policy::Retry | Policy::NeedsFix | Policy::SlowDown => Next::Answered(Err(error.clone())),
        Policy::DelayKey | Policy::Park | Policy::DeadLetter => Next::Alone(error.clone()),
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
    use crate::consumer::ports::Stored;

    const STORED: Answer = Answer::Put(Put::Stored);
    const STALE: Answer = Answer::Put(Put::Stale(Stored { timestamp: 9, is_same: false, bytes: 100 }));

    fn error(kind: StoreErrorKind) -> StoreError {
        StoreError { kind, detail: "why".to_owned() }
    }

    fn failed(kind: StoreErrorKind) -> Answer {
        Answer::Failed(error(kind))
    }

    fn classified(answers: Vec<Answer>) -> Vec<Next> {
        let verbs = vec![Verb::Update; answers.len()];
        classify(Ok(answers), &verbs)
    }

    fn is(kind: StoreErrorKind) -> Next {
        Next::Answered(Err(error(kind)))
    }

    #[test]
    fn classifies_each_statement_by_its_own_answer() {
        let kinds = [StoreErrorKind::Permission, StoreErrorKind::Conflict, StoreErrorKind::ForeignRow];
        let answers = [STORED, STALE].into_iter().chain(kinds.map(failed)).collect();
        let expected = [STORED, STALE].map(|answer| match answer {
            Answer::Put(put) => Next::Answered(Ok(put)),
            _ => unreachable!("both were put"),
        });
        assert_eq!(classified(answers), expected.into_iter().chain(kinds.map(is)).collect::<Vec<_>>());
    }

    #[test]
    fn a_wrong_verb_is_followed_by_the_other_one() {
        let next = classify(Ok(vec![Answer::OtherVerb; 2]), &[Verb::Update, Verb::Insert]);
        assert_eq!(next, [Next::Try(Verb::Insert), Next::Try(Verb::Update)]);
    }

    #[test]
    fn a_refused_statement_is_repeated_alone() {
        let refused = StoreErrorKind::Refused;
        assert_eq!(classified(vec![failed(refused), STORED])[0], Next::Alone(error(refused)));
        assert_eq!(classified(vec![failed(refused)]), [Next::Alone(error(refused))]);
    }

    #[test]
    fn one_throttled_statement_beside_a_successful_one_is_a_hot_key() {
        for beside in [STORED, STALE, Answer::OtherVerb] {
            assert_eq!(classified(vec![failed(StoreErrorKind::Throttled), beside])[0], is(StoreErrorKind::HotKey));
        }
    }

    #[test]
    fn several_throttled_statements_beside_a_successful_one_are_repeated_alone() {
        let throttled = StoreErrorKind::Throttled;
        let next = classified(vec![failed(throttled), STORED, failed(throttled)]);
        assert_eq!((&next[0], &next[2]), (&Next::Alone(error(throttled)), &Next::Alone(error(throttled))));
    }

    #[test]
    fn several_throttled_statements_without_a_successful_one_throttle_the_table() {
        let next = classified(vec![failed(StoreErrorKind::Throttled), failed(StoreErrorKind::Throttled)]);
        assert_eq!(next, [is(StoreErrorKind::Throttled), is(StoreErrorKind::Throttled)]);
    }

    #[test]
    fn one_throttled_statement_without_a_successful_one_is_repeated_alone() {
        let throttled = StoreErrorKind::Throttled;
        assert_eq!(classified(vec![failed(throttled)]), [Next::Alone(error(throttled))]);
        // A refused statement does not show whether the table has capacity.
        assert_eq!(
            classified(vec![failed(throttled), failed(StoreErrorKind::Refused)])[0],
            Next::Alone(error(throttled))
        );
    }

    #[test]
    fn an_error_of_the_whole_call_decides_about_no_key_or_item() {
        for kind in [StoreErrorKind::Refused, StoreErrorKind::HotKey, StoreErrorKind::Conflict] {
            let next = classify(Err(error(kind)), &[Verb::Update, Verb::Insert]);
            assert_eq!(next, [Next::Alone(error(kind)), Next::Alone(error(kind))]);
        }
        for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Throttled, StoreErrorKind::MissingTable] {
            assert_eq!(classify(Err(error(kind)), &[Verb::Update, Verb::Insert]), [is(kind), is(kind)]);
        }
    }
}
