//! `GET /v1/blocks/{height or digest}`: a delivered block.

use super::{App, refused};
use crate::{
    problem::{Code, Problem},
    served::Served,
    shared::Shared,
};
use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use commonware_codec::Encode as _;
use commonware_formatting::{from_hex, hex};
use http::{HeaderMap, header};
use serde::Serialize;
use tidewatch_core::{ArchiveError, Block as _, BlockRef, Digest, Height, json};

/// Blocks below the delivered one that are searched for a digest.
const SEARCHED: u64 = 4_096;

/// A delivered block.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    block: json::Block,
    /// The parent's digest.
    parent: String,
    /// The tiers that it has reached.
    tiers: Vec<&'static str>,
    /// The block in the chain's own encoding, in hex.
    bytes: String,
}

/// Which block is meant by `name`.
pub(crate) async fn find<L: Served>(shared: &Shared<L>, name: &str) -> Result<BlockRef, Problem> {
    let none = |detail: &str| Problem::new(Code::NotFound, detail);
    let delivered = shared.served.newest().await?.1.delivered;
    let top = delivered.ok_or_else(|| none("no block was delivered"))?;
    // A digest may have no letters in it.
    if let (true, Ok(height)) = (name.len() < 64, name.parse::<u64>()) {
        if height > top.height.get() {
            let detail = format!("the highest delivered block is at height {}", top.height);
            return Err(Problem::new(Code::AboveTip, detail).ours(Some(top)));
        }
        let height = Height::new(height);
        let found = shared.served.locate(&[height]).await?.into_iter().next().flatten();
        let found = found.filter(|block| block.height == height);
        return found.ok_or_else(|| none("the block at this height is not known"));
    }
    let digest = from_hex(name).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).map(Digest);
    let digest = digest.ok_or_else(|| {
        let detail = "a block is named by its height, or by its digest of 64 hex digits";
        Problem::new(Code::InvalidParameter, detail)
    })?;
    // There is no index by digest: the newest blocks are looked through.
    let (mut above, lowest) = (top.height.get(), top.height.get().saturating_sub(SEARCHED));
    while above > lowest {
        let from = above.saturating_sub(255).max(lowest);
        let heights: Vec<_> = (from..=above).rev().map(Height::new).collect();
        let known = shared.served.locate(&heights).await?;
        if let Some(found) = known.into_iter().flatten().find(|block| block.digest == digest) {
            return Ok(found);
        }
        above = from.saturating_sub(1);
    }
    let detail = format!("no block of this digest is among the newest {SEARCHED}: name its height");
    Err(none(&detail))
}

fn held(error: ArchiveError) -> Problem {
    let detail = error.to_string();
    match error {
        ArchiveError::OffChain { ours, .. } => {
            Problem::new(Code::OffChain, detail).ours(Some(ours))
        }
        ArchiveError::Trimmed { .. } => Problem::new(Code::Trimmed, detail),
        ArchiveError::Ahead { ours, .. } => Problem::new(Code::AboveTip, detail).ours(ours),
        ArchiveError::Fault(fault) => fault.into(),
    }
}

pub(super) async fn block<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let read = async {
        let wanted = find(&shared, &name).await?;
        shared.served.block(wanted).await.map_err(held)
    };
    let block = match read.await {
        Ok(block) => block,
        Err(problem) => return refused(&shared, problem),
    };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/octet-stream")) {
        let media = (header::CONTENT_TYPE, "application/octet-stream");
        return ([media], block.encode()).into_response();
    }
    let reference = block.reference();
    let tips = shared.heads.current().watermarks.tips;
    let reached = shared
        .ladder
        .tiers()
        .into_iter()
        .filter(|tier| tips.block(*tier).is_some_and(|tip| tip.height >= reference.height));
    Json(Shown {
        block: reference.into(),
        parent: block.parent().to_string(),
        tiers: reached.map(|tier| tier.as_str()).collect(),
        bytes: hex(&block.encode()),
    })
    .into_response()
}
