//! The directory of schemas: reads it at the start, and again after it has changed.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use crate::schema::{SchemaError, Schemas};

/// How often to look for a change. It works for a mounted ConfigMap too, which no signal announces.
const INTERVAL: Duration = Duration::from_secs(10);

/// The schemas of a directory.
#[derive(Debug)]
pub(super) struct SchemaDirectory {
    path: PathBuf,
    /// Whether an event type needs a schema of its own.
    is_strict: bool,
    /// That of the last attempt to load them. `None` if they could not be read.
    digest: Option<[u8; 32]>,
}

impl SchemaDirectory {
    /// Loads the schemas. Fails if one of them is wrong.
    pub(super) fn load(path: PathBuf, is_strict: bool) -> Result<(SchemaDirectory, Schemas), SchemaError> {
        // A change after the digest is loaded once more.
        let digest = Schemas::digest(&path)?;
        let schemas = Schemas::load(&path)?.strict(is_strict);
        Ok((SchemaDirectory { path, is_strict, digest: Some(digest) }, schemas))
    }

    /// Waits for a change. Returns the new schemas, or why they are wrong, once for each change. Cancel safe.
    pub(super) async fn changed(&mut self) -> Result<Schemas, SchemaError> {
        loop {
            sleep(INTERVAL).await;
            let (path, before) = (self.path.clone(), self.digest);
            let read = move || -> Result<_, (Option<[u8; 32]>, SchemaError)> {
                let digest = Schemas::digest(&path).map_err(|error| (None, error))?;
                if before == Some(digest) {
                    return Ok((digest, None));
                }
                let schemas = Schemas::load(&path).map_err(|error| (Some(digest), error))?;
                Ok((digest, Some(schemas)))
            };
            let result = tokio::task::spawn_blocking(read)
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            match result {
                Ok((digest, schemas)) => {
                    self.digest = Some(digest);
                    if let Some(schemas) = schemas {
                        return Ok(schemas.strict(self.is_strict));
                    }
                }
                Err((digest, error)) => {
                    let is_new = digest.is_some() || self.digest.is_some();
                    self.digest = digest;
                    if is_new {
                        return Err(error);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_loaded_and_a_wrong_one_is_reported_once() {
        let directory = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(directory.path().join("order.json"), text).unwrap();
        write("{}");
        let (mut schemas, first) = SchemaDirectory::load(directory.path().to_owned(), true).unwrap();
        assert_eq!(first.len(), 1);
        write("{");
        assert!(schemas.changed().await.is_err());
        let again = tokio::time::timeout(10 * INTERVAL, schemas.changed()).await;
        assert!(again.is_err(), "it is the same mistake");
        write(r#"{"type":"object"}"#);
        let changed = schemas.changed().await.unwrap();
        assert_eq!(changed.len(), 1);
        let other = serde_json::json!({ "client_id": "c", "event_type": "other", "data": {} });
        assert!(changed.validate(&other).is_err(), "types are still strict");
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(schemas.changed().await.is_err());
        let again = tokio::time::timeout(10 * INTERVAL, schemas.changed()).await;
        assert!(again.is_err(), "it is still missing");
    }
}
