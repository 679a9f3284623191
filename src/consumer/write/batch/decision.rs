//! What follows from the answer to a call, for each of its statements. Pure.

use crate::consumer::policy::{Policy, policy};
use crate::consumer::ports::{Answer, Put, StoreError, StoreErrorKind, Verb};

/// What follows for one scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// An answer like that to a write of its own.
    Answered(Result<Put, StoreError>),
    /// Nothing was written, and this verb would be the right one.
    Try(Verb),
    /// The answer does not tell whose fault it is; that to a write of its own will.
    Alone(StoreError),
    /// Its deadline came before a call took it.
    Late,
}

/// Judges a call whose statements had these verbs.
pub(super) fn classify(result: Result<Vec<Answer>, StoreError>, verbs: &[Verb]) -> Vec<Next> {
    match result {
        Ok(answers) => {
            let throttled = Throttled::among(&answers);
            answers.into_iter().zip(verbs).map(|(answer, verb)| next(answer, *verb, throttled)).collect()
        }
        Err(error) => verbs.iter().map(|_| refused_as_a_whole(&error)).collect(),
    }
}

/// Whose fault throttling is: statements carry no reasons.
#[derive(Debug, Clone, Copy)]
enum Throttled {
    /// The table took all others that came so far.
    Key,
    Table,
    /// One alone, or several beside some that were taken: hot keys, or a table that takes a part.
    Unclear,
}

impl Throttled {
    fn among(answers: &[Answer]) -> Throttled {
        let is_throttled =
            |answer: &&Answer| matches!(answer, Answer::Failed(error) if error.kind == StoreErrorKind::Throttled);
        let was_taken = |answer: &Answer| matches!(answer, Answer::Put(_) | Answer::OtherVerb);
        match (answers.iter().filter(is_throttled).count(), answers.iter().any(was_taken)) {
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

/// An error of the call that would judge a key, or an item, judges none of these.
fn refused_as_a_whole(error: &StoreError) -> Next {
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

    fn judged(answers: Vec<Answer>) -> Vec<Next> {
        let verbs = vec![Verb::Update; answers.len()];
        classify(Ok(answers), &verbs)
    }

    fn is(kind: StoreErrorKind) -> Next {
        Next::Answered(Err(error(kind)))
    }

    #[test]
    fn each_statement_is_judged_by_its_own_answer() {
        let kinds = [StoreErrorKind::Permission, StoreErrorKind::Conflict, StoreErrorKind::ForeignRow];
        let answers = [STORED, STALE].into_iter().chain(kinds.map(failed)).collect();
        let expected = [STORED, STALE].map(|answer| match answer {
            Answer::Put(put) => Next::Answered(Ok(put)),
            _ => unreachable!("both were put"),
        });
        assert_eq!(judged(answers), expected.into_iter().chain(kinds.map(is)).collect::<Vec<_>>());
    }

    #[test]
    fn a_verb_that_met_the_other_case_becomes_the_other_verb() {
        let next = classify(Ok(vec![Answer::OtherVerb; 2]), &[Verb::Update, Verb::Insert]);
        assert_eq!(next, [Next::Try(Verb::Insert), Next::Try(Verb::Update)]);
    }

    #[test]
    fn a_refused_statement_goes_alone() {
        let refused = StoreErrorKind::Refused;
        assert_eq!(judged(vec![failed(refused), STORED])[0], Next::Alone(error(refused)));
        assert_eq!(judged(vec![failed(refused)]), [Next::Alone(error(refused))]);
    }

    #[test]
    fn one_throttled_beside_one_that_was_not_is_its_keys() {
        for beside in [STORED, STALE, Answer::OtherVerb] {
            assert_eq!(judged(vec![failed(StoreErrorKind::Throttled), beside])[0], is(StoreErrorKind::HotKey));
        }
    }

    #[test]
    fn several_throttled_beside_some_that_were_not_are_asked_again_for_their_reasons() {
        let throttled = StoreErrorKind::Throttled;
        let next = judged(vec![failed(throttled), STORED, failed(throttled)]);
        assert_eq!((&next[0], &next[2]), (&Next::Alone(error(throttled)), &Next::Alone(error(throttled))));
    }

    #[test]
    fn two_or_more_that_are_all_throttled_are_the_tables() {
        let next = judged(vec![failed(StoreErrorKind::Throttled), failed(StoreErrorKind::Throttled)]);
        assert_eq!(next, [is(StoreErrorKind::Throttled), is(StoreErrorKind::Throttled)]);
    }

    #[test]
    fn one_throttled_statement_alone_is_asked_again_for_its_reasons() {
        let throttled = StoreErrorKind::Throttled;
        assert_eq!(judged(vec![failed(throttled)]), [Next::Alone(error(throttled))]);
        // What was refused was not judged by the table's capacity.
        assert_eq!(judged(vec![failed(throttled), failed(StoreErrorKind::Refused)])[0], Next::Alone(error(throttled)));
    }

    #[test]
    fn a_call_that_is_refused_as_a_whole_judges_nobody() {
        for kind in [StoreErrorKind::Refused, StoreErrorKind::HotKey, StoreErrorKind::Conflict] {
            let next = classify(Err(error(kind)), &[Verb::Update, Verb::Insert]);
            assert_eq!(next, [Next::Alone(error(kind)), Next::Alone(error(kind))]);
        }
        for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Throttled, StoreErrorKind::MissingTable] {
            assert_eq!(classify(Err(error(kind)), &[Verb::Update, Verb::Insert]), [is(kind), is(kind)]);
        }
    }
}
