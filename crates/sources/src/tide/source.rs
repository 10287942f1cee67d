//! A chain without certificates, on the word of an upstream.

use super::{TideError, bell::Ear};
use crate::{alto::HttpTransport, error::fault, words::excerpt};
use bytes::{Buf as _, Bytes};
use commonware_codec::Decode as _;
use commonware_runtime::tokio::Context;
use commonware_utils::NZUsize;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tidewatch_certified::Transport as _;
use tidewatch_core::{
    AnyBlock, Block as _, BlockDecoder, BlockRef, ChainId, ChainInfo, Digest, Doorbell, Fault,
    Height, Ladder, Limits, Snapshot, Source, TipSet, json,
};

/// Heights of one question.
const DIGESTS_MAX: NonZeroUsize = NZUsize!(64);

/// Blocks of one answer.
const BLOCKS_MAX: NonZeroUsize = NZUsize!(256);

pub(super) const STATUS: &str = "/v1/status";
const TIPS: &str = "/v1/tips";
const DIGESTS: &str = "/v1/digests";
const RANGE: &str = "/v1/range";

/// What an upstream says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) chain: String,
    genesis: json::Block,
    ladder: [String; 4],
    source: Followed,
}

#[derive(Debug, Deserialize)]
struct Followed {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Standing {
    chain: String,
    tips: json::Tips,
}

impl Status {
    pub(super) fn ladder(&self) -> Option<Ladder> {
        [Ladder::Rollup, Ladder::Certified].into_iter().find(|ladder| {
            let ours = json::Hello::ladder(*ladder);
            ours.iter().zip(&self.ladder).all(|(ours, theirs)| ours == theirs)
        })
    }
}

/// One request whose answer is JSON.
pub(super) async fn ask<T: DeserializeOwned>(
    transport: &HttpTransport,
    path: &'static str,
    query: &str,
) -> Result<Option<T>, Fault> {
    let Some(body) = transport.get(&format!("{path}{query}")).await? else { return Ok(None) };
    let parsed = serde_json::from_slice(&body);
    let wrong = |error: serde_json::Error| TideError::Answer {
        path,
        error: format!("{error}: {}", excerpt(&body)),
    };
    parsed.map(Some).map_err(|error| fault(transport.name(), wrong(error)))
}

/// A chain without certificates, on the word of another Tidewatch.
pub struct TideSource {
    name: String,
    transport: Arc<HttpTransport>,
    clock: Arc<Context>,
    chain_info: ChainInfo,
    ladder: Ladder,
    decoder: BlockDecoder,
    requests: Arc<AtomicU64>,
}

impl fmt::Debug for TideSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TideSource").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TideSource {
    pub(super) fn new(
        clock: Context,
        transport: HttpTransport,
        status: &Status,
        decoder: BlockDecoder,
    ) -> Result<Self, Fault> {
        let about = transport.name().to_owned();
        let answer =
            |error: &str| fault(&*about, TideError::Answer { path: STATUS, error: error.into() });
        let id = ChainId::new(&*status.chain).map_err(|error| answer(&error.to_string()))?;
        let ladder = status.ladder().ok_or_else(|| answer("a ladder that is not known"))?;
        let over = excerpt(status.source.name.as_bytes());
        let name = format!("{about}, on the word of {over}");
        let chain_info = ChainInfo { id, genesis: status.genesis.into() };
        let (transport, clock, requests) = (Arc::new(transport), Arc::new(clock), Arc::default());
        Ok(Self { name, transport, clock, chain_info, ladder, decoder, requests })
    }

