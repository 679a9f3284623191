//! The resume file: how far a backfill is. Everything behind it may be compared again.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::changes::backfill::Counts;
use crate::export::{LoadError, load, replace};

const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    version: u32,
    pub(super) task: Identity,
    /// When the first run began, in Unix seconds. It reads what gaps noticed before have left out.
    pub(super) began: u64,
    /// Those of the table of scans, then those of the history.
    pub(super) passes: [Vec<Progress>; 2],
    pub(super) counts: Counts,
    pub(super) scanned: [u64; 2],
    pub(super) units: f64,
}

/// What must be the same in every run of a backfill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) scans: String,
    /// Changes if the table was deleted and created again. `None` if this identity may not describe the table.
    pub(super) scans_id: Option<String>,
    pub(super) history: String,
    /// The id of the masks.
    pub(super) masks: String,
    pub(super) rebases: bool,
}

/// How far a segment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Progress {
    Start,
    /// Everything up to this key was compared. A key of the history has two parts.
    After(Vec<String>),
    Done,
}

impl Checkpoint {
    pub(super) fn new(task: Identity, segments: u32, began: u64) -> Checkpoint {
        let pass = || vec![Progress::Start; segments as usize];
        let (passes, scanned) = ([pass(), pass()], [0, 0]);
        Checkpoint { version: VERSION, task, began, passes, counts: Counts::default(), scanned, units: 0.0 }
    }

    /// Loads the checkpoint of an earlier run, or `None` if there was none.
    pub(super) fn load(path: &Path) -> Result<Option<Checkpoint>, LoadError> {
        load(path, Checkpoint::defect)
    }

    /// Returns what no checkpoint can have.
    fn defect(&self) -> Option<String> {
        if self.version != VERSION {
            return Some(format!("version {}", self.version));
        }
        self.passes.iter().any(Vec::is_empty).then(|| "it has no segments".to_owned())
    }

    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        replace(path, &serde_json::to_vec(self)?)
    }
}

impl Identity {
    /// Returns what differs from an earlier run.
    pub(super) fn difference(&self, earlier: &Identity) -> Option<&'static str> {
        [
            ("another value of --table", self.scans == earlier.scans),
            ("an earlier table of this name", self.scans_id == earlier.scans_id),
            ("another value of --history-table", self.history == earlier.history),
            ("other masks", self.masks == earlier.masks),
            ("another value of --rebase", self.rebases == earlier.rebases),
        ]
        .into_iter()
        .find_map(|(what, is_same)| (!is_same).then_some(what))
    }
}
