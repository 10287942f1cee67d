//! `/v1/consumers`: positions that the server keeps for consumers.

use super::{App, refused};
use crate::{
    problem::{Code, Problem},
    served::Served,
    server::guard,
    shared::Shared,
    tail::Tail,
};
use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use commonware_runtime::Clock;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};
use tidewatch_core::{
    Cursor, FaultKind, Tier,
    json::{Block, TierTip},
};

/// A consumer with a position.
#[derive(Debug, Serialize)]
pub(crate) struct Consumer {
    name: String,
    /// Events that it has not acknowledged, of those of this history.
    behind_events: u64,
    /// How long ago the first of them came, in milliseconds, or this server began if it came before.
    behind_ms: u64,
    /// The highest block that it acknowledged.
    block: Option<Block>,
    /// Where finality stands for it.
    finalized: Option<TierTip>,
    cursor: String,
}

impl Consumer {
    fn new(name: String, cursor: &Cursor, end: u64, tail: &Tail, now: SystemTime) -> Self {
        let behind_events = end.saturating_sub(cursor.handled());
        let behind = match behind_events {
            0 => Duration::ZERO,
            _ => tail.age(cursor.handled(), now),
        };
        Self {
            name,
            behind_events,
            behind_ms: behind.as_millis().try_into().unwrap_or(u64::MAX),
            block: cursor.delivered().map(Into::into),
            finalized: cursor.watermarks().tips.get(Tier::Finalized).map(Into::into),
            cursor: cursor.to_string(),
        }
    }
}

/// Events that there are.
pub(super) async fn end<L: Served>(shared: &Shared<L>) -> Result<u64, Problem> {
    Ok(shared.served.newest().await?.0.handled())
}

pub(crate) async fn list<L: Served>(
    shared: &Shared<L>,
    now: SystemTime,
) -> Result<Vec<Consumer>, Problem> {
    let (positions, end) = (shared.served.list().await?, end(shared).await?);
    let consumers = positions.into_iter();
    let consumer = |(name, cursor)| Consumer::new(name, &cursor, end, &shared.tail, now);
    Ok(consumers.map(consumer).collect())
}

pub(super) async fn all<E: Clock, L: Served>(
    State(App { context, shared }): State<App<E, L>>,
) -> Response {
    match list(&shared, context.current()).await {
        Ok(consumers) => Json(consumers).into_response(),
        Err(problem) => refused(&shared, problem),
    }
}

pub(super) async fn one<E: Clock, L: Served>(
    State(App { context, shared }): State<App<E, L>>,
    Path(name): Path<String>,
) -> Response {
    let read = async {
        let cursor = shared.served.load(&name).await?.ok_or_else(nobody)?;
        let (end, now) = (end(&shared).await?, context.current());
        Ok::<_, Problem>(Consumer::new(name, &cursor, end, &shared.tail, now))
    };
    match read.await {
        Ok(consumer) => Json(consumer).into_response(),
        Err(problem) => refused(&shared, problem),
    }
}

fn nobody() -> Problem {
    Problem::new(Code::NotFound, "no consumer of this name has a position")
}

/// Who may write: positions hold events, so nobody without the token.
fn may_write<L>(shared: &Shared<L>, headers: &HeaderMap) -> Result<(), Problem> {
    if shared.config.token.is_none() {
        let detail =
            "positions are kept only for those who show the server's token: start it with one";
        return Err(Problem::new(Code::NoToken, detail));
    }
    guard::authorized(&shared.config, headers)
}

/// What is stored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    cursor: String,
}

pub(super) async fn put<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    let store = async {
        may_write(&shared, &headers)?;
        let position: Position = serde_json::from_slice(&body)
            .map_err(|error| Problem::new(Code::InvalidParameter, error.to_string()))?;
        let cursor: Cursor = position.cursor.parse().map_err(|malformed| {
            Problem::from(tidewatch_core::ResumeError::Malformed(malformed))
        })?;
        shared.served.store(&name, &cursor).await.map_err(|fault| match fault.kind {
            FaultKind::WrongChain => Problem::new(Code::WrongChain, fault.detail),
            FaultKind::Disk | FaultKind::CorruptRecord => fault.into(),
            _ => Problem::new(Code::Refused, fault.detail),
        })
    };
    match store.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => refused(&shared, problem),
    }
}

pub(super) async fn forget<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let forget = async {
        may_write(&shared, &headers)?;
        Ok::<_, Problem>(shared.served.forget(&name).await?)
    };
    match forget.await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => refused(&shared, nobody()),
        Err(problem) => refused(&shared, problem),
    }
}
