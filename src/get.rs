//! `mini-scan get`: looks up addresses and networks, and prints what was found there.

mod answer;
mod api;
mod history;
mod source;
mod table;

use std::collections::HashSet;
use std::io::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use self::source::Source;
use self::table::Row;
use crate::export::Format;
use crate::hosts::{Network, Record, Target};
use crate::service::{Endpoints, SetupError};

pub use api::Api;

/// What an API accepts, and what one query of the table should read.
const MAX_ADDRESSES: usize = 100;

/// What to look up, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Get {
    pub targets: Vec<Target>,
    pub from: From,
    /// Prints what changed instead of the records.
    pub history: bool,
    /// Prints one JSON object per record or event instead of the table.
    pub json: bool,
}

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    Table { endpoints: Endpoints, name: String, history: String },
    Api(Api),
}

/// One request for records.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Addresses(Vec<IpAddr>),
    Port(IpAddr, u16),
    Network(Network),
}

/// Prints the records or events of all targets to `out`, in the order of the targets. Reports targets without one to
/// `notes`.
pub async fn run(task: &Get, out: &mut impl Write, notes: &mut impl Write) -> Result<(), SetupError> {
    if task.history {
        return history::run(task, out, notes).await;
    }
    let source = Source::connect(&task.from).await?;
    let mut rows = Vec::new();
    let asked = ask(task, &source, &mut rows, out, notes).await;
    // Also what was found before a failure.
    out.write_all(table::format(&rows).as_bytes()).and_then(|()| out.flush()).map_err(SetupError::cannot_write)?;
    asked
}

async fn ask(
    task: &Get,
    source: &Source,
    rows: &mut Vec<Row>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), SetupError> {
    let now = now();
    for question in questions(&task.targets) {
        let mut found = HashSet::new();
        let mut pages = source.pages(&question);
        while let Some(records) = pages.next().await? {
            found.extend(records.iter().map(|record| record.key.ip().to_owned()));
            match task.json {
                true => out.write_all(&json(records)).map_err(SetupError::cannot_write)?,
                false => rows.extend(records.iter().map(|record| Row::of(record, now))),
            }
        }
        for missing in question.without(&found) {
            writeln!(notes, "{missing}: no record").map_err(SetupError::cannot_write)?;
        }
    }
    Ok(())
}

fn json(records: Vec<Record>) -> Vec<u8> {
    let rows: Vec<_> = records.into_iter().map(|record| crate::dynamo::Row { record, expires_at: None }).collect();
    Format::AsciiJsonLines.rows(&rows)
}

/// Groups addresses that follow each other, because one query can read several. Leaves out repeated ones in a group.
fn questions(targets: &[Target]) -> Vec<Question> {
    let mut questions = Vec::new();
    for target in targets {
        match (*target, questions.last_mut()) {
            (Target::Host(ip), Some(Question::Addresses(ips))) if ips.contains(&ip) => {}
            (Target::Host(ip), Some(Question::Addresses(ips))) if ips.len() < MAX_ADDRESSES => ips.push(ip),
            (Target::Host(ip), _) => questions.push(Question::Addresses(vec![ip])),
            (Target::Port(ip, port), _) => questions.push(Question::Port(ip, port)),
            (Target::Network(network), _) => questions.push(Question::Network(network)),
        }
    }
    questions
}

impl Question {
    /// Returns the targets of which no address was found, as the user wrote them.
    fn without(&self, found: &HashSet<String>) -> Vec<String> {
        match self {
            Question::Addresses(ips) => ips.iter().map(IpAddr::to_string).filter(|ip| !found.contains(ip)).collect(),
            Question::Port(IpAddr::V6(ip), port) if found.is_empty() => vec![format!("[{ip}]:{port}")],
            Question::Port(ip, port) if found.is_empty() => vec![format!("{ip}:{port}")],
            Question::Network(network) if found.is_empty() => vec![network.to_string()],
            Question::Port(..) | Question::Network(_) => Vec::new(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "only the ages that an operator sees depend on it")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(texts: &[&str]) -> Vec<Target> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_that_follow_each_other_are_one_question() {
        let asked = questions(&targets(&["1.1.1.7", "::1", "1.1.1.7", "1.1.1.7:80", "1.1.1.8", "1.1.1.0/24"]));
        let ip = |text: &str| text.parse().unwrap();
        let expected = [
            Question::Addresses(vec![ip("1.1.1.7"), ip("::1")]),
            Question::Port(ip("1.1.1.7"), 80),
            Question::Addresses(vec![ip("1.1.1.8")]),
            Question::Network("1.1.1.0/24".parse().unwrap()),
        ];
        assert_eq!(asked, expected);
        let many: Vec<_> = (0..250).map(|nth| Target::Host(std::net::Ipv4Addr::from_bits(nth).into())).collect();
        let sizes = questions(&many).into_iter().map(|question| match question {
            Question::Addresses(ips) => ips.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(sizes.collect::<Vec<_>>(), [100, 100, 50]);
    }

    #[test]
    fn a_target_without_a_record_is_named_as_it_was_written() {
        let asked = questions(&targets(&["1.1.1.7", "1.1.1.8", "[::1]:80", "1.1.1.0/24"]));
        let found = HashSet::from(["1.1.1.7".to_owned()]);
        assert_eq!(asked[0].without(&found), ["1.1.1.8"]);
        let missing = asked.iter().flat_map(|question| question.without(&HashSet::new()));
        assert_eq!(missing.collect::<Vec<_>>(), ["1.1.1.7", "1.1.1.8", "[::1]:80", "1.1.1.0/24"]);
    }
}
