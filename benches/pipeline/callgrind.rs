//! Parses callgrind's output (with uncompressed names and positions): instructions by function and by source file.
//!
//! An inlined line counts for the file that contains it (`fi`, `fe`), within the function that it was inlined into.
//! Dependencies are built without line tables: their code that was not inlined into ours is listed under `???`.
//! <https://valgrind.org/docs/manual/cl-format.html>

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

/// Instructions of a process.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Of the function itself, by function and file.
    own: BTreeMap<(String, String), i64>,
    /// Inclusive cost of calls, by caller, file of the calling line, and callee.
    calls: BTreeMap<(String, String, String), i64>,
    /// The file in which each function begins.
    home: BTreeMap<String, String>,
}

impl Counts {
    pub(crate) fn read(text: &str) -> anyhow::Result<Counts> {
        let mut counts = Counts::default();
        let (mut file, mut function, mut called) = (String::new(), String::new(), None::<String>);
        let mut is_call = false;
        for line in text.lines() {
            if let Some((name, value)) = line.split_once('=') {
                match name {
                    "fl" | "fi" | "fe" => value.clone_into(&mut file),
                    "fn" => {
                        value.clone_into(&mut function);
                        counts.home.insert(function.clone(), file.clone());
                    }
                    "cfn" => called = Some(value.to_owned()),
                    "calls" => is_call = true,
                    _ => {}
                }
                continue;
            }
            let Some((_, cost)) =
                line.split_once(' ').filter(|_| line.starts_with(|first: char| first.is_ascii_digit()))
            else {
                continue;
            };
            let cost: i64 = cost.trim().parse().with_context(|| format!("cannot parse a cost: {line}"))?;
            match called.take().filter(|_| is_call) {
                Some(called) => *counts.calls.entry((function.clone(), file.clone(), called)).or_default() += cost,
                None => *counts.own.entry((function.clone(), file.clone())).or_default() += cost,
            }
            is_call = false;
        }
        Ok(counts)
    }

    /// Returns the counts that this process has in excess of `other`.
    pub(crate) fn minus(mut self, other: &Counts) -> Counts {
        for (key, cost) in &other.own {
            *self.own.entry(key.clone()).or_default() -= cost;
        }
        for (key, cost) in &other.calls {
            *self.calls.entry(key.clone()).or_default() -= cost;
        }
        self
    }

    pub(crate) fn total(&self) -> i64 {
        self.own.values().sum()
    }

    /// Returns the exclusive cost of functions, highest first, grouped by `name` of function and file.
    pub(crate) fn own<'a>(&'a self, name: impl Fn(&'a str, &'a str) -> &'a str) -> Vec<(&'a str, i64)> {
        let mut sums = BTreeMap::new();
        for ((function, file), cost) in &self.own {
            *sums.entry(name(function, file)).or_default() += cost;
        }
        highest_first(sums)
    }

    /// Returns the inclusive cost of functions, highest first. Recursive functions are counted more than once.
    pub(crate) fn with_calls(&self) -> Vec<(&str, i64)> {
        let mut sums = BTreeMap::new();
        for ((function, _), cost) in &self.own {
            *sums.entry(function.as_str()).or_default() += cost;
        }
        for ((function, ..), cost) in &self.calls {
            *sums.entry(function.as_str()).or_default() += cost;
        }
        highest_first(sums)
    }

    /// Returns the cost of the lines of these files, of every function that begins in them, and of their calls to other
    /// files.
    pub(crate) fn of_files(&self, is_one: impl Fn(&str) -> bool) -> i64 {
        let is_ours =
            |function: &str, file: &str| is_one(file) || self.home.get(function).is_some_and(|home| is_one(home));
        let own = self.own.iter().filter(|((function, file), _)| is_ours(function, file)).map(|(_, cost)| cost);
        let calls = self.calls.iter().filter(|((function, file, called), _)| {
            is_ours(function, file) && !self.home.get(called).is_some_and(|home| is_one(home))
        });
        own.sum::<i64>() + calls.map(|(_, cost)| cost).sum::<i64>()
    }

    /// Returns the cost of lines in files of `kind`, and of their calls, within functions that also contain a line of the
    /// files of `is_one`.
    pub(crate) fn adjacent(&self, is_one: impl Fn(&str) -> bool, kind: impl Fn(&str) -> bool) -> i64 {
        let mixed: BTreeSet<&str> =
            self.own.keys().filter(|(_, file)| is_one(file)).map(|(function, _)| function.as_str()).collect();
        let is_counted = |function: &str, file: &str| {
            mixed.contains(function) && kind(file) && !self.home.get(function).is_some_and(|home| is_one(home))
        };
        let own = self.own.iter().filter(|((function, file), _)| is_counted(function, file)).map(|(_, cost)| cost);
        let calls = self.calls.iter().filter(|((function, file, _), _)| is_counted(function, file));
        own.sum::<i64>() + calls.map(|(_, cost)| cost).sum::<i64>()
    }
}

fn highest_first(sums: BTreeMap<&str, i64>) -> Vec<(&str, i64)> {
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, cost)| -cost);
    sums
}
