//! What is found for a question.

use crate::{
    problem::{Code, Problem},
    routes::find,
    served::Served,
    shared::Shared,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_codec::{Codec, Encode as _, ReadExt as _, varint::UInt};
use commonware_formatting::from_hex;
use commonware_utils::sync::Mutex;
use std::collections::{BTreeMap, VecDeque};
use tidewatch_core::{ArchiveError, Block as _, BlockRef, Digest, Height, Tier, TierProof};

/// Parents that are remembered: of clients that walk down several parts of a history at once.
const HINTS_MAX: usize = 16_384;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    Latest,
    /// A view or a height.
    Number(u64),
    Digest(Digest),
}

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let bytes = from_hex(text).unwrap_or_default();
        if let Ok(number) = <[u8; 8]>::try_from(&*bytes) {
            return Ok(Self::Number(u64::from_be_bytes(number)));
        }
        let digest = <[u8; 32]>::try_from(&*bytes).map_err(|_| {
            let detail = "write latest, 16 hex digits of a number, or 64 of a digest";
            Problem::new(Code::InvalidParameter, detail)
        })?;
        Ok(Self::Digest(Digest(digest)))
    }
}

/// At which heights the blocks are that were named as parents last.
#[derive(Debug, Default)]
pub(super) struct Hints(Mutex<Named>);

#[derive(Debug, Default)]
struct Named {
    heights: BTreeMap<Digest, Height>,
    order: VecDeque<Digest>,
}

impl Hints {
    /// A client was given `block`, and will ask for its parent.
    fn note(&self, block: BlockRef, parent: Digest) {
        let Some(height) = block.height.previous() else { return };
        let mut named = self.0.lock();
        if named.heights.insert(parent, height).is_some() {
            return;
        }
        named.order.push_back(parent);
        if named.order.len() > HINTS_MAX
            && let Some(oldest) = named.order.pop_front()
        {
            named.heights.remove(&oldest);
        }
    }

    fn of(&self, digest: &Digest) -> Option<BlockRef> {
        Some(BlockRef::new(*self.0.lock().heights.get(digest)?, *digest))
    }
}

/// The lowest certificate of a final block at or above `block`; `None` where there is none, or the chain does not
/// have the block any more.
async fn above<L: Served>(
    shared: &Shared<L>,
    block: BlockRef,
) -> Result<Option<TierProof>, Problem> {
    match shared.served.proof(Tier::Finalized, block).await {
        Ok(proof) => Ok(proof),
        Err(ArchiveError::Fault(fault)) => Err(fault.into()),
        Err(_) => Ok(None),
    }
}

async fn at<L: Served>(shared: &Shared<L>, height: u64) -> Result<Option<BlockRef>, Problem> {
    let height = Height::new(height);
    let found = shared.served.locate(&[height]).await?.into_iter().next().flatten();
    Ok(found.filter(|block| block.height == height))
}

async fn held<L: Served>(shared: &Shared<L>, name: BlockRef) -> Result<Option<L::Block>, Problem> {
    match shared.served.block(name).await {
        Ok(block) => Ok(Some(block)),
        Err(ArchiveError::Fault(fault)) => Err(fault.into()),
        Err(_) => Ok(None),
    }
}

/// The certificate and the block that it is over, as an indexer gives them.
pub(super) async fn with_block<L: Served>(
    shared: &Shared<L>,
    proof: TierProof,
) -> Result<Option<Bytes>, Problem> {
    let block = held(shared, proof.block).await?;
    Ok(block.map(|block| joined(&proof, &block)))
}

fn joined<B: Codec>(proof: &TierProof, block: &B) -> Bytes {
    let mut bytes = BytesMut::with_capacity(proof.bytes.len() + block.encode_size());
    bytes.put_slice(&proof.bytes);
    block.write(&mut bytes);
    bytes.freeze()
}

/// The highest height in `lowest..=highest` of which `holds` is true, where it is true of all below that.
async fn last<F: Future<Output = Result<bool, Problem>>>(
    (mut lowest, mut highest): (u64, u64),
    holds: impl Fn(u64) -> F,
) -> Result<Option<u64>, Problem> {
    let mut found = None;
    while lowest <= highest {
        let middle = lowest + (highest - lowest) / 2;
        if holds(middle).await? {
            found = Some(middle);
            lowest = middle.saturating_add(1);
        } else {
            let Some(below) = middle.checked_sub(1) else { break };
            highest = below;
        }
    }
    Ok(found)
}

/// The final heights whose blocks are held.
async fn finals<L: Served>(shared: &Shared<L>) -> Result<Option<(u64, u64)>, Problem> {
    let finalized = shared.served.newest().await?.1.tips.block(Tier::Finalized);
    let oldest = shared.served.retention().await?.oldest_block;
    Ok(finalized.zip(oldest).map(|(finalized, oldest)| (oldest.get(), finalized.height.get())))
}

/// The newest certificate of a final block.
pub(super) async fn latest<L: Served>(shared: &Shared<L>) -> Result<Option<TierProof>, Problem> {
    let Some(range) = finals(shared).await? else { return Ok(None) };
    // That of the tip, as a rule. A tip without one was clamped, or came while history was taken in.
    if let Some(tip) = at(shared, range.1).await?
        && let Some(proof) = above(shared, tip).await?
    {
        return Ok(Some(proof));
    }
    let certified = |height| async move {
        let Some(block) = at(shared, height).await? else { return Ok(false) };
        Ok(above(shared, block).await?.is_some())
    };
    let Some(height) = last(range, certified).await? else { return Ok(None) };
    let Some(block) = at(shared, height).await? else { return Ok(None) };
    above(shared, block).await
}

