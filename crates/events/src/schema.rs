//! JSON Schemas: the default one for every event, and those of single event types. No schema reads a file or the network.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::event::{Invalid, Reason};

const DEFAULT: &str = include_str!("../schema/event_schema.json");
/// The most characters of a detail.
const MAX_DETAIL: usize = 300;

/// The schemas that an event must match: the default one, and that of its type and version.
#[derive(Debug)]
pub struct Schemas {
    default: Validator,
    types: HashMap<String, Versions>,
    /// Whether an event type needs a schema of its own.
    is_strict: bool,
}

/// The schemas of one event type.
#[derive(Debug, Default)]
struct Versions {
    /// For events without `event_version`.
    plain: Option<Validator>,
    versions: HashMap<String, Validator>,
}

/// Why a directory of schemas cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("cannot read the schemas in {path}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} is no JSON")]
    NoJson { path: PathBuf, source: serde_json::Error },
    #[error("{path} is no JSON Schema: {detail}")]
    NoSchema { path: PathBuf, detail: String },
    #[error(
        "{path}: name it after its event type, with the version if there are several, e.g. `order.json` or `order@2.json`"
    )]
    Name { path: PathBuf },
}

impl Default for Schemas {
    fn default() -> Schemas {
        let schema = serde_json::from_str(DEFAULT).expect("the default schema is JSON");
        let default = jsonschema::validator_for(&schema).expect("the default schema is a JSON Schema");
        Schemas { default, types: HashMap::new(), is_strict: false }
    }
}

impl Schemas {
    /// Reads the schemas of a directory: `TYPE.json`, and `TYPE@VERSION.json` for events with this `event_version`. Ignores
    /// files with other extensions.
    pub fn load(directory: &Path) -> Result<Schemas, SchemaError> {
        let mut schemas = Schemas::default();
        for path in files(directory)? {
            schemas.add(&path)?;
        }
        Ok(schemas)
    }

    /// Refuses event types without a schema of their own, if `is_strict`.
    pub fn strict(self, is_strict: bool) -> Schemas {
        Schemas { is_strict, ..self }
    }

    /// Returns a digest of the files that [`Schemas::load`] reads. It changes when one of them does.
    pub fn digest(directory: &Path) -> Result<[u8; 32], SchemaError> {
        let mut digest = Sha256::new();
        for path in files(directory)? {
            let text = read(&path)?;
            for part in [path.as_os_str().as_encoded_bytes(), &text] {
                digest.update(part.len().to_be_bytes());
                digest.update(part);
            }
        }
        Ok(digest.finalize().into())
    }

    fn add(&mut self, path: &Path) -> Result<(), SchemaError> {
        let name = || SchemaError::Name { path: path.to_owned() };
        let stem = path.file_stem().and_then(|stem| stem.to_str()).ok_or_else(name)?;
        let (event_type, version) = match stem.rsplit_once('@') {
            Some((event_type, version)) => (event_type, Some(version)),
            None => (stem, None),
        };
        if event_type.is_empty() || version.is_some_and(str::is_empty) {
            return Err(name());
        }
        let validator = compile(path)?;
        let versions = self.types.entry(event_type.to_owned()).or_default();
        match version {
            Some(version) => drop(versions.versions.insert(version.to_owned(), validator)),
            None => versions.plain = Some(validator),
        }
        Ok(())
    }

