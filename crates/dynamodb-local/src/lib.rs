//! The embedded DynamoDB: the dynoxide engine and its HTTP server. This crate must not know what the tables contain.

pub mod thread;
mod tokens;
mod transactions;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The engine, for requests without HTTP.
pub use dynoxide;
use dynoxide::{Database, DynoxideError};
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;

const FILE: &str = "dynamo.sqlite";
/// AWS may take days to remove an expired item. Here a user should see it happen.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Where the tables are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// The tables are lost when the server stops.
    Memory,
    /// The tables are in a file in this directory, which is created if it does not exist.
    Directory(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot create the directory {path}: choose another one with --data")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot open the tables in {path}")]
    File { path: PathBuf, source: DynoxideError },
    #[error("cannot open tables in memory")]
    Memory(#[source] DynoxideError),
    #[error("cannot prepare the tables")]
    Prepare(#[from] rusqlite::Error),
    #[error("cannot create a temporary directory: set TMPDIR to a writable one")]
    Temporary(#[from] io::Error),
}

/// The engine looks up the highest number in a table's stream at every write, and a shard's lowest and highest whenever
/// the stream is described. Without these indexes it would scan all records of the stream.
const STREAM_INDEXES: &str = "CREATE INDEX IF NOT EXISTS stream_records_by_number \
    ON _stream_records (table_name, CAST(sequence_number AS INTEGER)); \
    CREATE INDEX IF NOT EXISTS stream_records_by_shard \
    ON _stream_records (table_name, shard_id, CAST(sequence_number AS INTEGER))";

impl Storage {
    pub fn open(&self) -> Result<Database, OpenError> {
        let directory = match self {
            Storage::Memory => return memory(),
            Storage::Directory(directory) => directory,
        };
        std::fs::create_dir_all(directory)
            .map_err(|source| OpenError::Directory { path: directory.clone(), source })?;
        let path = directory.join(FILE);
        let opened = Database::new(&path.to_string_lossy()).and_then(|database| {
            // Sets SQLite's `synchronous = NORMAL`: no fsync at each write. Killing the process still loses nothing.
            database.disable_bulk_loading()?;
            Ok(database)
        });
        let database = opened.map_err(|source| OpenError::File { path: path.clone(), source })?;
        rusqlite::Connection::open(&path)?.execute_batch(STREAM_INDEXES)?;
        Ok(database)
    }
}

/// Creates the indexes in a file and copies the file to memory, because SQL cannot reach the engine's memory directly.
fn memory() -> Result<Database, OpenError> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join(FILE);
    let name = path.to_string_lossy();
    Database::new(&name).map_err(|source| OpenError::File { path: path.clone(), source })?;
    rusqlite::Connection::open(&path)?.execute_batch(STREAM_INDEXES)?;
    let database = Database::memory().map_err(OpenError::Memory)?;
    database.restore_from(&name).map_err(OpenError::Memory)?;
    Ok(database)
}

/// A server that listens. It answers requests while [`Server::serve`] runs.
///
/// Each request blocks its thread until SQLite has answered, so the server should have its own runtime.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    pub async fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests and removes expired items, until it fails or is dropped.
    pub async fn serve(self, database: Database) -> Result<(), String> {
        tokio::select! {
            result = dynoxide::server::serve_with_shutdown(self.listener, database.clone(), std::future::pending()) => {
                result
            }
            never = sweep(database) => match never {},
        }
    }

    /// As [`Server::serve`], for programs that send many transactions with a token. Other requests take a little longer.
    pub async fn serve_transactions(self, database: Database) -> Result<(), String> {
        let engine = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.map_err(|error| error.to_string())?;
        let router = transactions::router(database.clone(), engine.address)?;
        tokio::select! {
            result = axum::serve(self.listener, router) => result.map_err(|error| error.to_string()),
            result = engine.serve(database) => result,
        }
    }
}

async fn sweep(database: Database) -> Infallible {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let database = database.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            tracing::warn!(%error, "failed to remove expired items");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use dynoxide::storage::ScanParams;
    use dynoxide::storage_backend::sql_builders;
    use serde_json::json;

    use super::*;

    fn with_table(storage: &Storage) -> Database {
        let table = json!({
            "TableName": "scan-results",
            "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        let database = storage.open().unwrap();
        database.create_table(serde_json::from_value(table).unwrap()).unwrap();
        database
    }

    fn put(database: &Database, key: &str, expires_at: u64) {
        let item = json!({ "pk": { "S": key }, "expires_at": { "N": expires_at.to_string() } });
        let put = json!({ "TableName": "scan-results", "Item": item });
        database.put_item(serde_json::from_value(put).unwrap()).unwrap();
    }

    fn count(database: &Database) -> usize {
        let scan = json!({ "TableName": "scan-results" });
        database.scan(serde_json::from_value(scan).unwrap()).unwrap().count
    }

    #[test]
    fn a_table_in_a_directory_survives_a_restart() {
        let parent = tempfile::tempdir().unwrap();
        let storage = Storage::Directory(parent.path().join("not/there/yet"));
        let database = with_table(&storage);
        put(&database, "1.1.1.1#80#HTTP", 1);
        drop(database);
        assert_eq!(count(&storage.open().unwrap()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn expired_items_are_removed() {
        let database = with_table(&Storage::Memory);
        let specification = json!({ "Enabled": true, "AttributeName": "expires_at" });
        let ttl = json!({ "TableName": "scan-results", "TimeToLiveSpecification": specification });
        database.update_time_to_live(serde_json::from_value(ttl).unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the engine compares with the wall clock")]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        put(&database, "1.1.1.1#80#HTTP", now - 60);
        put(&database, "1.1.1.2#80#HTTP", now + 60);
        let sweeping = tokio::time::timeout(2 * SWEEP_EVERY, sweep(database.clone()));
        sweeping.await.expect_err("the sweep never ends");
        assert_eq!(count(&database), 1);
    }

    #[test]
    fn the_error_for_a_path_that_is_a_file_names_the_path() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = Storage::Directory(path.clone()).open().map(drop).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }

    /// Returns how SQLite reads a page of a table of the engine.
    fn plan(params: &ScanParams<'_>) -> String {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        sqlite.execute_batch(&sql_builders::create_data_table("widgets").0).unwrap();
        let (sql, values) = sql_builders::scan_items("widgets", params);
        let mut statement = sqlite.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = statement.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    /// `widget-registry audit --segments 1` relies on it.
    #[test]
    fn a_page_with_a_limit_is_read_by_the_key_and_only_a_page_of_a_segment_needs_the_whole_table() {
        let (pk, sk) = (Some("w-00000001"), Some(""));
        let page =
            ScanParams { limit: Some(7_000), exclusive_start_pk: pk, exclusive_start_sk: sk, ..Default::default() };
        let read = plan(&page);
        assert!(read.contains("SEARCH") && read.contains("INDEX") && !read.contains("TEMP B-TREE"), "{read}");
        let of_segment = plan(&ScanParams { segment: Some(1), total_segments: Some(8), ..page });
        assert!(of_segment.contains("SCAN") && of_segment.contains("TEMP B-TREE"), "{of_segment}");
    }
}
