//! The routes of the clients that have events now, cached for seconds. The engine asks it for endpoints.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dynamodb::StoreError;
use ops::RateLimitedLog;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use webhooks::{
    Changed, DisabledReason, Endpoint, EndpointId, EndpointStatus, EndpointStore, Secret, SecretKeys,
    StoreError as Failed,
};

use super::{Route, RouteTable, State, Target};
use crate::key::{endpoint, parse_endpoint};

/// A change of a route is seen after this time.
const MAX_AGE: Duration = Duration::from_secs(2);
/// Routes of more clients are read again.
const MAX_CLIENTS: usize = 10_000;
/// Below the limit of the engine, which drops a request without a word.
const CALL_TIMEOUT: Duration = Duration::from_millis(2_800);
/// How many attempts to one endpoint may run at the same time.
const MAX_CONCURRENCY: usize = 16;

/// What the table has for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Route(Arc<Route>),
    Missing,
    /// Why the row is no route.
    Unreadable(String),
}

type Cell = Arc<OnceCell<Found>>;
type OnCall = Box<dyn Fn(Option<&StoreError>) + Send + Sync>;

/// The cached routes. Clones share them.
#[derive(Clone)]
pub struct Directory(Arc<Shared>);

struct Shared {
    table: RouteTable,
    keys: Option<Arc<SecretKeys>>,
    cached: Mutex<HashMap<String, (Instant, Cell)>>,
    unusable: RateLimitedLog,
    /// Is told the result of each call of the table.
    on_call: OnCall,
}

impl Directory {
    /// Without keys, targets with a secret are paused.
    pub fn new(
        table: RouteTable,
        keys: Option<Arc<SecretKeys>>,
        on_call: impl Fn(Option<&StoreError>) + Send + Sync + 'static,
    ) -> Directory {
        let (cached, unusable) = (Mutex::default(), RateLimitedLog::default());
        Directory(Arc::new(Shared { table, keys, cached, unusable, on_call: Box::new(on_call) }))
    }

    /// Returns what the table had for a client at most 2 s ago.
    pub async fn find(&self, client_id: &str) -> Result<Found, StoreError> {
        let cell = self.cell(client_id);
        // Only one of those that wait asks the table.
        let found = cell.get_or_try_init(|| self.read(client_id)).await?;
        Ok(found.clone())
    }

    /// Returns what the table had for a client at this time, or later.
    pub async fn find_since(&self, client_id: &str, time: Instant) -> Result<Found, StoreError> {
        {
            let mut cached = self.cached();
            // Many events of a client without a route must not read it each.
            if cached.get(client_id).is_some_and(|(since, _)| *since < time) {
                cached.remove(client_id);
            }
        }
        self.find(client_id).await
    }

    async fn read(&self, client_id: &str) -> Result<Found, StoreError> {
        Ok(match self.call(self.0.table.read(client_id)).await? {
            None => Found::Missing,
            Some(Ok(route)) => Found::Route(Arc::new(route)),
            Some(Err(why)) => Found::Unreadable(why.to_string()),
        })
    }

