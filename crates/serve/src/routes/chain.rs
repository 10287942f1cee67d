//! `GET /v1/digests` and `/v1/range`: questions about the chain that ends in a tip, for a follower of this server.

use super::{App, refused};
use crate::{
    problem::{Code, Problem},
    served::Served,
    shared::Shared,
};
use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use bytes::{BufMut as _, BytesMut};
use commonware_codec::{EncodeSize as _, Write as _};
use commonware_formatting::from_hex;
use commonware_utils::NZUsize;
use http::header;
use std::num::NonZeroUsize;
use tidewatch_core::{ArchiveError, BlockRef, Digest, Height};
use url::form_urlencoded;

/// Heights that one question may name.
const HEIGHTS_MAX: usize = 64;

/// Blocks of one answer.
const BLOCKS_MAX: NonZeroUsize = NZUsize!(256);

/// Bytes after which an answer is not extended.
const BYTES_MAX: usize = 2 * 1024 * 1024;

pub(crate) fn wrong(name: &str) -> Problem {
    Problem::new(Code::InvalidParameter, format!("{name}: it is missing or cannot be read"))
}

fn parameter(query: &str, wanted: &str) -> Result<String, Problem> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.into_owned()).ok_or_else(|| wrong(wanted))
}

/// A block as `HEIGHT:DIGEST`.
fn tip(query: &str) -> Result<BlockRef, Problem> {
    let text = parameter(query, "tip")?;
    let parsed = text.split_once(':').and_then(|(height, digest)| {
        let digest = <[u8; 32]>::try_from(from_hex(digest)?).ok()?;
        Some(BlockRef::new(Height::new(height.parse().ok()?), Digest(digest)))
    });
    parsed.ok_or_else(|| wrong("tip"))
}

fn moved(tip: BlockRef) -> Problem {
    Problem::new(Code::OffChain, format!("the chain does not end in {tip}, nor go through it"))
}

/// Digests at heights, of one moment with the tip.
async fn known<L: Served>(shared: &Shared<L>, query: &str) -> Result<Vec<Option<String>>, Problem> {
    let (tip, heights) = (tip(query)?, parameter(query, "heights")?);
    let heights: Result<Vec<u64>, _> = heights.split(',').map(str::parse).collect();
    let heights = heights.ok().filter(|heights| heights.len() <= HEIGHTS_MAX);
    let mut heights: Vec<_> =
        heights.ok_or_else(|| wrong("heights"))?.into_iter().map(Height::new).collect();
    heights.push(tip.height);
    let mut found = shared.served.locate(&heights).await?;
    if found.pop().flatten() != Some(tip) {
        return Err(moved(tip));
    }
    let at = |(height, block): (&Height, Option<BlockRef>)| {
        let block = block.filter(|block| block.height == *height && block.height <= tip.height);
        block.map(|block| block.digest.to_string())
    };
    Ok(heights.iter().zip(found).map(at).collect())
}

/// Blocks from a height on, each behind its length in four bytes.
async fn blocks<L: Served>(shared: &Shared<L>, query: &str) -> Result<BytesMut, Problem> {
    let tip = tip(query)?;
    let from = parameter(query, "from")?.parse().map_err(|_| wrong("from"))?;
    let from = Height::new(from);
    let found = shared.served.locate(&[from, tip.height]).await?;
    let [first, top] = found[..] else { return Err(moved(tip)) };
    if top != Some(tip) {
        return Err(moved(tip));
    }
    let Some(first) = first.filter(|first| first.height == from && from <= tip.height) else {
        return Err(Problem::new(Code::Trimmed, format!("the block at {from} is not held")));
    };
    let blocks = shared.served.range(first, tip, BLOCKS_MAX).await;
    let blocks = blocks.map_err(|error| match error {
        ArchiveError::Fault(fault) => fault.into(),
        ArchiveError::Trimmed { .. } => Problem::new(Code::Trimmed, error.to_string()),
        _ => moved(tip),
    })?;
    let mut bytes = BytesMut::new();
    for block in blocks {
        let size = block.encode_size();
        if !bytes.is_empty() && bytes.len() + size > BYTES_MAX {
            break;
        }
        bytes.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
        block.write(&mut bytes);
    }
    Ok(bytes)
}

pub(super) async fn digests<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    RawQuery(query): RawQuery,
) -> Response {
    match known(&shared, &query.unwrap_or_default()).await {
        Ok(digests) => Json(digests).into_response(),
        Err(problem) => refused(&shared, problem),
    }
}

pub(super) async fn range<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    RawQuery(query): RawQuery,
) -> Response {
    match blocks(&shared, &query.unwrap_or_default()).await {
        Ok(bytes) => {
            let media = [(header::CONTENT_TYPE, "application/octet-stream")];
            (media, bytes.freeze()).into_response()
        }
        Err(problem) => refused(&shared, problem),
    }
}
