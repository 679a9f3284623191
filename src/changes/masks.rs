//! Named patterns that hide what differs in every scan, e.g. dates and cookies, before two responses are compared. Pure.
//!
//! Responses are hostile, and patterns are the operator's: the work per response is counted and bounded.

mod built_in;

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;
use std::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use built_in::{BUILT_IN, BuiltIn};

pub const MAX_MASKS: usize = 32;
pub const MAX_NAME: usize = 40;
/// The bytes of a response that masks can hide. What follows is compared as it is.
pub const MAX_TEXT: usize = 64 * 1024;
/// The steps of one mask in one response. A search takes linear time, but the searches for all matches may take quadratic
/// time, so each of them counts as many steps as bytes are left.
pub const MAX_STEPS: u64 = 16 * 1024 * 1024;

const COMPILED_SIZE: usize = 64 * 1024;
const DFA_SIZE: usize = 1024 * 1024;
/// A mask that hides all of it would hide every change.
const PROBE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: probe/1.0\r\n\r\n<html>\r\n220 probe.example ESMTP\r\nSSH-2.0-Probe_1\r\n";
/// Masks with this prefix act on the head of an HTTP response.
const OF_HEAD: &str = "http-";
/// Part of the id of a set. A change of the rules above or of how matches are hidden changes it.
const RULES: u8 = 1;

/// A set of masks that act together. The order in which they were given has no effect.
#[derive(Debug, Clone)]
pub struct Masks {
    masks: Vec<Mask>,
    id: String,
}

#[derive(Debug, Clone)]
struct Mask {
    name: String,
    pattern: Regex,
    /// The indexes of its named groups, of which only these are hidden. Without any, the match is.
    groups: Vec<usize>,
}

/// A mask of an operator. Its text is NAME=REGEX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    pub name: String,
    pub pattern: String,
}

/// Why a set of masks is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refused {
    #[error("a mask is NAME=REGEX, e.g. page-time='generated in [0-9.]+ s'")]
    NoName,
    #[error("the name of a mask has 1 to 40 of a-z, 0-9 and -, which {0:?} has not")]
    Name(String),
    #[error("the mask {name} has no valid pattern: {detail}")]
    Pattern { name: String, detail: String },
    #[error("the mask {0} matches the empty text: make it match what it hides, e.g. with + in place of *")]
    MatchesNothing(String),
    #[error("the mask {0} would hide whole responses, and with them every change: make its pattern narrower")]
    MatchesAll(String),
    #[error("the mask {0} is given twice: choose another name for one of them")]
    Twice(String),
    #[error("no built-in mask is called {0:?}: `mini-scan changes masks` lists them")]
    Unknown(String),
    #[error("there are {0} masks, and {MAX_MASKS} are allowed: combine patterns with |")]
    TooMany(usize),
}

/// A response with its matches replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked<'a> {
    pub text: Cow<'a, [u8]>,
    /// What was replaced, in order and without overlaps.
    pub hidden: Vec<Hidden<'a>>,
    /// The masks that reached [`MAX_STEPS`]. Later matches of theirs are not replaced.
    pub limited: Vec<&'a str>,
    pub steps: u64,
}

/// A range of bytes that a mask replaced by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden<'a> {
    pub range: Range<usize>,
    pub mask: &'a str,
}

impl FromStr for Addition {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Addition, Refused> {
        let (name, pattern) = text.split_once('=').ok_or(Refused::NoName)?;
        check_name(name)?;
        Ok(Addition { name: name.to_owned(), pattern: pattern.to_owned() })
    }
}

impl Masks {
    /// Compiles the defaults without the removals, and the additions. An addition replaces the default of its name.
    pub fn new(defaults: &[BuiltIn], additions: &[Addition], removals: &[String]) -> Result<Masks, Refused> {
        if let Some(unknown) = removals.iter().find(|name| !defaults.iter().any(|default| default.name == **name)) {
            return Err(Refused::Unknown(unknown.clone()));
        }
        let is_kept = |default: &&BuiltIn| {
            !removals.iter().any(|name| name == default.name)
                && !additions.iter().any(|addition| addition.name == default.name)
        };
        let defaults = defaults.iter().filter(is_kept).map(|default| (default.name, default.pattern));
        let additions = additions.iter().map(|addition| (addition.name.as_str(), addition.pattern.as_str()));
        let mut all: Vec<_> = defaults.chain(additions).collect();
        if all.len() > MAX_MASKS {
            return Err(Refused::TooMany(all.len()));
        }
        all.sort_unstable();
        if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Refused::Twice(pair[0].0.to_owned()));
        }
        let masks = all.into_iter().map(|(name, pattern)| Mask::new(name, pattern)).collect::<Result<Vec<_>, _>>()?;
        Ok(Masks { id: id(&masks), masks })
    }

    /// Returns the id of the set: a hash of its names, its patterns and the rules by which they act.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the names and patterns, sorted by name.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        self.masks.iter().map(|mask| (mask.name.as_str(), mask.pattern.as_str()))
    }

    /// Returns the response with each match replaced by the name of its mask in brackets.
    pub fn apply<'a>(&'a self, text: &'a [u8]) -> Cow<'a, [u8]> {
        self.mask(text).text
    }

    /// Like [`Masks::apply`], with what was replaced and what it took.
    pub fn mask<'a>(&'a self, text: &'a [u8]) -> Masked<'a> {
        let start = &text[..text.len().min(MAX_TEXT)];
        let (head, mut found, mut limited, mut steps) = (head(start), Vec::new(), Vec::new(), 0);
        for (index, mask) in self.masks.iter().enumerate() {
            let part = if mask.name.starts_with(OF_HEAD) { head } else { start };
            let cost = mask.find(part, |range| found.push((range, index)));
            if cost > MAX_STEPS {
                limited.push(mask.name.as_str());
            }
            steps += cost.min(MAX_STEPS);
        }
        let hidden = self.without_overlaps(found);
        let text = if hidden.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(replace(text, &hidden)) };
        Masked { text, hidden, limited, steps }
    }

    /// Joins ranges that overlap. The range is hidden by the mask that begins first.
    fn without_overlaps(&self, mut found: Vec<(Range<usize>, usize)>) -> Vec<Hidden<'_>> {
        found.sort_unstable_by_key(|(range, mask)| (range.start, *mask));
        let mut hidden: Vec<Hidden<'_>> = Vec::with_capacity(found.len());
        for (range, mask) in found {
            match hidden.last_mut() {
                Some(last) if range.start < last.range.end => last.range.end = last.range.end.max(range.end),
                _ => hidden.push(Hidden { range, mask: &self.masks[mask].name }),
            }
        }
        hidden
    }
}