pub(super) async fn newest<L: Served>(shared: &Shared<L>) -> Result<Option<Bytes>, Problem> {
    match latest(shared).await? {
        Some(proof) => with_block(shared, proof).await,
        None => Ok(None),
    }
}

/// The view of a certificate, which it begins with: the epoch, and the view.
pub(super) fn view(proof: &TierProof) -> Option<u64> {
    let mut bytes = &*proof.bytes;
    UInt::<u64>::read(&mut bytes).ok()?;
    Some(UInt::<u64>::read(&mut bytes).ok()?.0)
}

/// The finalization of a view: views rise with heights, so it is a bisection.
pub(super) async fn of_view<L: Served>(
    shared: &Shared<L>,
    wanted: u64,
) -> Result<Option<Bytes>, Problem> {
    let Some(range) = finals(shared).await? else { return Ok(None) };
    let covering = |height| async move {
        let Some(block) = at(shared, height).await? else { return Ok(None) };
        above(shared, block).await
    };
    let not_above = |height| {
        let proof = covering(height);
        async move { Ok(proof.await?.is_some_and(|proof| view(&proof) <= Some(wanted))) }
    };
    let Some(height) = last(range, not_above).await? else { return Ok(None) };
    let proof = covering(height).await?;
    match proof.filter(|proof| view(proof) == Some(wanted)) {
        Some(proof) => with_block(shared, proof).await,
        None => Ok(None),
    }
}

/// The block at a height with a finalization of its own; of another one the digest may be asked for.
pub(super) async fn of_height<L: Served>(
    shared: &Shared<L>,
    hints: &Hints,
    height: u64,
) -> Result<Option<Bytes>, Problem> {
    let Some(name) = at(shared, height).await? else { return Ok(None) };
    let Some(proof) = above(shared, name).await?.filter(|proof| proof.block == name) else {
        return Ok(None);
    };
    let Some(block) = held(shared, name).await? else { return Ok(None) };
    hints.note(name, block.parent());
    Ok(Some(joined(&proof, &block)))
}

/// The certificate that a range of history can end with, and its block: the highest of a block in `from..=to`, or the
/// lowest above.
pub(super) async fn of_range<L: Served>(
    shared: &Shared<L>,
    hints: &Hints,
    (from, to): (u64, u64),
) -> Result<Option<Bytes>, Problem> {
    let Some((oldest, finalized)) = finals(shared).await? else { return Ok(None) };
    let next = |height: u64| async move {
        let Some(block) = at(shared, height).await? else { return Ok(None) };
        above(shared, block).await
    };
    let (from, to) = (from.max(oldest), to.max(oldest));
    let within = |height: u64| {
        let next = next(height);
        async move { Ok(next.await?.is_some_and(|next| next.block.height.get() <= to)) }
    };
    let found = match next(to.min(finalized)).await? {
        Some(end) if end.block.height.get() <= to => Some(end),
        above => match last((from, to.min(finalized)), within).await? {
            Some(height) => next(height).await?,
            None => above,
        },
    };
    let found = found.filter(|proof| proof.block.height.get() >= from);
    let Some(proof) = found else { return Ok(None) };
    let Some(block) = held(shared, proof.block).await? else { return Ok(None) };
    hints.note(proof.block, block.parent());
    Ok(Some(joined(&proof, &block)))
}

pub(super) async fn of_digest<L: Served>(
    shared: &Shared<L>,
    hints: &Hints,
    digest: Digest,
) -> Result<Option<Bytes>, Problem> {
    let named = match hints.of(&digest) {
        Some(name) => held(shared, name).await?.map(|block| (name, block)),
        None => None,
    };
    let found = match named {
        Some(found) => Some(found),
        None => match find(shared, &digest.to_string()).await {
            Ok(name) => held(shared, name).await?.map(|block| (name, block)),
            Err(problem) if problem.code == Code::NotFound => None,
            Err(problem) => return Err(problem),
        },
    };
    Ok(found.map(|(name, block)| {
        hints.note(name, block.parent());
        block.encode()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_newest_a_number_or_a_digest() {
        let number = Query::parse("00000000000000ff").unwrap();
        assert_eq!(number, Query::Number(255));
        assert_eq!(Query::parse("latest").unwrap(), Query::Latest);
        assert_eq!(Query::parse(&"07".repeat(32)).unwrap(), Query::Digest(Digest([7; 32])));
        for wrong in ["", "12", "Latest", "00000000000000fg", &"0".repeat(63)] {
            assert_eq!(Query::parse(wrong).unwrap_err().code, Code::InvalidParameter, "{wrong}");
        }
    }

    #[test]
    fn what_was_named_last_is_remembered() {
        let hints = Hints::default();
        let digest = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&(n as u64).to_be_bytes());
            Digest(digest)
        };
        for n in 1..=HINTS_MAX + 1 {
            hints.note(BlockRef::new(Height::new(n as u64), digest(n)), digest(n - 1));
        }
        assert_eq!(hints.of(&digest(0)), None);
        assert_eq!(hints.of(&digest(1)), Some(BlockRef::new(Height::new(1), digest(1))));
        assert_eq!(hints.0.lock().heights.len(), HINTS_MAX);
    }
}
