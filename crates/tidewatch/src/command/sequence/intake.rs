//! Takes encrypted transactions over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/transactions`, the body is one transaction: sender, nonce and payload | 202: it is durable; its digest. 409: its nonce is used, or leaves a gap. 413: too large. 422: no transaction. 503: the pool is full, or it is stopping |
//! | `GET /v1/transactions/DIGEST` | 200: where it is. 404: it never was here, or its block is old |
//! | `GET /v1/target?sender=HEX` | 200: the round to encrypt to, the newest one with its seed, and the sender's next nonce. 503: no round is certified yet |

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_formatting::{from_hex, hex};
use commonware_runtime::tokio::Context;
use commonware_utils::sync::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tidewatch_core::Digest;
use tidewatch_sequencer::{
    Block, Opened, Place, Pool as _, Sender, TRANSACTION_BYTES_MAX, Transaction,
    disk::{DiskPool, NotAccepted},
    remote::Remote,
    timelock::Keys,
};
use tokio::sync::Semaphore;

/// Requests at once.
const REQUESTS: usize = 256;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Transactions of blocks whose place is remembered.
const PLACES: usize = 100_000;
/// Rounds that a transaction is encrypted ahead.
const AHEAD: u64 = 8;

/// Where a transaction is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Where {
    /// `pooled`, `reserved`, `applied` or `dropped`.
    pub(super) place: String,
    /// The number of the block.
    pub(super) number: Option<u64>,
    /// Why it was dropped.
    pub(super) reason: Option<String>,
}

/// What a sender has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) epoch: u64,
    /// The newest view that is certified, and its seed.
    pub(super) view: u64,
    pub(super) seed: String,
    /// The view to encrypt to.
    pub(super) target: u64,
    /// The sender's next nonce.
    pub(super) nonce: u64,
}

/// Where the transactions of the newest blocks are.
#[derive(Debug, Default)]
pub(super) struct Places {
    order: VecDeque<Digest>,
    places: HashMap<Digest, Where>,
}

impl Places {
    pub(super) fn applied(&mut self, block: &Block) {
        let number = Some(block.identity.number.get());
        for (transaction, opened) in block.content.transactions.iter().zip(&block.opened) {
            let (place, reason) = match opened {
                Opened::Clear(_) => ("applied", None),
                Opened::Dropped(reason) => ("dropped", Some(reason.clone())),
            };
            let id = transaction.id();
            self.places.insert(id, Where { place: place.into(), number, reason });
            self.order.push_back(id);
        }
        while self.order.len() > PLACES {
            if let Some(id) = self.order.pop_front() {
                self.places.remove(&id);
            }
        }
    }
}

/// What every route reads.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) pool: Arc<DiskPool<Context>>,
    pub(super) remote: Remote,
    pub(super) places: Arc<Mutex<Places>>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) requests: Arc<Semaphore>,
}

impl Intake {
    pub(super) fn new(pool: Arc<DiskPool<Context>>, remote: Remote) -> Self {
        Self {
            pool,
            remote,
            places: Arc::default(),
            stopping: Arc::default(),
            requests: Arc::new(Semaphore::new(REQUESTS)),
        }
    }

    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/v1/transactions", post(accept))
            .route("/v1/transactions/{digest}", get(place))
            .route("/v1/target", get(target))
            .layer(DefaultBodyLimit::max(TRANSACTION_BYTES_MAX + 64))
            .layer(from_fn_with_state(self.clone(), bounded))
            .with_state(self)
    }
}

fn refuse(status: StatusCode, why: impl std::fmt::Display) -> Response {
    (status, format!("{why}\n")).into_response()
}

async fn bounded(State(intake): State<Intake>, request: Request, next: Next) -> Response {
    if intake.stopping.load(Ordering::Acquire) {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "it is stopping");
    }
    let Ok(_place) = intake.requests.try_acquire() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once");
    };
    let served = tokio::time::timeout(PATIENCE, next.run(request)).await;
    served.unwrap_or_else(|_| refuse(StatusCode::REQUEST_TIMEOUT, "it took too long"))
}

async fn accept(State(intake): State<Intake>, body: Bytes) -> Response {
    let transaction = match Transaction::decode(body) {
        Ok(transaction) if transaction.sender == Sender::DELAYED => {
            let why = "transactions of the delayed inbox come from the layer below";
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, why);
        }
        Ok(transaction) => transaction,
        Err(error) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, error),
    };
    let answers = match intake.pool.insert(vec![transaction]).await {
        Ok(answers) => answers,
        Err(fault) => return refuse(StatusCode::SERVICE_UNAVAILABLE, fault),
    };
    match answers.into_iter().next() {
        Some(Ok(id)) => (StatusCode::ACCEPTED, format!("{id}\n")).into_response(),
        Some(Err(why)) => {
            let status = match why {
                NotAccepted::Used { .. } | NotAccepted::Gap { .. } => StatusCode::CONFLICT,
                NotAccepted::Oversized { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                NotAccepted::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
            };
            refuse(status, why)
        }
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "no answer from the pool"),
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    from_hex(text)?.try_into().ok()
}

async fn place(State(intake): State<Intake>, Path(id): Path<String>) -> Response {
    let Some(id) = digest(&id).map(Digest) else {
        return refuse(StatusCode::BAD_REQUEST, "expected a digest of 64 digits in hex");
    };
    let named = |place: &str, number: Option<u64>, reason: Option<String>| Where {
        place: place.into(),
        number,
        reason,
    };
    let known = intake.places.lock().places.get(&id).cloned();
    let known = known.or_else(|| {
        intake.pool.place(&id).map(|place| match place {
            Place::Pooled => named("pooled", None, None),
            Place::Reserved(number) => named("reserved", Some(number.get()), None),
            Place::Applied(number) => named("applied", Some(number.get()), None),
            Place::Dropped(reason) => named("dropped", None, Some(reason)),
        })
    });
    known.map_or_else(
        || refuse(StatusCode::NOT_FOUND, "not known, or of an old block"),
        |known| Json(known).into_response(),
    )
}

async fn target(
    State(intake): State<Intake>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let sender = query.get("sender").and_then(|sender| digest(sender)).map(Sender);
    let Some(sender) = sender else {
        return refuse(StatusCode::BAD_REQUEST, "expected ?sender=, 64 digits in hex");
    };
    let seed = match intake.remote.round().await {
        Ok(seed) => seed,
        Err(fault) => return refuse(StatusCode::SERVICE_UNAVAILABLE, fault),
    };
    let outstanding = intake.pool.outstanding().map(|proposal| proposal.content);
    let target = Keys::target(seed.round, outstanding.as_ref(), AHEAD);
    Json(Target {
        epoch: seed.round.epoch().get(),
        view: seed.round.view().get(),
        seed: hex(&seed.signature.encode()),
        target: target.view().get(),
        nonce: intake.pool.nonce(&sender),
    })
    .into_response()
}