impl Masked<'_> {
    /// Returns the number of bytes of the response that were replaced.
    pub fn hidden_bytes(&self) -> usize {
        self.hidden.iter().map(|hidden| hidden.range.len()).sum()
    }
}

impl Mask {
    fn new(name: &str, pattern: &str) -> Result<Mask, Refused> {
        check_name(name)?;
        let compiled = RegexBuilder::new(pattern)
            // Banners are bytes in lines, often not UTF-8.
            .unicode(false)
            .multi_line(true)
            .crlf(true)
            .size_limit(COMPILED_SIZE)
            .dfa_size_limit(DFA_SIZE)
            .build()
            .map_err(|error| Refused::Pattern { name: name.to_owned(), detail: error.to_string() })?;
        if compiled.is_match(b"") {
            return Err(Refused::MatchesNothing(name.to_owned()));
        }
        let names = compiled.capture_names().enumerate();
        let groups = names.filter_map(|(index, name)| name.map(|_| index)).collect();
        let mask = Mask { name: name.to_owned(), pattern: compiled, groups };
        let mut left = PROBE.to_vec();
        mask.find(PROBE, |range| left[range].fill(b' '));
        if left.iter().all(u8::is_ascii_whitespace) {
            return Err(Refused::MatchesAll(name.to_owned()));
        }
        Ok(mask)
    }

    /// Reports what the mask hides in a text, in order. Returns the steps that it took; after more than [`MAX_STEPS`] it has
    /// stopped.
    fn find(&self, text: &[u8], mut hide: impl FnMut(Range<usize>)) -> u64 {
        let (mut at, mut steps) = (0, 0);
        let mut slots = self.pattern.capture_locations();
        while at < text.len() {
            steps += (text.len() - at) as u64;
            if steps > MAX_STEPS {
                break;
            }
            let found = match self.groups.as_slice() {
                [] => self.pattern.find_at(text, at),
                _ => self.pattern.captures_read_at(&mut slots, text, at),
            };
            let Some(found) = found else { break };
            if self.groups.is_empty() {
                hide_some(found.range(), &mut hide);
            }
            for (start, end) in self.groups.iter().filter_map(|group| slots.get(*group)) {
                hide_some(start..end, &mut hide);
            }
            // A pattern that does not match the empty text may still match between two bytes.
            at = if found.is_empty() { found.end() + 1 } else { found.end() };
        }
        steps
    }
}

/// An empty value stays, so that it differs from a value.
fn hide_some(range: Range<usize>, hide: &mut impl FnMut(Range<usize>)) {
    if !range.is_empty() {
        hide(range);
    }
}

fn check_name(name: &str) -> Result<(), Refused> {
    let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    match (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_allowed) {
        true => Ok(()),
        false => Err(Refused::Name(name.to_owned())),
    }
}

/// Returns an HTTP response up to its first empty line, and of other texts nothing.
fn head(text: &[u8]) -> &[u8] {
    if !text.starts_with(b"HTTP/") {
        return &[];
    }
    let end = text.windows(3).position(|window| window == b"\n\r\n" || window.starts_with(b"\n\n"));
    &text[..end.map_or(text.len(), |end| end + 1)]
}

fn replace(text: &[u8], hidden: &[Hidden<'_>]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut at = 0;
    for Hidden { range, mask } in hidden {
        replaced.extend_from_slice(&text[at..range.start]);
        replaced.push(b'[');
        replaced.extend_from_slice(mask.as_bytes());
        replaced.push(b']');
        at = range.end;
    }
    replaced.extend_from_slice(&text[at..]);
    replaced
}

fn id(masks: &[Mask]) -> String {
    let mut hash = Sha256::new_with_prefix([RULES]);
    for text in masks.iter().flat_map(|mask| [mask.name.as_str(), mask.pattern.as_str()]) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut id, byte| {
        write!(id, "{byte:02x}").expect("a string takes every text");
        id
    })
}

#[cfg(test)]
mod tests;
