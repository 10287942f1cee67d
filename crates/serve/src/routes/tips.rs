//! `GET /v1/tips`, one tier, and what proves it.

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
use commonware_formatting::hex;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use tidewatch_core::{
    ArchiveError, BlockRef, Tier, TierProof,
    json::{Block, Bookmark, TierTip, Tips},
};

/// All tiers at one moment, and the position to go on from.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    chain: String,
    #[serde(skip)]
    events: u64,
    /// The highest delivered block.
    block: Option<Block>,
    tips: Tips,
    /// The follower's state, and the cursor.
    #[serde(flatten)]
    stands: Bookmark,
}

pub(crate) async fn standing<L: Served>(shared: &Shared<L>) -> Result<Standing, Problem> {
    let (cursor, watermarks) = shared.served.newest().await?;
    Ok(Standing {
        chain: shared.chain_info.id.as_str().into(),
        events: cursor.handled(),
        block: watermarks.delivered.map(Into::into),
        tips: (&watermarks.tips).into(),
        stands: Bookmark::new(&shared.heads.current().status, &cursor),
    })
}

pub(super) async fn tips<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    headers: HeaderMap,
) -> Response {
    let standing = match standing(&shared).await {
        Ok(standing) => standing,
        Err(problem) => return refused(&shared, problem),
    };
    // So many events of one history lead to one place; the state comes from elsewhere.
    let tag = format!("\"{}-{}\"", standing.events, standing.stands.state);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag.as_str());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(standing).into_response()
    };
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// One tier.
#[derive(Debug, Serialize)]
struct OneTip {
    tier: &'static str,
    tip: Option<TierTip>,
    #[serde(flatten)]
    stands: Bookmark,
}

fn named(tier: &str) -> Result<Tier, Problem> {
    let found = Tier::ALL.into_iter().find(|known| known.as_str() == tier);
    found.ok_or_else(|| {
        let detail = "there are proposed, checkpointed, proven and finalized";
        Problem::new(Code::NotFound, detail)
    })
}

pub(super) async fn tip<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    Path(tier): Path<String>,
) -> Response {
    let tip = async {
        let (tier, (cursor, watermarks)) = (named(&tier)?, shared.served.newest().await?);
        let stands = Bookmark::new(&shared.heads.current().status, &cursor);
        let tip = watermarks.tips.get(tier).map(Into::into);
        Ok(OneTip { tier: tier.as_str(), tip, stands })
    };
    match tip.await {
        Ok(tip) => Json(tip).into_response(),
        Err(problem) => refused(&shared, problem),
    }
}

/// Why a tier stands where it does.
#[derive(Debug, Serialize)]
pub(crate) struct Why {
    tier: &'static str,
    /// The block at which the tier stands.
    block: Option<Block>,
    /// `proof` where one was verified here, `word` where it is the source's word, `unknown` without a tip.
    on: &'static str,
    /// What is followed.
    source: String,
    /// The block that the proof is of: that of the tier, or one above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    proves: Option<Block>,
    /// The proof in the chain's own encoding, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

/// The lowest proof of `tier` that covers `block`; `None` where it is the source's word.
async fn proven<L: Served>(
    shared: &Shared<L>,
    tier: Tier,
    block: BlockRef,
) -> Result<Option<TierProof>, Problem> {
    match shared.served.proof(tier, block).await {
        Ok(proof) => Ok(proof),
        // The chain moved in between, or nothing is held: nothing is known of a proof.
        Err(ArchiveError::Fault(fault)) => Err(fault.into()),
        Err(_) => Ok(None),
    }
}

pub(crate) async fn why<L: Served>(
    shared: &Shared<L>,
    tier: &str,
) -> Result<(Why, Option<TierProof>), Problem> {
    let (tier, (_, watermarks)) = (named(tier)?, shared.served.newest().await?);
    let block = watermarks.tips.block(tier);
    let proof = match block {
        Some(block) => proven(shared, tier, block).await?,
        None => None,
    };
    let why = Why {
        tier: tier.as_str(),
        block: block.map(Into::into),
        on: match (&proof, block) {
            (Some(_), _) => "proof",
            (None, Some(_)) => "word",
            (None, None) => "unknown",
        },
        source: shared.source.clone(),
        proves: proof.as_ref().map(|proof| proof.block.into()),
        proof: proof.as_ref().map(|proof| hex(&proof.bytes)),
    };
    Ok((why, proof))
}

pub(super) async fn proof<E: Send + Sync + 'static, L: Served>(
    State(App { shared, .. }): State<App<E, L>>,
    Path(tier): Path<String>,
    headers: HeaderMap,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let bytes = accept.is_some_and(|accept| accept.contains("application/octet-stream"));
    match why(&shared, &tier).await {
        Ok((_, Some(proof))) if bytes => {
            ([(header::CONTENT_TYPE, "application/octet-stream")], proof.bytes).into_response()
        }
        Ok((why, None)) if bytes => {
            let detail = match why.block {
                Some(_) => "nothing proves this tier: it is the source's word",
                None => "this tier is not known",
            };
            refused(&shared, Problem::new(Code::NotFound, detail))
        }
        Ok((why, _)) => Json(why).into_response(),
        Err(problem) => refused(&shared, problem),
    }
}
