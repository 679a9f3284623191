//! The resume file: how far an export is, and which output belongs to it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::filter::Filter;
use super::format::Format;
use super::output::TAIL_BYTES;

const VERSION: u32 = 1;

/// What an export has written when its output was last synced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    version: u32,
    pub(super) task: Identity,
    /// Changes if the table was deleted and created again. `None` if this identity may not describe the table.
    pub(super) table_id: Option<String>,
    /// The absolute path of the output.
    pub(super) output: String,
    /// The length of the output in bytes. Everything behind it is written again.
    pub(super) length: u64,
    /// The last bytes of the output, which show whether a file is that output.
    pub(super) tail: Vec<u8>,
    pub(super) segments: Vec<Progress>,
    pub(super) counts: Counts,
}

/// What must be the same in every run of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    table: String,
    format: Format,
    since: Option<u64>,
    ports: Vec<u16>,
    networks: Vec<String>,
}

/// How far a segment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Progress {
    Start,
    /// The output has all records up to this key.
    After(String),
    Done,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub(super) exported: u64,
    pub(super) scanned: u64,
    pub(super) foreign: u64,
    pub(super) first_foreign: Option<String>,
    pub(super) read_units: f64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no resume file of this version of mini-scan: {0}")]
    Format(String),
}

impl Identity {
    pub(super) fn new(table: &str, format: Format, filter: &Filter) -> Identity {
        Identity {
            table: table.to_owned(),
            format,
            since: filter.since,
            ports: filter.ports.clone(),
            networks: filter.networks.iter().map(ToString::to_string).collect(),
        }
    }

    /// Returns the flag that differs from an earlier run.
    pub(super) fn difference(&self, earlier: &Identity) -> Option<&'static str> {
        [
            ("--table", self.table == earlier.table),
            ("--format or --raw-csv", self.format == earlier.format),
            ("--since", self.since == earlier.since),
            ("--port", self.ports == earlier.ports),
            ("--network", self.networks == earlier.networks),
        ]
        .into_iter()
        .find_map(|(flag, is_same)| (!is_same).then_some(flag))
    }
}

impl Checkpoint {
    pub(super) fn new(task: Identity, output: String, segments: u32) -> Checkpoint {
        Checkpoint {
            version: VERSION,
            task,
            table_id: None,
            output,
            length: 0,
            tail: Vec::new(),
            segments: vec![Progress::Start; segments as usize],
            counts: Counts::default(),
        }
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
        if self.segments.is_empty() {
            return Some("it has no segments".to_owned());
        }
        // A shorter tail would fit to other files too.
        let has_tail = self.tail.len() as u64 == self.length.min(TAIL_BYTES as u64);
        (!has_tail).then(|| format!("{} bytes for an output of {} bytes", self.tail.len(), self.length))
    }

    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        replace(path, &serde_json::to_vec(self)?)
    }
}

/// Loads a resume file, or `None` if there is none. `defect` returns what the content of such a file cannot have.
pub(crate) fn load<T: DeserializeOwned>(
    path: &Path,
    defect: impl FnOnce(&T) -> Option<String>,
) -> Result<Option<T>, LoadError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let content = serde_json::from_slice(&text).map_err(|error| LoadError::Format(error.to_string()))?;
    match defect(&content) {
        Some(defect) => Err(LoadError::Format(defect)),
        None => Ok(Some(content)),
    }
}

/// Replaces a file at once: a kill leaves either the old content or this one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = unfinished(path);
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The name must survive a crash of the machine too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Returns where a checkpoint is written before it replaces the resume file. No other program uses such a name.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".mini-scan-new");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity::new("scan-results", Format::JsonLines, &Filter::default())
    }

    #[test]
    fn a_checkpoint_is_loaded_as_it_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resume");
        let mut checkpoint = Checkpoint::new(identity(), "/out".into(), 3);
        checkpoint.segments = vec![Progress::Start, Progress::After("1.1.1.7#443#A\"\n".into()), Progress::Done];
        checkpoint.save(&path).unwrap();
        checkpoint.tail = vec![0, 255];
        checkpoint.length = 2;
        checkpoint.save(&path).unwrap();

        assert_eq!(Checkpoint::load(&path).unwrap(), Some(checkpoint));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(Checkpoint::load(&folder.path().join("other")).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_no_checkpoint_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resume");
        let saved = serde_json::to_string(&Checkpoint::new(identity(), "/out".into(), 1)).unwrap();
        let newer = saved.replace(r#""version":1"#, r#""version":2"#);
        let longer = saved.replace(r#""tail":[]"#, r#""tail":[7]"#);
        let without_tail = saved.replace(r#""length":0"#, r#""length":7"#);
        for text in ["", "{}", &saved[..saved.len() - 1], &newer, "[1]", &longer, &without_tail] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Checkpoint::load(&path), Err(LoadError::Format(_))), "{text}");
        }
    }

    #[test]
    fn a_difference_names_the_flag() {
        let filter = Filter { networks: vec!["1.0.0.0/8".parse().unwrap()], ..Filter::default() };
        let other = Identity::new("scan-results", Format::JsonLines, &filter);
        assert_eq!(identity().difference(&other), Some("--network"));
        assert_eq!(identity().difference(&identity()), None);
    }
}