    fn cached(&self) -> MutexGuard<'_, HashMap<String, (Instant, Cell)>> {
        self.0.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, client_id: &str) -> Cell {
        let (mut cached, now) = (self.cached(), Instant::now());
        if let Some((since, cell)) = cached.get(client_id)
            && now.duration_since(*since) < MAX_AGE
        {
            return cell.clone();
        }
        if cached.len() >= MAX_CLIENTS {
            cached.retain(|_, (since, _)| now.duration_since(*since) < MAX_AGE);
        }
        if cached.len() >= MAX_CLIENTS {
            cached.clear();
        }
        let cell = Cell::default();
        cached.insert(client_id.to_owned(), (now, cell.clone()));
        cell
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        let result = timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(StoreError::no_answer(CALL_TIMEOUT)));
        (self.0.on_call)(result.as_ref().err());
        result
    }

    /// Returns the endpoint of a target. One whose secret cannot be opened is paused, because unsigned webhooks are none.
    fn endpoint(&self, id: &EndpointId, target: &Target) -> Endpoint {
        let secrets = self.secrets(id, target);
        let status = match (&target.state.disabled, &secrets) {
            (Some(_), _) => EndpointStatus::Disabled,
            (None, None) => EndpointStatus::Paused,
            (None, Some(_)) => EndpointStatus::Active,
        };
        Endpoint {
            id: id.clone(),
            url: target.url.clone(),
            secrets: secrets.unwrap_or_default(),
            status,
            max_concurrency: MAX_CONCURRENCY,
            max_per_second: None,
            failing_since: target.state.failing_since.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)),
        }
    }

    /// Returns `None` if the target has a secret that cannot be opened.
    fn secrets(&self, id: &EndpointId, target: &Target) -> Option<Vec<Secret>> {
        let Some(sealed) = &target.secret else { return Some(Vec::new()) };
        let opened = match &self.0.keys {
            Some(keys) => keys.open(sealed, id).map_err(|error| error.to_string()),
            None => Err("no key is set".to_owned()),
        };
        let error = match opened {
            Ok(secret) => return Some(vec![secret]),
            Err(error) => error,
        };
        if let Some(suppressed) = self.0.unusable.due() {
            let endpoint = id.as_str();
            tracing::error!(
                endpoint,
                error,
                suppressed,
                "cannot open the secret of a route, so its deliveries wait; add its key to --secret-key-file, or set \
                 another secret"
            );
        }
        None
    }

    /// Changes what the table knows of the URL that the endpoint has.
    async fn change(&self, id: &EndpointId, change: impl Fn(State) -> Option<State> + Send) -> Result<Changed, Failed> {
        let Some((client_id, name)) = parse_endpoint(id) else { return Ok(Changed::Refused) };
        let Found::Route(route) = self.find(&client_id).await.map_err(to_engine)? else { return Ok(Changed::Refused) };
        let Some(target) = route.targets.get(&name) else { return Ok(Changed::Refused) };
        let changed = self.call(self.0.table.change_state((&client_id, &name), &target.url, change)).await;
        self.cached().remove(&client_id);
        let other = || Failed("another instance changed the route at the same time".into());
        changed.map_err(to_engine)?.ok_or_else(other)
    }

    async fn target(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let Some((client_id, name)) = parse_endpoint(id) else { return Ok(None) };
        Ok(match self.find(&client_id).await? {
            Found::Route(route) => route.targets.get(&name).map(|target| self.endpoint(id, target)),
            Found::Missing => None,
            // Its deliveries wait until somebody repairs the row.
            Found::Unreadable(_) => {
                let paused = Endpoint { status: EndpointStatus::Paused, ..self.endpoint(id, &Target::new("")) };
                Some(paused)
            }
        })
    }
}

fn to_engine(error: StoreError) -> Failed {
    Failed(Box::new(error))
}

fn to_unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl EndpointStore for Directory {
    async fn get(&self, id: &EndpointId) -> Result<Option<Endpoint>, Failed> {
        self.target(id).await.map_err(to_engine)
    }

    async fn mark_failing(&self, id: &EndpointId, since: SystemTime) -> Result<(), Failed> {
        let since = Some(to_unix_seconds(since));
        let mark = |state: State| state.failing_since.is_none().then_some(State { failing_since: since, ..state });
        self.change(id, mark).await.map(|_| ())
    }

    async fn clear_failing(&self, id: &EndpointId) -> Result<(), Failed> {
        let clear = |state: State| state.failing_since.is_some().then_some(State { failing_since: None, ..state });
        self.change(id, clear).await.map(|_| ())
    }

    async fn disable(
        &self,
        id: &EndpointId,
        reason: DisabledReason,
        failing_since: Option<SystemTime>,
    ) -> Result<Changed, Failed> {
        let since = failing_since.map(to_unix_seconds);
        let disable = |state: State| {
            let is_failing = since.is_none() || state.failing_since == since;
            let disabled = Some(reason.as_str().to_owned());
            (state.disabled.is_none() && is_failing).then_some(State { disabled, ..state })
        };
        self.change(id, disable).await
    }
}

/// Returns the endpoints of a route that want events of this type.
pub fn wanted(route: &Route, event_type: &str) -> Vec<EndpointId> {
    let wanted = route.targets.iter().filter(|(_, target)| target.wants(event_type));
    wanted.filter_map(|(name, _)| endpoint(&route.client_id, name)).collect()
}
