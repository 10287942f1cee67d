//! What is sent for a range of heights. Nothing of it is believed: settling the range does that.
//!
//! A height that has a finalization of its own is asked for by height, any block by the digest that the block
//! above it names. The second is less to send and to decode, and finds the blocks that are final by a later one, but
//! one request has to wait for the other. So a deep history is divided into stretches, several for each request that
//! may be in flight; in each one height is asked for, the next lower one where that has nothing, and from what was
//! sent the chain is walked down by digest to the next stretch. A short range is asked for by height throughout.
//!
//! With `certificate_at_end` one height near the end is asked for, and none where the range reaches what is known.
//!
//! An endpoint that finds certificates is asked for that of a stretch, or the next one above: a height below that has
//! none, and is not asked for. Gaps come in ranges there, and not block by block.

use super::{CertifiedSource, range::index};
use crate::{
    CertificateKind, CertifiedBlock, Claim, Epochs, Error, Key, Scheme, Transport, Verified,
    error::another_may_do,
};
use commonware_codec::EncodeSize;
use commonware_runtime::Clock;
use futures::{FutureExt as _, StreamExt as _, pin_mut, stream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tidewatch_core::{Block, BlockRef, Fault, Height, Severity};

/// Longest stretch. A lie about one height costs no more repairs than that.
const STRETCH_MAX: usize = 32;

/// Part of a range's time in which the heights of a deep history are asked for.
const WALKED: u32 = 8;

/// Candidates for consecutive heights from `from` on, as they were sent for those heights. `None` where
/// nothing usable was.
pub(super) struct Gathered<S: Scheme, B> {
    pub(super) from: Height,
    pub(super) slots: Vec<Option<B>>,
    /// What was sent as the next certificate above all of them, where nothing else can prove them.
    pub(super) above: Option<Claim<S, B>>,
    /// Why there are not more of them.
    pub(super) cut: Option<Fault>,
}

impl<S: Scheme, B> Gathered<S, B> {
    pub(super) fn height(&self, index: usize) -> Height {
        Height::new(self.from.get().saturating_add(index as u64))
    }

    /// The highest of them; `None` if there are none.
    pub(super) fn top(&self) -> Option<Height> {
        Some(self.height(self.slots.len().checked_sub(1)?))
    }
}

/// A run of heights without a candidate, and what the block above it claims to stand on.
struct Gap {
    name: BlockRef,
    len: usize,
}

/// What was sent for one stretch, from its lowest height on.
struct Stretch<S: Scheme, B> {
    slots: Vec<Option<B>>,
    /// Bytes of the candidate.
    size: usize,
    refused: usize,
    /// The next certificate, where it is above.
    above: Option<Claim<S, B>>,
}

impl<S: Scheme, B> Stretch<S, B> {
    fn empty(len: usize) -> Self {
        let slots = (0..len).map(|_| None).collect();
        Self { slots, size: 0, refused: 0, above: None }
    }
}

/// A history that is deep: stretches enough for all requests, and as many again.
const DEEP: usize = 4_096;

/// Heights of a stretch, for a range of `count` heights.
const fn stretch(count: usize) -> usize {
    match count >= DEEP {
        true => STRETCH_MAX,
        false => 1,
    }
}

impl<E, T, X, B> CertifiedSource<E, T, X, B>
where
    E: Clock,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    /// Asks for candidates in `from..=top`, as far as the limits of a range go.
    pub(super) async fn gather(&self, from: Height, top: Height) -> Gathered<X::Scheme, B> {
        let config = &self.config;
        let clock = &*self.requests.clock;
        let enough = AtomicBool::new(false);
        let next = AtomicU64::new(0);
        let count = index(from, top).saturating_add(1).min(config.blocks_max.get());
        if config.finds_certificates && config.certificate_at_end {
            return self.at_end(from, top, count).await;
        }
        let len = stretch(count);
        // What is walked comes on top: up to `len` times as much, and less where heights are asked for in vain.
        let share = if len > 1 { WALKED } else { 1 };
        let time_is_up = clock.sleep(config.range_time_max / share);
        pin_mut!(time_is_up);
        let stretches =
            (0..count).step_by(len).take_while(|_| !enough.load(Ordering::Relaxed)).map(|first| {
                let from = Height::new(from.get().saturating_add(first as u64));
                self.stretch(from, len.min(count - first), &next)
            });
        let mut answers = stream::iter(stretches).buffered(config.concurrency.get());
        let slots = Vec::with_capacity(count);
        let mut gathered = Gathered { from, slots, above: None, cut: None };
        let (mut bytes, mut gap, mut refused) = (0_usize, 0, 0);
        while let Some(answer) = answers.next().await {
            let stretch = match answer {
                Ok(stretch) => stretch,
                Err(fault) => {
                    gathered.cut = Some(fault);
                    break;
                }
            };
            // What is in flight is waited for, because dropping it would close its connection; of stretches it is
            // not taken, for each stands for many blocks.
            if len > 1 && bytes >= config.range_bytes_max {
                continue;
            }
            // The others of a stretch are about as large.
            bytes = bytes.saturating_add(stretch.size.saturating_mul(stretch.slots.len()));
            refused += stretch.refused;
            let lower = |above: &Claim<X::Scheme, B>| {
                let known = gathered.above.as_ref();
                known.is_none_or(|known| known.reference().height < above.reference().height)
            };
            if let Some(above) = stretch.above.filter(lower) {
                gathered.above = Some(above);
            }
            for slot in stretch.slots {
                gap = if slot.is_none() { gap + 1 } else { 0 };
                gathered.slots.push(slot);
            }
            if gap > config.gap_max.get() || refused > config.repairs_max.get() {
                break;
            }
            if !enough.load(Ordering::Relaxed)
                && (bytes >= config.range_bytes_max || time_is_up.as_mut().now_or_never().is_some())
            {
                enough.store(true, Ordering::Relaxed);
            }
        }
        drop(answers);
        gathered
    }

    /// A candidate near the end of `count` heights from `from` on, and none where that is `top`, which the chain above names.
    async fn at_end(&self, from: Height, top: Height, count: usize) -> Gathered<X::Scheme, B> {
        let none = Stretch::empty(count);
        let (stretch, cut) = match index(from, top) < count {
            true => (none, None),
            false => match self.found(from, count, &AtomicU64::new(0)).await {
                Ok(stretch) => (stretch, None),
                Err(fault) => (Stretch::empty(0), Some(fault)),
            },
        };
        Gathered { from, slots: stretch.slots, above: stretch.above, cut }
    }

    /// What is sent for the highest of `len` heights from `from` on that anything usable is sent for. An endpoint that
    /// finds certificates has none below `next`, which is raised.
    async fn stretch(
        &self,
        from: Height,
        len: usize,
        next: &AtomicU64,
    ) -> Result<Stretch<X::Scheme, B>, Fault> {
        let genesis = from == self.chain_info.genesis.height && len == 1;
        if self.config.finds_certificates && !genesis {
            return self.found(from, len, next).await;
        }
        let mut stretch = Stretch::empty(len);
        for at in (0..len).rev() {
            let height = Height::new(from.get().saturating_add(at as u64));
            match self.candidate(height).await {
                Ok(Some((block, size))) => {
                    (stretch.slots[at], stretch.size) = (Some(block), size);
                    break;
                }
                Ok(None) => {}
                Err(fault) if fault.severity() == Severity::Invalid => {
                    self.metrics.absorbed(&fault);
                    stretch.refused += 1;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(stretch)
    }

    /// [`stretch`](Self::stretch), with one request.
    async fn found(
        &self,
        from: Height,
        len: usize,
        next: &AtomicU64,
    ) -> Result<Stretch<X::Scheme, B>, Fault> {
        let mut stretch = Stretch::empty(len);
        let to = Height::new(from.get().saturating_add(len as u64 - 1));
        if to.get() < next.load(Ordering::Relaxed) {
            return Ok(stretch);
        }
        let Some(bytes) = self.requests.get(Key::Certificate { from, to }).await? else {
            next.store(u64::MAX, Ordering::Relaxed);
            return Ok(stretch);
        };
        let size = bytes.len();
        let claim = self.verifier.claim(CertificateKind::Finalized, bytes).and_then(|claim| {
            let found = claim.reference();
            match found.height >= from {
                true => Ok(claim),
                false => Err(self.metrics.reject(Error::OtherHeight { found, height: from })),
            }
        });
        match claim {
            Ok(claim) => {
                let height = claim.reference().height;
                match stretch.slots.get_mut(index(from, height)) {
                    Some(slot) => (*slot, stretch.size) = (Some(claim.into_block()), size),
                    None => {
                        next.fetch_max(height.get(), Ordering::Relaxed);
                        stretch.above = Some(claim);
                    }
                }
            }
            Err(fault) => {
                self.metrics.absorbed(&fault);
                stretch.refused += 1;
            }
        }
        Ok(stretch)
    }

    /// What is sent for a height, and its size; the certificate is not looked at.
    async fn candidate(&self, height: Height) -> Result<Option<(B, usize)>, Fault> {
        if height == self.chain_info.genesis.height {
            return Ok(Some((self.verifier.genesis().into_inner(), 0)));
        }
        let Some(bytes) = self.requests.get(Key::Height(height)).await? else { return Ok(None) };
        let size = bytes.len();
        Ok(Some((self.claim_at(height, bytes)?.into_block(), size)))
    }

    /// Asks for the missing blocks by the digests that the blocks above them name: one after the other within a
    /// gap, gaps at once, the lowest first. The names are claims still; what comes is settled later. False if it
    /// stopped because far more was sent than was to be expected, where `may_end` says that a range may end lower: the
    /// lowest gap is filled even then. With
    /// `certificate_at_end` false too if the ranges of a gap came short, or took longer than a range may.
    pub(super) async fn fill(
        &self,
        gathered: &mut Gathered<X::Scheme, B>,
        anchor: &Verified<BlockRef>,
        may_end: bool,
    ) -> bool {
        let gaps = gaps(gathered, anchor);
        if gaps.is_empty() {
            return true;
        }
        let (from, spent, short) = (gathered.from, AtomicUsize::new(0), AtomicBool::new(false));
        let bytes_max = self.config.range_bytes_max.saturating_mul(2);
        let walks = gaps.into_iter().rev().enumerate().map(|(at, gap)| {
            let short = (may_end && self.config.certificate_at_end).then_some(&short);
            self.walk(gap, &spent, (may_end && at > 0).then_some(bytes_max), short)
        });
        let mut walks = stream::iter(walks).buffer_unordered(self.config.concurrency.get());
        while let Some(blocks) = walks.next().await {
            for block in blocks {
                let slot = index(from, block.reference().height);
                if let Some(slot) = gathered.slots.get_mut(slot) {
                    *slot = Some(block);
                }
            }
        }
        !may_end || spent.load(Ordering::Relaxed) < bytes_max && !short.load(Ordering::Relaxed)
    }

    /// Walks down a gap. Ends early where a block cannot be had, which settling finds out about, once all walks
    /// have `spent` too many bytes, or once ranges came `short`, where that is there.
    async fn walk(
        &self,
        Gap { mut name, len }: Gap,
        spent: &AtomicUsize,
        bytes_max: Option<usize>,
        short: Option<&AtomicBool>,
    ) -> Vec<B> {
        let len = len.min(self.config.gap_max.get());
        let mut blocks = Vec::new();
        if self.config.finds_certificates {
            let above = u64::try_from(len.saturating_sub(1)).unwrap_or(u64::MAX);
            let from = Height::new(name.height.get().saturating_sub(above));
            blocks = self.walk_ranges(name, from, short.is_some()).await;
            let bytes = blocks.iter().map(EncodeSize::encode_size).sum();
            spent.fetch_add(bytes, Ordering::Relaxed);
            if let Some(short) = short.filter(|_| (1..len).contains(&blocks.len())) {
                short.store(true, Ordering::Relaxed);
                return blocks;
            }
        }
        for _ in blocks.len()..len {
            if bytes_max.is_some_and(|max| spent.load(Ordering::Relaxed) >= max) {
                break;
            }
            let Ok(Some((block, size))) = self.named(&name).await else { break };
            spent.fetch_add(size, Ordering::Relaxed);
            let Some(height) = name.height.previous() else { break };
            name = BlockRef::new(height, block.parent());
            blocks.push(block);
        }
        blocks
    }

    /// Blocks from `from` upwards to `name`, or as far as the limit of bytes goes, as they are sent in ranges:
    /// consecutive, and claims still. Those that may come `short` take no longer than a range may.
    pub(super) async fn walk_ranges(&self, name: BlockRef, from: Height, short: bool) -> Vec<B> {
        let mut blocks: Vec<B> = Vec::new();
        let (mut next, mut bytes) = (from, 0_usize);
        let bytes_max = self.config.range_bytes_max.saturating_mul(2);
        let time_is_up = self.requests.clock.sleep(self.config.range_time_max);
        pin_mut!(time_is_up);
        while self.config.finds_certificates && next <= name.height && bytes < bytes_max {
            if short && !blocks.is_empty() && time_is_up.as_mut().now_or_never().is_some() {
                break;
            }
            let answer = self.requests.get(Key::Blocks { tip: name, from: next }).await;
            let sent = match answer {
                Ok(Some(sent)) => {
                    bytes = bytes.saturating_add(sent.len());
                    self.verifier.claimed_blocks(sent, next)
                }
                Ok(None) => break,
                Err(fault) => Err(fault),
            };
            let sent = match sent {
                Ok(sent) if sent.is_empty() => break,
                Ok(sent) => sent,
                Err(fault) => {
                    self.metrics.absorbed(&fault);
                    break;
                }
            };
            let wanted = index(next, name.height).saturating_add(1);
            next = Height::new(next.get().saturating_add(sent.len() as u64));
            blocks.extend(sent.into_iter().take(wanted));
        }
        blocks
    }

    /// The block of this name, and its size: by its digest, and by its height where that brings nothing.
    async fn named(&self, name: &BlockRef) -> Result<Option<(B, usize)>, Fault> {
        let by_digest = match self.requests.get(Key::Digest(name.digest)).await {
            Ok(Some(bytes)) => {
                let size = bytes.len();
                self.verifier.hashed(name, bytes).map(|block| Some((block, size)))
            }
            Ok(None) => Ok(None),
            Err(fault) => Err(fault),
        };
        match by_digest {
            Ok(None) => {}
            Err(fault) if another_may_do(&fault) => self.metrics.absorbed(&fault),
            known => return known,
        }
        let by_height = self.candidate(name.height).await?;
        Ok(by_height.filter(|(block, _)| block.reference() == *name))
    }
}

/// Runs without a candidate that have a block, or the anchor, right above them.
fn gaps<S: Scheme, B: Block>(gathered: &Gathered<S, B>, anchor: &Verified<BlockRef>) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    let mut above: Option<BlockRef> = Some(**anchor);
    let mut open = false;
    for slot in gathered.slots.iter().rev() {
        match slot {
            Some(block) => {
                let height = block.reference().height.previous();
                above = height.map(|height| BlockRef::new(height, block.parent()));
                open = false;
            }
            None if open => gaps.iter_mut().next_back().into_iter().for_each(|gap| gap.len += 1),
            None => {
                gaps.extend(above.map(|name| Gap { name, len: 1 }));
                open = above.is_some();
            }
        }
    }
    gaps
}
