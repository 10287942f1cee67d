//! `GET /v1/status`, `/v1/resume` and `/v1/faults`.

use super::{App, consumers, refused};
use crate::{
    events::{From, Outcome, open},
    observer::{Faults, Upstream},
    problem::{Code, Problem},
    served::Served,
    shared::Shared,
};
use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use commonware_runtime::Clock;
use serde::Serialize;
use std::{collections::BTreeMap, time::SystemTime};
use tidewatch_core::{
    Tier,
    json::{Block, Bookmark, Hello, Proving, Resumes, Tips, Verified},
};
use tidewatch_store::Retained;
use url::form_urlencoded;

/// Everything that is known of the follower.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    version: &'static str,
    chain: String,
    genesis: Block,
    ladder: [&'static str; 4],
    /// The follower's state, and the newest position.
    #[serde(flatten)]
    stands: Bookmark,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<Verified>,
    block: Option<Block>,
    tips: Tips,
    /// What the source reported last, before it was taken in.
    source_tips: Tips,
    source: Source,
    /// What became of the requests to each of its upstreams, where it tells of them.
    upstreams: Vec<Upstream>,
    /// How far proving is, where blocks are proven here.
    #[serde(skip_serializing_if = "Option::is_none")]
    proving: Option<Proving>,
    ready: bool,
    streams: usize,
    consumers: Vec<consumers::Consumer>,
    retention: Retention,
}

/// What is followed.
#[derive(Debug, Serialize)]
struct Source {
    name: String,
    /// Times that it was read.
    snapshots: u64,
    /// Faults that were reported, of it and of anything else.
    faults: u64,
}

/// What is held.
#[derive(Debug, Serialize)]
struct Retention {
    /// The oldest event that can be read, and the next one to come.
    oldest_event: u64,
    next_event: u64,
    /// The height of the oldest block that is held.
    oldest_block: Option<u64>,
    /// Of each tier the height of the oldest proof.
    oldest_proofs: BTreeMap<&'static str, u64>,
    pins: Vec<Pinned>,
}

/// What holds a block.
#[derive(Debug, Serialize)]
struct Pinned {
    name: String,
    block: Block,
}

impl Retention {
    fn new(retained: Retained, next_event: u64) -> Self {
        let oldest = Tier::ALL.into_iter().zip(retained.oldest_proofs);
        let oldest = oldest.filter_map(|(tier, height)| Some((tier.as_str(), height?.get())));
        let pins = retained.pins.into_iter();
        Self {
            oldest_event: retained.oldest_event,
            next_event,
            oldest_block: retained.oldest_block.map(|height| height.get()),
            oldest_proofs: oldest.collect(),
            pins: pins.map(|(name, block)| Pinned { name, block: block.into() }).collect(),
        }
    }
}

pub(crate) async fn of<L: Served>(shared: &Shared<L>, now: SystemTime) -> Result<Status, Problem> {
    let Shared { chain_info, served, heads, observer, .. } = shared;
    let ((cursor, watermarks), head) = (served.newest().await?, heads.current());
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        chain: chain_info.id.as_str().into(),
        genesis: chain_info.genesis.into(),
        ladder: Hello::ladder(shared.ladder),
        stands: Bookmark::new(&head.status, &cursor),
        verification: head.status.verification.map(Into::into),
        block: watermarks.delivered.map(Into::into),
        tips: (&watermarks.tips).into(),
        source_tips: (&head.tips).into(),
        source: Source {
            name: shared.source.clone(),
            snapshots: observer.snapshots(),
            faults: observer.total(),
        },
        upstreams: observer.upstreams(now),
        proving: observer.proven(),
        ready: super::health::unready(shared).is_none(),
        streams: shared.gate.streams(),
        consumers: consumers::list(shared, now).await?,
        retention: Retention::new(served.retention().await?, cursor.handled()),
    })
}

pub(super) async fn status<E: Clock, L: Served>(
    State(App { context, shared }): State<App<E, L>>,
) -> Response {
    match of(&shared, context.current()).await {
        Ok(status) => Json(status).into_response(),
        Err(problem) => refused(&shared, problem),
    }
}

pub(super) async fn faults<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
) -> Json<Faults> {
    Json(shared.observer.faults())
}

/// What a stream would say to a cursor.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    resume: Resumes,
    /// Events of the bridge that would come first.
    bridge: usize,
    /// Events of the log that there are after it.
    events: u64,
    /// Why there would be no events, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The position that can be gone on from.
    cursor: String,
}

/// How `cursor` would be gone on from, without doing so.
pub(crate) async fn dry<L: Served>(shared: &Shared<L>, cursor: String) -> Result<Answer, Problem> {
    let end = consumers::end(shared).await?;
    Ok(match open(&shared.served, &From::Cursor(cursor)).await? {
        Outcome::Opened(opened) => Answer {
            resume: opened.how,
            bridge: opened.bridge.len(),
            events: end.saturating_sub(opened.next),
            code: None,
            cursor: opened.cursor.to_string(),
        },
        Outcome::Ahead(ahead) => Answer {
            resume: Resumes::Ahead,
            bridge: 0,
            events: 0,
            code: Some(Code::Ahead.as_str()),
            cursor: ahead.0.to_string(),
        },
        Outcome::Refused(refusal) => Answer {
            resume: Resumes::Reset,
            bridge: 0,
            events: end.saturating_sub(refusal.restart.0.handled()),
            code: Some(refusal.code().as_str()),
            cursor: refusal.restart.0.to_string(),
        },
    })
}

pub(super) async fn resume<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let cursor = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "cursor");
    let answer = match cursor {
        Some((_, cursor)) => dry(&shared, cursor.into_owned()).await,
        None => Err(Problem::new(Code::InvalidParameter, "cursor: there is none")),
    };
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(problem) => refused(&shared, problem),
    }
}
