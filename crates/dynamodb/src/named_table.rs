//! A problem with a table as a person reads it: what failed, why, and what to do. Pure.

use crate::Problem;

/// A table and its flag, as the errors of a program name it.
#[derive(Debug, Clone, Copy)]
pub struct NamedTable<'a> {
    /// Its command `setup` creates the table, and `check` checks it.
    pub program: &'static str,
    pub name: &'a str,
    pub flag: &'static str,
}

impl NamedTable<'_> {
    /// Returns a text of one to three lines. `endpoint` is the server that `--dynamo-endpoint` chose.
    pub fn text(self, endpoint: Option<&str>, problem: &Problem) -> String {
        let NamedTable { program, name, flag } = self;
        let at = endpoint.map(|url| format!(" at {url} (--dynamo-endpoint)")).unwrap_or_default();
        let thing = format!("table {name} ({flag})");
        match problem {
            Problem::NotFound => format!("{thing} does not exist{at}.\nCreate it: {program} setup {flag} {name}"),
            Problem::DoesNotFit(why) => {
                format!("{thing}{at} does not fit: {why}.\nChoose another one with {flag}.")
            }
            Problem::NoRegion => {
                format!("no AWS region is set, so {thing} cannot be found.\nSet one, e.g. export AWS_REGION=us-east-1")
            }
            problem @ Problem::NoCredentials(_) => format!(
                "{thing} cannot be used: {problem}\n\
                 Run `aws sso login` or `aws configure`, or choose a profile with AWS_PROFILE."
            ),
            problem @ Problem::Refused(_) => {
                format!("{thing} cannot be used: {problem}\nGrant this identity the action on the table.")
            }
            problem @ Problem::Unreachable(_) if endpoint.is_some() => {
                format!("{thing} cannot be used{at}: {problem}\nStart a server there, or choose another one.")
            }
            problem => {
                format!("{thing} cannot be used: {problem}\nCheck AWS_REGION and the network: {program} check")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_table_its_flag_and_what_to_do() {
        let table = NamedTable { program: "event-pipeline", name: "Events", flag: "--events-table" };
        let text = table.text(Some("http://localhost:8000"), &Problem::NotFound);
        let expected = "table Events (--events-table) does not exist at http://localhost:8000 (--dynamo-endpoint).\n\
                        Create it: event-pipeline setup --events-table Events";
        assert_eq!(text, expected);
        let text = table.text(None, &Problem::Unreachable("no route".to_owned()));
        assert!(text.ends_with("event-pipeline check"), "{text}");
    }
}
