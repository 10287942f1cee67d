//! `/live`, `/ready`, `/health` and `/metrics`.

use super::{App, refused};
use crate::{
    liveness::Of,
    problem::{Code, Problem},
    served::Served,
    shared::Shared,
};
use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use commonware_runtime::{Clock, Metrics};
use http::{StatusCode, header};
use serde::Serialize;
use std::time::{Duration, SystemTime};
use tidewatch_core::{Cause, Status};
use url::form_urlencoded;

/// What the encoder writes: the format that Prometheus asks for first.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An answer to a probe.
#[derive(Debug, Serialize)]
struct Health {
    /// Why not, in a word; `ok` otherwise.
    code: &'static str,
    state: &'static str,
    lag: u64,
    tip_age_ms: Option<u64>,
    /// Who makes no progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'static str>,
}

impl Health {
    fn new(code: &'static str, status: &Status) -> Self {
        let Status { state, lag, tip_age_ms, .. } = *status;
        Self { code, state: state.as_str(), lag, tip_age_ms, actor: None }
    }

    fn answer(status: StatusCode, code: &'static str, head: &Status) -> Response {
        (status, Json(Self::new(code, head))).into_response()
    }
}

/// Why a follower in `status` should not be relied on.
fn unsound(status: &Status, max_lag: u64, max_age: Duration) -> Option<&'static str> {
    use tidewatch_core::State;
    let age = status.tip_age_ms.map(Duration::from_millis);
    match status.state {
        _ if status.cause == Some(Cause::Ended) => Some("ended"),
        State::Live | State::Lagging if age.is_some_and(|age| age > max_age) => Some("stale"),
        State::Live | State::Lagging if status.lag <= max_lag => None,
        State::Lagging | State::Live => Some("lagging"),
        state => Some(state.as_str()),
    }
}

/// Why this server should get no traffic now; `None` if it should.
pub(crate) fn unready<L: Served>(shared: &Shared<L>) -> Option<&'static str> {
    if shared.tail.beat().draining {
        return Some("draining");
    }
    let head = shared.heads.current();
    if head.delivered().is_none() && head.watermarks.tips.version() == 0 {
        return Some("starting");
    }
    unsound(&head.status, shared.config.ready_max_lag, shared.config.ready_max_age)
}

pub(super) async fn ready<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
) -> Response {
    let status = shared.heads.current().status;
    match unready(&shared) {
        None => Health::answer(StatusCode::OK, "ok", &status),
        Some(code) => Health::answer(StatusCode::SERVICE_UNAVAILABLE, code, &status),
    }
}

/// Whether the process should go on. It never depends on an upstream: nothing gets better by a restart there.
pub(super) async fn live<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
) -> Response {
    let status = shared.heads.current().status;
    let (code, actor) = match (status.cause, shared.liveness.stalled()) {
        (Some(Cause::Ended), _) => ("ended", Some(Of::Driver)),
        (_, Some(actor)) => ("stalled", Some(actor)),
        (_, None) => return Health::answer(StatusCode::OK, "ok", &status),
    };
    let health = Health { actor: actor.map(Of::as_str), ..Health::new(code, &status) };
    (StatusCode::SERVICE_UNAVAILABLE, Json(health)).into_response()
}

/// As beacon nodes answer: 200 in sync, 206 on the way, 503 otherwise.
fn health_of(status: &Status) -> StatusCode {
    use tidewatch_core::State;
    match status.state {
        _ if status.cause == Some(Cause::Ended) => StatusCode::SERVICE_UNAVAILABLE,
        State::Live => StatusCode::OK,
        State::CatchingUp | State::Lagging => StatusCode::PARTIAL_CONTENT,
        State::Stale | State::Blind | State::Conflicted => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub(super) async fn health<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    RawQuery(query): RawQuery,
) -> Response {
    let status = shared.heads.current().status;
    let mut code = health_of(&status);
    let query = query.unwrap_or_default();
    let chosen =
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "syncing_status");
    if let Some((_, chosen)) = chosen {
        let chosen = chosen.parse().ok().filter(|code| (200..600).contains(code));
        let Some(chosen) = chosen.and_then(|code| StatusCode::from_u16(code).ok()) else {
            let detail = "syncing_status: a status from 200 to 599";
            return refused(&shared, Problem::new(Code::InvalidParameter, detail));
        };
        if code == StatusCode::PARTIAL_CONTENT {
            code = chosen;
        }
    }
    let word = if code == StatusCode::OK { "ok" } else { status.state.as_str() };
    Health::answer(code, word, &status)
}

/// Shows in the metrics what holds at the moment `at`.
pub(crate) fn show<L: Served>(shared: &Shared<L>, at: SystemTime) {
    let tail = &shared.tail;
    let end = tail.beat().end;
    let behind = |next: u64| (end.saturating_sub(next), tail.age(next, at));
    let behind: Vec<_> = shared.gate.positions().into_iter().map(behind).collect();
    shared.metrics.show(shared.gate.streams(), &behind, unready(shared).is_none());
}

pub(super) async fn metrics<E: Clock + Metrics, L: Served>(
    State(App { context, shared }): State<App<E, L>>,
) -> Response {
    show(&shared, context.current());
    ([(header::CONTENT_TYPE, OPEN_METRICS)], context.encode()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_core::State;

    #[test]
    fn ready_and_healthy_are_what_can_be_relied_on() {
        let at = |state, lag, tip_age_ms| Status { state, lag, tip_age_ms, ..Status::unknown() };
        let ended = Status { cause: Some(Cause::Ended), ..at(State::Live, 0, None) };
        let table = [
            (at(State::Live, 0, None), None, 200),
            (at(State::Live, 2, Some(59_000)), None, 200),
            (at(State::Live, 2, Some(61_000)), Some("stale"), 200),
            (at(State::Lagging, 16, None), None, 206),
            (at(State::Lagging, 17, None), Some("lagging"), 206),
            (at(State::CatchingUp, 3, None), Some("catching_up"), 206),
            (at(State::Stale, 0, None), Some("stale"), 503),
            (at(State::Blind, 0, None), Some("blind"), 503),
            (at(State::Conflicted, 0, None), Some("conflicted"), 503),
            (ended, Some("ended"), 503),
        ];
        for (status, why, health) in table {
            assert_eq!(unsound(&status, 16, Duration::from_secs(60)), why, "{status:?}");
            assert_eq!(health_of(&status).as_u16(), health, "{status:?}");
        }
    }
}