    /// Requests that were made.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn count(&self) -> &HttpTransport {
        self.requests.fetch_add(1, Ordering::Relaxed);
        &self.transport
    }

    fn refused(&self, error: TideError) -> Fault {
        fault(&*self.name, error)
    }

    async fn asked<T: DeserializeOwned>(
        &self,
        path: &'static str,
        query: &str,
    ) -> Result<T, Fault> {
        let answer = ask(self.count(), path, query).await?;
        answer.ok_or_else(|| self.refused(TideError::NotTidewatch { path }))
    }

    fn same(&self, theirs: &str) -> Result<(), Fault> {
        let ours = self.chain_info.id.as_str();
        if ours == theirs {
            return Ok(());
        }
        let theirs = excerpt(theirs.as_bytes());
        Err(self.refused(TideError::Switched { ours: ours.into(), theirs }))
    }

    /// The blocks of an answer: each behind its length, from `from` on, none above `tip`.
    fn decoded(
        &self,
        mut body: Bytes,
        from: Height,
        tip: BlockRef,
    ) -> Result<Vec<AnyBlock>, Fault> {
        let mut blocks: Vec<AnyBlock> = Vec::new();
        let mut height = from;
        while !body.is_empty() {
            let wrong = |error: String| self.refused(TideError::Block { height, error });
            if blocks.len() == BLOCKS_MAX.get() || height > tip.height {
                let sent = blocks.len();
                return Err(wrong(format!("more was sent than the {sent} blocks up to {tip}")));
            }
            let length = body.try_get_u32().map_err(|error| wrong(error.to_string()))?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > body.len() {
                return Err(wrong(format!("{length} bytes, and {} are there", body.len())));
            }
            let block = AnyBlock::decode_cfg(body.split_to(length), &self.decoder);
            let block = block.map_err(|error| wrong(error.to_string()))?;
            let found = block.reference();
            if found.height != height {
                return Err(wrong(format!("it is {found}")));
            }
            if blocks.last().is_some_and(|below| below.reference().digest != block.parent()) {
                return Err(wrong("it does not stand on the one before it".into()));
            }
            blocks.push(block);
            height = height.next();
        }
        Ok(blocks)
    }
}

fn named(tip: BlockRef) -> String {
    format!("?tip={}:{}", tip.height, tip.digest)
}

impl Source for TideSource {
    type Block = AnyBlock;

    fn name(&self) -> &str {
        &self.name
    }

    fn ladder(&self) -> Ladder {
        self.ladder
    }

    fn limits(&self) -> Limits {
        Limits { digests_max: DIGESTS_MAX, blocks_max: BLOCKS_MAX }
    }

    async fn chain_info(&self) -> Result<ChainInfo, Fault> {
        let status: Status = self.asked(STATUS, "").await?;
        let answer = |error: String| self.refused(TideError::Answer { path: STATUS, error });
        let id = ChainId::new(status.chain).map_err(|error| answer(error.to_string()))?;
        Ok(ChainInfo { id, genesis: status.genesis.into() })
    }

    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let standing: Standing = self.asked(TIPS, "").await?;
        self.same(&standing.chain)?;
        Ok(Snapshot::from(TipSet::from(&standing.tips)))
    }

    async fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> Result<Vec<Option<Digest>>, Fault> {
        let list: Vec<_> = heights.iter().map(ToString::to_string).collect();
        let query = format!("{}&heights={}", named(tip), list.join(","));
        let moved = || self.refused(TideError::Moved { tip });
        let digests: Vec<Option<json::Hex>> =
            ask(self.count(), DIGESTS, &query).await?.ok_or_else(moved)?;
        if digests.len() != heights.len() {
            let error = format!("{} digests for {} heights", digests.len(), heights.len());
            return Err(self.refused(TideError::Answer { path: DIGESTS, error }));
        }
        let digests: Vec<_> = digests.into_iter().map(|digest| digest.map(|hex| hex.0)).collect();
        let at =
            |(height, digest): (&Height, Option<Digest>)| digest.filter(|_| *height <= tip.height);
        Ok(heights.iter().zip(digests).map(at).collect())
    }

    async fn blocks(&self, tip: BlockRef, from: Height) -> Result<Vec<AnyBlock>, Fault> {
        if from > tip.height {
            return Ok(Vec::new());
        }
        let path = format!("{RANGE}{}&from={from}", named(tip));
        let Some(body) = self.count().get(&path).await? else { return Ok(Vec::new()) };
        self.decoded(body, from, tip)
    }

    fn doorbell(&self) -> Doorbell {
        let (transport, clock) = (self.transport.clone(), self.clock.clone());
        Ear { transport, clock, requests: self.requests.clone(), cursor: None }.doorbell()
    }
}
