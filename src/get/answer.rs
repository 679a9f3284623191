//! Checks the pages of an API against the question, so that no server can answer without end. Pure.

use std::collections::HashSet;

use super::Question;
use crate::hosts::Record;
use crate::scan::{Key, address};

/// An API may send a page without a record if all records of the page were deleted meanwhile.
const MAX_EMPTY_PAGES: u32 = 100;

/// What an API has answered so far.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    question: &'a Question,
    keys: HashSet<Key>,
    tokens: HashSet<String>,
    /// In succession.
    empty_pages: u32,
}

impl<'a> Answer<'a> {
    pub(super) fn to(question: &'a Question) -> Answer<'a> {
        Answer { question, keys: HashSet::new(), tokens: HashSet::new(), empty_pages: 0 }
    }

    /// Adds a page with the token of the next one. Returns what is wrong with it.
    pub(super) fn add(&mut self, records: &[Record], next: Option<&str>) -> Result<(), String> {
        for Record { key, .. } in records {
            if !self.question.accepts(key) {
                return Err(format!("it returned {}, which was not asked for", key.as_str()));
            }
            if !self.keys.insert(key.clone()) {
                return Err(format!("it returned {} twice", key.as_str()));
            }
        }
        self.empty_pages = if records.is_empty() { self.empty_pages + 1 } else { 0 };
        if self.empty_pages > MAX_EMPTY_PAGES {
            return Err(format!("it returned more than {MAX_EMPTY_PAGES} pages in succession without a record"));
        }
        match next {
            Some(token) if !self.tokens.insert(token.to_owned()) => Err("it repeated a next_page_token".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Question {
    fn accepts(&self, key: &Key) -> bool {
        address(key.ip()).is_some_and(|found| match self {
            Question::Addresses(ips) => ips.contains(&found),
            Question::Port(ip, port) => *ip == found && key.port() == port.to_string(),
            Question::Network(network) => network.contains(found),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(keys: &[(&str, u16)]) -> Vec<Record> {
        let key = |(ip, port): &(&str, u16)| Key::new(ip.parse().unwrap(), *port, "HTTP");
        let record = |key| Record { key, timestamp: 1, data_version: 2, response: String::new(), response_bytes: None };
        keys.iter().map(key).map(record).collect()
    }

    #[test]
    fn records_that_were_not_asked_for_are_refused() {
        let ip = |text: &str| text.parse().unwrap();
        let addresses = Question::Addresses(vec![ip("1.1.1.7"), ip("2001:db8::7")]);
        let port = Question::Port(ip("1.1.1.7"), 443);
        let network = Question::Network("1.1.1.0/24".parse().unwrap());
        for (question, key, is_accepted) in [
            (&addresses, ("2001:db8::7", 80), true),
            (&addresses, ("1.1.1.8", 80), false),
            (&port, ("1.1.1.7", 443), true),
            (&port, ("1.1.1.7", 44), false),
            (&port, ("1.1.1.8", 443), false),
            (&network, ("1.1.1.255", 80), true),
            (&network, ("1.1.2.0", 80), false),
        ] {
            let added = Answer::to(question).add(&records(&[key]), None);
            assert_eq!(added.is_ok(), is_accepted, "{question:?} {key:?}: {added:?}");
        }
    }

    #[test]
    fn a_repeated_record_or_token_is_refused() {
        let question = Question::Network("1.1.1.0/24".parse().unwrap());
        let mut answer = Answer::to(&question);
        answer.add(&records(&[("1.1.1.7", 80), ("1.1.1.7", 443)]), Some("a")).unwrap();
        answer.add(&records(&[("1.1.1.8", 80)]), Some("b")).unwrap();
        assert!(answer.add(&records(&[]), Some("a")).unwrap_err().contains("next_page_token"));
        assert!(answer.add(&records(&[("1.1.1.7", 443)]), None).unwrap_err().contains("twice"));
    }

    #[test]
    fn pages_without_a_record_come_to_an_end() {
        let question = Question::Network("1.1.1.0/24".parse().unwrap());
        let mut answer = Answer::to(&question);
        for token in 0..MAX_EMPTY_PAGES {
            answer.add(&[], Some(&token.to_string())).unwrap();
        }
        answer.add(&records(&[("1.1.1.7", 80)]), Some("next")).unwrap();
        for token in MAX_EMPTY_PAGES..2 * MAX_EMPTY_PAGES {
            answer.add(&[], Some(&token.to_string())).unwrap();
        }
        assert!(answer.add(&[], Some("last")).unwrap_err().contains("without a record"));
    }
}
