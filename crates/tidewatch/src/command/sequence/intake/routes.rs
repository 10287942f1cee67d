//! What each request is answered.

use super::{Code, Intake, Problem, Where};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State, rejection::BytesRejection},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_formatting::{from_hex, hex};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::atomic::Ordering};
use tidewatch_core::Digest;
use tidewatch_sequencer::{Sender, TRANSACTION_BYTES_MAX, Transaction};

/// Bytes of a transaction beside its payload, at the most: its sender, its nonce, and how long the payload is.
const HEAD_MAX: usize = 32 + 10 + 5;
/// The same of one whose payload has as many bytes as it may, at the least.
const HEAD_MIN: usize = 32 + 1 + 3;

/// What a sender has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) epoch: u64,
    /// The newest view that is certified, and its seed.
    pub(crate) view: u64,
    pub(crate) seed: String,
    /// The view to encrypt to.
    pub(crate) target: u64,
    /// The first and the last view that will do now.
    pub(crate) least: u64,
    pub(crate) greatest: u64,
    /// The sender's next nonce.
    pub(crate) nonce: u64,
}

/// Every route, with its bounds.
pub(super) fn router(intake: Intake) -> Router {
    Router::new()
        .route("/v1/transactions", post(accept))
        .route("/v1/transactions/{digest}", get(place))
        .route("/v1/target", get(target))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(TRANSACTION_BYTES_MAX + HEAD_MAX))
        .layer(from_fn_with_state(intake.clone(), bounded))
        .with_state(intake)
}

impl Intake {
    /// Refuses, and counts why.
    fn refuse(&self, problem: impl Into<Problem>) -> Response {
        let problem = problem.into();
        self.metrics.refused(problem.code);
        problem.into_response()
    }
}

/// What every request passes: a place, and a deadline until its answer begins.
async fn bounded(State(intake): State<Intake>, request: Request, next: Next) -> Response {
    if intake.stopping.load(Ordering::Acquire) {
        return intake.refuse(Problem::new(Code::Stopping, "it is stopping"));
    }
    let Ok(_place) = intake.requests.try_acquire() else {
        return intake.refuse(Problem::new(Code::Busy, "too many requests at once: try again"));
    };
    let limit = intake.bounds.request;
    let served = tokio::time::timeout(limit, next.run(request)).await;
    served.unwrap_or_else(|_| {
        intake.refuse(Problem::new(Code::Slow, format!("it took longer than {limit:?}")))
    })
}

async fn no_route(State(intake): State<Intake>) -> Response {
    intake.refuse(Problem::new(Code::NoRoute, "there is nothing here"))
}

async fn no_method(State(intake): State<Intake>) -> Response {
    intake.refuse(Problem::new(Code::NoMethod, "this route has no such method"))
}

/// The transaction in a body.
fn transaction(body: Result<Bytes, BytesRejection>) -> Result<Transaction, Problem> {
    let large = || {
        let why = format!("a payload has {TRANSACTION_BYTES_MAX} bytes at the most");
        Problem::new(Code::Large, why)
    };
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => large(),
        _ => Problem::new(Code::NoTransaction, rejection),
    })?;
    let bytes = body.len();
    let transaction = Transaction::decode(body).map_err(|error| {
        if bytes > TRANSACTION_BYTES_MAX + HEAD_MIN {
            return large();
        }
        Problem::new(Code::NoTransaction, error)
    })?;
    if transaction.sender == Sender::DELAYED {
        let why = "transactions of the delayed inbox come from the layer below";
        return Err(Problem::new(Code::NoTransaction, why));
    }
    Ok(transaction)
}

async fn accept(State(intake): State<Intake>, body: Result<Bytes, BytesRejection>) -> Response {
    let transaction = match transaction(body) {
        Ok(transaction) => transaction,
        Err(problem) => return intake.refuse(problem),
    };
    if let Err(fault) = intake.rounds.newest().await {
        return intake.refuse(Problem::new(Code::NoRound, fault));
    }
    match intake.pool.admit(vec![transaction], &intake.door).await.map(|mut answers| answers.pop())
    {
        Ok(Some(Ok(id))) => {
            intake.metrics.accepted();
            (StatusCode::ACCEPTED, format!("{id}\n")).into_response()
        }
        Ok(Some(Err(why))) => intake.refuse(why),
        Ok(None) => intake.refuse(Problem::new(Code::Failed, "no answer from the pool")),
        Err(fault) => intake.refuse(Problem::new(Code::Failed, fault)),
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    from_hex(text)?.try_into().ok()
}

async fn place(State(intake): State<Intake>, Path(id): Path<String>) -> Response {
    let Some(id) = digest(&id).map(Digest) else {
        let why = "expected a digest of 64 digits in hex";
        return intake.refuse(Problem::new(Code::Parameter, why));
    };
    let known = intake.places.lock().of(&id);
    match known.or_else(|| intake.pool.place(&id).map(Where::from)) {
        Some(known) => Json(known).into_response(),
        None => intake.refuse(Problem::new(Code::NotKnown, "not known, or of an old block")),
    }
}

async fn target(
    State(intake): State<Intake>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let sender = query.get("sender").and_then(|sender| digest(sender)).map(Sender);
    let bytes = query.get("bytes").map_or(Some(0), |bytes| bytes.parse::<usize>().ok());
    let (Some(sender), Some(bytes)) = (sender, bytes) else {
        let why = "expected ?sender=, 64 digits in hex, and perhaps &bytes=, a number";
        return intake.refuse(Problem::new(Code::Parameter, why));
    };
    let seed = match intake.rounds.newest().await {
        Ok(seed) => seed,
        Err(fault) => return intake.refuse(Problem::new(Code::NoRound, fault)),
    };
    let window = match intake.pool.window(&intake.door, bytes) {
        Ok(window) => window,
        Err(why) => return intake.refuse(why),
    };
    Json(Target {
        epoch: seed.round.epoch().get(),
        view: seed.round.view().get(),
        seed: hex(&seed.signature.encode()),
        target: window.target().view().get(),
        least: window.least.view().get(),
        greatest: window.greatest.view().get(),
        nonce: intake.pool.nonce(&sender),
    })
    .into_response()
}