    /// Returns the event types that have a schema.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    /// Returns how many schemas there are beside the default one.
    pub fn len(&self) -> usize {
        self.types.values().map(|it| it.versions.len() + usize::from(it.plain.is_some())).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks an event. An event type without a schema only needs the default one, unless types are strict.
    pub fn validate(&self, event: &Value) -> Result<(), Invalid> {
        check(&self.default, event)?;
        let versions = event.get("event_type").and_then(Value::as_str).and_then(|name| self.types.get(name));
        let Some(versions) = versions else {
            let why = || Invalid::at(Reason::UnknownType, "/event_type", "there is no schema for this event type");
            return if self.is_strict { Err(why()) } else { Ok(()) };
        };
        let version = match event.get("event_version") {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let validator = match &version {
            None => versions.plain.as_ref(),
            Some(version) => versions.versions.get(version),
        };
        match validator {
            Some(validator) => check(validator, event),
            None => {
                let detail = match version {
                    Some(_) => "there is no schema for this version of the event type",
                    None => "the event type has schemas for versions only, and the event has no version",
                };
                Err(Invalid::at(Reason::UnknownVersion, "/event_version", detail))
            }
        }
    }
}

/// Returns the paths of the schemas, sorted.
fn files(directory: &Path) -> Result<Vec<PathBuf>, SchemaError> {
    let unreadable = |source| SchemaError::Unreadable { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, SchemaError> {
    fs::read(path).map_err(|source| SchemaError::Unreadable { path: path.to_owned(), source })
}

fn compile(path: &Path) -> Result<Validator, SchemaError> {
    let text = read(path)?;
    let no_json = |source| SchemaError::NoJson { path: path.to_owned(), source };
    let schema: Value = serde_json::from_slice(&text).map_err(no_json)?;
    let no_schema = |detail: String| SchemaError::NoSchema { path: path.to_owned(), detail };
    if !schema.is_object() {
        return Err(no_schema("it is no object".to_owned()));
    }
    jsonschema::validator_for(&schema).map_err(|error| no_schema(one_line(&error.to_string())))
}

fn check(validator: &Validator, event: &Value) -> Result<(), Invalid> {
    if validator.is_valid(event) {
        return Ok(());
    }
    let Some(error) = validator.iter_errors(event).next() else { return Ok(()) };
    // Without the value, which may be large, and which a log must not repeat.
    let detail = one_line(&error.masked().to_string());
    Err(Invalid::at(Reason::SchemaViolation, error.instance_path().as_str(), detail))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn load(files: &[(&str, &str)]) -> Result<Schemas, SchemaError> {
        Schemas::load(directory(files).path())
    }

    fn event(kind: &str, version: Option<Value>, data: Value) -> Value {
        let mut event = json!({"client_id": "c", "event_type": kind, "data": data});
        if let Some(version) = version {
            event["event_version"] = version;
        }
        event
    }

    const NEEDS_A: &str = r#"{"properties":{"data":{"required":["a"]}}}"#;
    const NEEDS_B: &str = r#"{"properties":{"data":{"required":["b"]}}}"#;

    #[test]
    fn an_event_must_match_the_schema_of_its_type_and_version() {
        let schemas = load(&[("order.json", NEEDS_A), ("order@2.json", NEEDS_B), ("notes.txt", "x")]).unwrap();
        assert_eq!(schemas.len(), 2);
        let reason = |event| schemas.validate(&event).err().map(|invalid| (invalid.reason, invalid.pointer.unwrap()));
        assert_eq!(reason(event("order", None, json!({"a": 1}))), None);
        assert_eq!(reason(event("order", Some(json!(2)), json!({"b": 1}))), None);
        assert_eq!(reason(event("order", Some(json!("2")), json!({"b": 1}))), None);
        assert_eq!(reason(event("other", Some(json!(7)), json!({}))), None);
        let violation = |pointer: &str| Some((Reason::SchemaViolation, pointer.to_owned()));
        assert_eq!(reason(event("order", None, json!({}))), violation("/data"));
        assert_eq!(reason(event("order", Some(json!(2)), json!({"a": 1}))), violation("/data"));
        let unknown = Some((Reason::UnknownVersion, "/event_version".to_owned()));
        assert_eq!(reason(event("order", Some(json!(3)), json!({"a": 1}))), unknown);
        assert_eq!(reason(event("../order", None, json!({}))), None);
    }

    #[test]
    fn with_strict_types_an_event_type_needs_a_schema_of_its_own() {
        let reason = |schemas: &Schemas, kind: &str, data: Value| {
            let invalid = schemas.validate(&event(kind, None, data)).err();
            invalid.map(|invalid| (invalid.reason, invalid.pointer.unwrap()))
        };
        let schemas = load(&[("order.json", NEEDS_A)]).unwrap().strict(true);
        let unknown = Some((Reason::UnknownType, "/event_type".to_owned()));
        assert_eq!(reason(&schemas, "order", json!({"a": 1})), None);
        assert_eq!(reason(&schemas, "other", json!({})), unknown);
        let violation = Some((Reason::SchemaViolation, "/data".to_owned()));
        assert_eq!(reason(&schemas, "other", json!("text")), violation, "the default schema comes first");
        assert_eq!(reason(&schemas.strict(false), "other", json!({})), None);
    }

    #[test]
    fn a_digest_changes_with_the_name_or_the_text_of_a_schema() {
        let directory = directory(&[("order.json", NEEDS_A), ("notes.txt", "x")]);
        let digest = || Schemas::digest(directory.path()).unwrap();
        let first = digest();
        fs::write(directory.path().join("notes.txt"), "y").unwrap();
        assert_eq!(digest(), first);
        fs::write(directory.path().join("order.json"), NEEDS_B).unwrap();
        let second = digest();
        assert_ne!(second, first);
        fs::rename(directory.path().join("order.json"), directory.path().join("other.json")).unwrap();
        assert_ne!(digest(), second);
    }

    #[test]
    fn a_type_with_versions_only_needs_a_version() {
        let schemas = load(&[("order@1.json", NEEDS_A)]).unwrap();
        let invalid = schemas.validate(&event("order", None, json!({"a": 1}))).unwrap_err();
        assert_eq!(invalid.reason, Reason::UnknownVersion);
    }

    #[test]
    fn wrong_schemas_are_refused_with_their_file() {
        for (name, text) in [
            ("a.json", "{"),
            ("b.json", "[]"),
            ("c.json", r#"{"type":"nothing"}"#),
            ("@1.json", "{}"),
            ("d@.json", "{}"),
            ("e.json", r#"{"$ref":"file:///etc/hostname"}"#),
            ("f.json", r#"{"$ref":"http://127.0.0.1:1/schema.json"}"#),
        ] {
            let error = load(&[(name, text)]).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(Schemas::load(Path::new("no such directory")).is_err());
    }

    #[test]
    fn a_detail_has_no_value_of_the_event() {
        let violation = Schemas::default().validate(&json!({"client_id": "c", "event_type": "t", "data": "a\nsecret"}));
        let invalid = violation.unwrap_err();
        assert!(!invalid.detail.contains("secret") && !invalid.detail.contains('\n'), "{}", invalid.detail);
    }
}
