//! JSON-RPC over HTTP and WebSocket, at `/rpc`.
//!
//! The objects are those of the routes, and a subscription is a stream: it has the same lines, which come as
//! `tip_subscription`. It holds no queue either: its next line is read when the socket has taken the last one.

mod message;
mod socket;

pub(crate) use socket::connect;

use crate::{
    describe,
    events::{Ask, page},
    routes::{App, settled, standing, status, why},
    served::Served,
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
};
use commonware_runtime::Clock;
use http::{HeaderMap, StatusCode};
use message::{Call, Error, Message, answer, only, query};
use serde_json::Value;

/// Answers a `POST`.
pub(crate) async fn post<E: Clock, L: Served>(
    State(app): State<App<E, L>>,
    body: Bytes,
) -> Response {
    let answer = match Message::parse(&body) {
        Message::One(call) => one(&app, call).await,
        Message::Batch(calls) => {
            let mut answers = Vec::new();
            for call in calls {
                answers.extend(one(&app, call).await);
            }
            (!answers.is_empty()).then_some(Value::Array(answers))
        }
    };
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// The answer to one call; nothing to a notification.
async fn one<E: Clock, L: Served>(app: &App<E, L>, call: Result<Call, Value>) -> Option<Value> {
    match call {
        Err(answer) => Some(answer),
        Ok(call) => {
            let result = result(app, &call).await;
            call.id.map(|id| answer(&id, result))
        }
    }
}

/// What every method but subscriptions answers.
async fn result<E: Clock, L: Served>(app: &App<E, L>, call: &Call) -> Result<Value, Error> {
    let shared = &app.shared;
    let shown = match call.method.as_str() {
        "tip_tips" => serde_json::to_value(standing(shared).await?),
        "tip_status" => serde_json::to_value(status(shared, app.context.current()).await?),
        "tip_resume" => {
            let cursor = only(&call.params, "cursor")?;
            serde_json::to_value(crate::routes::dry(shared, cursor).await?)
        }
        "tip_proof" => serde_json::to_value(why(shared, &only(&call.params, "tier")?).await?.0),
        "tip_events" => {
            let ask = Ask::parse(&query(&call.params)?, &HeaderMap::new())?;
            let opened = settled(&*app.context, shared, &ask).await?;
            serde_json::to_value(page(&*app.context, shared.clone(), &ask, opened).await?)
        }
        "rpc.discover" => Ok(describe::openrpc().clone()),
        "tip_subscribe" | "tip_unsubscribe" => return Err(Error::needs_socket()),
        name => return Err(Error::method(name)),
    };
    shown.map_err(|error| Error::params(error.to_string()))
}
