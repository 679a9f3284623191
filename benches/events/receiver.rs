//! An endpoint, which notes when each event arrives first.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::latency::until;

type Noted = Arc<Mutex<HashMap<u64, Instant>>>;

pub(crate) struct Receiver {
    noted: Noted,
    address: SocketAddr,
    _serving: JoinSet<std::io::Result<()>>,
}

impl Receiver {
    pub(crate) async fn listen() -> anyhow::Result<Receiver> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, noted) = (listener.local_addr()?, Noted::default());
        let router = Router::new().fallback_service(post(receive).with_state(noted.clone()));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Ok(Receiver { noted, address, _serving: serving })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when an event arrived.
    pub(crate) fn of(&self, number: u32) -> Option<Instant> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).get(&number.into()).copied()
    }

    pub(crate) async fn wait_for(&self, count: usize, limit: Duration) -> anyhow::Result<()> {
        let arrived = || self.noted.lock().unwrap_or_else(PoisonError::into_inner).len() >= count;
        until(limit, &format!("{count} webhooks"), arrived).await
    }
}

async fn receive(State(noted): State<Noted>, body: Bytes) -> StatusCode {
    let now = Instant::now();
    let Some(number) = serde_json::from_slice(&body).ok().and_then(|body: Value| body["data"]["number"].as_u64())
    else {
        return StatusCode::BAD_REQUEST;
    };
    noted.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_insert(now);
    StatusCode::NO_CONTENT
}
