//! The routes of an alto indexer, of a certified chain: programs that follow an indexer follow this server.
//!
//! # Overview
//!
//! | route | answers |
//! |---|---|
//! | `GET /finalization/{latest or view}` | a finalization certificate and its block |
//! | `GET /notarization/{latest or view}` | the newest notarization and its block, while it is the proposed tip |
//! | `GET /block/{latest or height}` | the finalization of the block at that height, and the block |
//! | `GET /block/{digest}` | a block |
//! | `GET /v1/certificate?from=H&to=T` | the highest finalization of a block in that range, or the lowest above, and its block; `to` is `from` where it is left out |
//! | `GET /consensus/ws` | pushes: a byte of kind (1 notarization, 2 finalization), the certificate, the block |
//!
//! Views and heights are 16 hex digits, digests 64. A certificate is byte for byte the one that was verified here,
//! so whoever follows this server verifies for themselves what this server verified, and trust does not add up.
//!
//! # What is held
//!
//! A certificate is held for each block that the finalized tip stood at, for the end of each range of history that was
//! taken in at once, and for the last block of each epoch in it. Any other block is final by the hash chain under one
//! of those: asked for by its height it is not found, as at an indexer, and by its digest it is. The protocol of an
//! indexer cannot ask which one is above: a Tidewatch asks by `/v1/certificate`. Notarizations are not kept on disk.
//! There are no seeds: `/seed` finds none.
//!
//! # Limits
//!
//! A block is found by its digest among the newest 4,096, and anywhere if the block above it was given out before:
//! the parents that were named last are remembered. A push connection takes the place of a stream
//! (`Config::streams_max`) and has no queue: one that does not keep up misses certificates, as at an indexer.

mod lookup;
mod push;

use crate::{
    problem::{Code, Problem},
    routes::{App, wrong},
    served::Served,
    shared::Shared,
};
use axum::{
    Router,
    extract::{Extension, Path, RawQuery, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use commonware_runtime::Clock;
use http::header;
use lookup::{Hints, Query};
use std::sync::Arc;
use tidewatch_core::Ladder;
use url::form_urlencoded;

/// The routes, for a chain that has certificates.
pub(crate) fn router<E: Clock, L: Served>(ladder: Ladder) -> Router<App<E, L>> {
    if ladder != Ladder::Certified {
        return Router::new();
    }
    Router::new()
        .route("/finalization/{query}", get(finalization::<E, L>))
        .route("/notarization/{query}", get(notarization::<E, L>))
        .route("/block/{query}", get(block::<E, L>))
        .route("/seed/{query}", get(seed::<E, L>))
        .route("/consensus/ws", get(push::connect::<E, L>))
        .route("/v1/certificate", get(certificate::<E, L>))
        .layer(Extension(Arc::new(Hints::default())))
}

fn answer<L>(shared: &Shared<L>, found: Result<Option<Bytes>, Problem>) -> Response {
    let none = || Problem::new(Code::NotFound, "this is not held");
    match found.and_then(|found| found.ok_or_else(none)) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        Err(problem) => {
            shared.metrics.refused(problem.code);
            problem.into_response()
        }
    }
}

async fn finalization<E: Clock, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    Path(query): Path<String>,
) -> Response {
    let found = async {
        match Query::parse(&query)? {
            Query::Latest => lookup::newest(&shared).await,
            Query::Number(view) => lookup::of_view(&shared, view).await,
            Query::Digest(_) => Ok(None),
        }
    };
    answer(&shared, found.await)
}

async fn notarization<E: Clock, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    Path(query): Path<String>,
) -> Response {
    let found = async {
        let query = Query::parse(&query)?;
        let Some(proof) = shared.observer.notarized() else { return Ok(None) };
        let asked = match query {
            Query::Latest => true,
            Query::Number(view) => lookup::view(&proof) == Some(view),
            Query::Digest(_) => false,
        };
        if asked { lookup::with_block(&shared, proof).await } else { Ok(None) }
    };
    answer(&shared, found.await)
}

async fn block<E: Clock, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    Extension(hints): Extension<Arc<Hints>>,
    Path(query): Path<String>,
) -> Response {
    let found = async {
        match Query::parse(&query)? {
            Query::Latest => lookup::newest(&shared).await,
            Query::Number(height) => lookup::of_height(&shared, &hints, height).await,
            Query::Digest(digest) => lookup::of_digest(&shared, &hints, digest).await,
        }
    };
    answer(&shared, found.await)
}

async fn certificate<E: Clock, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    Extension(hints): Extension<Arc<Hints>>,
    RawQuery(query): RawQuery,
) -> Response {
    let found = async {
        let range = range(&query.unwrap_or_default())?;
        lookup::of_range(&shared, &hints, range).await
    };
    answer(&shared, found.await)
}

/// The heights `from` and `to`, which is `from` where it is left out.
fn range(query: &str) -> Result<(u64, u64), Problem> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (mut from, mut to) = (None, None);
    for (name, value) in &mut pairs {
        let height = value.parse().map_err(|_| wrong(&name))?;
        match &*name {
            "from" => from = Some(height),
            "to" => to = Some(height),
            _ => return Err(wrong(&name)),
        }
    }
    let from = from.ok_or_else(|| wrong("from"))?;
    let to = to.unwrap_or(from);
    if to < from { Err(wrong("to")) } else { Ok((from, to)) }
}

async fn seed<E: Clock, L: Served>(State(App { shared, .. }): State<App<E, L>>) -> Response {
    answer(&shared, Ok(None))
}
