//! `GET /v1/events`.

use super::{App, Peer, refused};
use crate::{
    events::{Ask, Opened, Outcome, Representation, open, page, stream},
    frame::{Frame, Transport},
    problem::{Code, Problem},
    served::Served,
    shared::Shared,
};
use axum::{
    Json,
    body::Body,
    extract::{Extension, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use commonware_macros::select;
use commonware_runtime::Clock;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;
use tidewatch_core::json::{Control, Goodbye, Reason};

pub(super) async fn events<E: Clock, L: Served>(
    State(App { context, shared }): State<App<E, L>>,
    Extension(Peer(peer)): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let asked = Representation::of(&headers)
        .and_then(|representation| Ok((representation, Ask::parse(&query, &headers)?)));
    let (representation, ask) = match asked {
        Ok(asked) => asked,
        Err(problem) => return refused(&shared, problem),
    };
    let slot = match shared.gate.enter(peer.ip(), context.current()) {
        Ok(slot) => slot,
        Err(code) => {
            shared.metrics.refused(code);
            return full(&shared, &ask, representation, code).await;
        }
    };
    shared.metrics.opened();
    let transport = match representation {
        Representation::Page => {
            let page = match settled(&*context, &shared, &ask).await {
                Ok(opened) => page(&*context, shared.clone(), &ask, opened).await,
                Err(problem) => Err(problem),
            };
            return match page {
                Ok(page) => Json(page).into_response(),
                Err(problem) => refused(&shared, problem),
            };
        }
        Representation::Lines => Transport::Lines,
        Representation::Sse => Transport::Sse,
    };
    let outcome = match representation {
        Representation::Sse => open(&shared.served, &ask.from).await.map_err(Problem::from),
        _ => settled(&*context, &shared, &ask).await.map(|o| Outcome::Opened(Box::new(o))),
    };
    match outcome {
        Err(problem) => refused(&shared, problem),
        Ok(outcome) => {
            let body = stream(context, shared, ask, transport, outcome, Some(slot));
            streamed(transport, Body::from_stream(body))
        }
    }
}

/// Where a request begins that can be refused by a status. One whose cursor is ahead is held for a while.
pub(crate) async fn settled<L: Served>(
    context: &impl Clock,
    shared: &Arc<Shared<L>>,
    ask: &Ask,
) -> Result<Opened, Problem> {
    let mut beats = shared.tail.watch();
    let until = context.current() + shared.config.ahead_request;
    loop {
        let draining = beats.borrow_and_update().draining;
        let error = match open(&shared.served, &ask.from).await? {
            Outcome::Opened(opened) => return Ok(*opened),
            Outcome::Refused(refusal) if ask.restart => return Ok(refusal.restarted()),
            Outcome::Refused(refusal) => return Err(refusal.problem()),
            Outcome::Ahead(ahead) => ahead.1,
        };
        if draining || context.current() >= until {
            return Err(error.into());
        }
        let due = context.sleep_until(until).boxed();
        select! {
            _ = beats.changed() => {},
            () = due => {},
        }
    }
}

/// There is no room. A browser that is refused by a status never comes again, so it is told in a stream.
async fn full<L: Served>(
    shared: &Shared<L>,
    ask: &Ask,
    representation: Representation,
    code: Code,
) -> Response {
    if representation != Representation::Sse {
        return Problem::new(code, "too many streams: come again later").into_response();
    }
    // It comes again with this position, so it is the one that it would have begun at.
    let cursor = match open(&shared.served, &ask.from).await {
        Ok(Outcome::Opened(opened)) => opened.cursor,
        Ok(Outcome::Ahead(ahead)) => ahead.0,
        Ok(Outcome::Refused(refusal)) => refusal.restart.0,
        Err(fault) => return Problem::from(fault).into_response(),
    };
    let cursor = cursor.to_string();
    let goodbye = Control::Goodbye(Goodbye { reason: Reason::Limit, retry_ms: 5_000, cursor });
    let retry = [b"retry: 5000\n", &*Frame::control(&goodbye).sent(Transport::Sse)].concat();
    streamed(Transport::Sse, Body::from(retry))
}

fn streamed(transport: Transport, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let media = match transport {
        Transport::Sse => "text/event-stream",
        Transport::Lines | Transport::Socket => "application/jsonl",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    // A proxy that collects before it sends would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
