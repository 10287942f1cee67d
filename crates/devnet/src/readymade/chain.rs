//! Presigned chains: linked blocks with valid certificates.

use crate::{
    Certify, Committee, Error,
    committee::Vote,
    epochs::{EpochInfo, Payload},
};
use alto_types::{
    Block, CertificateMode, Context, EPOCH, Finalization, Finalized, Identity, Notarization,
    Notarized, Signature, StandardScheme, VrfScheme,
};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::types::Proposal,
    types::{Epoch, Round, View},
};
use commonware_cryptography::{Digestible as _, Hasher as _, Sha256, sha256::Digest};
use commonware_glue::dkg::types::EpochOutcome;
use commonware_utils::sequence::Unit;
use std::{num::NonZeroUsize, sync::Arc, thread, time::Duration};
use tidewatch_core::Height;

/// Maximum payload of a block, in bytes.
const DATA_MAX: usize = 1024 * 1024;
/// Maximum length of a chain, because it is held in memory.
const BLOCKS_MAX: u64 = 10_000_000;
/// Minimum number of signatures that justifies another thread.
const SIGNATURES_PER_THREAD_MIN: usize = 64;

/// Configuration of a [`Chain`]. Equal configurations give byte-identical chains.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Seed of the committee's keys.
    pub seed: u64,
    /// Size of the committee, from [`MEMBERS_MIN`](crate::MEMBERS_MIN) to
    /// [`MEMBERS_MAX`](crate::MEMBERS_MAX).
    pub validators: u32,
    /// Payload of each block in bytes, up to a mebibyte. It differs from block to block.
    pub data_bytes: usize,
    /// Timestamp of the first block, in milliseconds since the Unix epoch.
    pub start_time_ms: u64,
    /// Time between the timestamps of two blocks.
    pub block_time: Duration,
    /// One view without a block, as after a leader timeout, is inserted at every multiple of this
    /// height, so that views and heights diverge. 0 inserts none.
    pub skip_every: u64,
    /// Number of blocks in an epoch, at least 2: the last block of each epoch carries the
    /// [`EpochInfo`](crate::epochs::EpochInfo) of the next one. 0 makes one epoch of all blocks, as alto
    /// does. Views go on over epochs, because alto's indexer finds certificates by view.
    pub epoch_length: u64,
    /// Number of epochs after which the committee and its key are others. 0 keeps them for ever.
    pub key_every: u64,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            validators: 4,
            data_bytes: 64,
            // 2026-01-01T00:00:00Z
            start_time_ms: 1_767_225_600_000,
            block_time: Duration::from_millis(400),
            skip_every: 16,
            epoch_length: 0,
            key_every: 0,
        }
    }
}

/// One block with the group's signatures over it.
#[derive(Clone, Debug)]
struct Link {
    block: Block,
    finalize: Signature,
    /// VRF mode only.
    seed: Option<Signature>,
}

/// A signed chain, starting at height 1. Clones share only the committee.
#[derive(Clone, Debug)]
pub struct Chain {
    /// One for each key, in their order.
    committees: Vec<Arc<Committee>>,
    mode: CertificateMode,
    config: ChainConfig,
    /// Minimum view of new blocks: a branch starts above the views of the chain that it forks from.
    view_min: View,
    links: Vec<Link>,
}

impl Chain {
    /// Creates and signs `blocks` blocks on top of the genesis block.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if a setting is invalid.
    pub fn sign(blocks: u64, mode: CertificateMode, config: ChainConfig) -> Result<Self, Error> {
        if config.data_bytes > DATA_MAX {
            return Err(Error::Setting {
                setting: "data_bytes",
                value: config.data_bytes.to_string(),
                expected: format!("at most {DATA_MAX}"),
            });
        }
        if config.epoch_length == 1 {
            return Err(Error::Setting {
                setting: "epoch_length",
                value: config.epoch_length.to_string(),
                expected: "0, or at least 2".into(),
            });
        }
        let committees = vec![Arc::new(Committee::deal(config.seed, config.validators)?)];
        let mut chain =
            Self { committees, mode, config, view_min: View::zero(), links: Vec::new() };
        chain.extend(blocks)?;
        Ok(chain)
    }

    /// Creates and signs `blocks` more blocks on top of the tip.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if the chain would become too long to be held in memory.
    pub fn extend(&mut self, blocks: u64) -> Result<(), Error> {
        let length = self.tip().get().saturating_add(blocks);
        if length > BLOCKS_MAX {
            return Err(Error::Setting {
                setting: "blocks",
                value: length.to_string(),
                expected: format!("at most {BLOCKS_MAX}"),
            });
        }
        // The last block of an epoch names the committee of the next one.
        let keys = self.key(self.epoch(Height::new(length)).next()) + 1;
        while self.committees.len() < keys {
            let seed = self.config.seed.wrapping_add((self.committees.len() as u64) << 32);
            self.committees.push(Arc::new(Committee::deal(seed, self.config.validators)?));
        }
        let mut fresh = Vec::new();
        for _ in 0..blocks {
            let block = self.next(fresh.last());
            fresh.push(block);
        }
        let signed = self.sign_all(fresh);
        self.links.extend(signed);
        Ok(())
    }

    /// A chain of the same committee that shares this chain's blocks up to `height` and continues with
    /// `blocks` different ones in later views, as signed by a committee that violates its own finality.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownHeight`] if the chain does not reach `height`; otherwise as
    /// [`Chain::extend`].
    pub fn branch(&self, height: Height, blocks: u64) -> Result<Self, Error> {
        if height > self.tip() {
            return Err(self.unknown(height));
        }
        let mut branch = self.clone();
        branch.view_min = view_of(self.links.last().map(|link| &link.block)).next();
        branch.links.truncate(usize::try_from(height.get()).unwrap_or(usize::MAX));
        branch.extend(blocks)?;
        Ok(branch)
    }

    /// Certificate mode of the chain.
    pub const fn mode(&self) -> CertificateMode {
        self.mode
    }

    /// Committee that signed the chain, or its first epoch.
    pub fn committee(&self) -> &Committee {
        self.shared_committee()
    }

    /// The epoch of a height.
    pub const fn epoch(&self, height: Height) -> Epoch {
        match height.get().checked_div(self.config.epoch_length) {
            Some(epoch) => Epoch::new(epoch),
            None => EPOCH,
        }
    }

    /// Whether the block at `height` is the last one of its epoch.
    pub(super) fn ends_epoch(&self, height: Height) -> bool {
        self.config.epoch_length != 0 && self.epoch(height.next()) != self.epoch(height)
    }

    /// Which of the keys signs in `epoch`.
    fn key(&self, epoch: Epoch) -> usize {
        usize::try_from(epoch.get().checked_div(self.config.key_every).unwrap_or(0)).unwrap_or(0)
    }

    fn committee_of(&self, height: Height) -> &Committee {
        &self.committees[self.key(self.epoch(height))]
    }

    /// What the last block of an epoch carries: all that the next one begins with.
    fn epoch_info(&self, epoch: Epoch) -> Bytes {
        let committee = &self.committees[self.key(epoch)];
        let players = committee.participants().clone();
        let info = EpochInfo {
            outcome: EpochOutcome::Success,
            epoch,
            output: committee.output().clone(),
            next_players: players.clone(),
            players,
            directory: Unit,
        };
        Payload::EpochInfo(info).encode()
    }

    /// The group's public key, which verifies every certificate, or those of the first epoch.
    pub fn public(&self) -> Identity {
        self.committee().identity()
    }

    /// The same in hex, as in the configuration of a follower.
    pub fn identity(&self) -> String {
        self.committee().identity_hex()
    }

    /// Height of the last block; 0 if there is none.
    pub fn tip(&self) -> Height {
        Height::new(self.links.len() as u64)
    }

    /// The block at `height`, from 1 to the tip. Genesis is `alto_types::Block::genesis`.
    pub fn block(&self, height: Height) -> Option<&Block> {
        self.link(height).map(|link| &link.block)
    }

    /// The block at `height` with its finalization. `None` above the tip, at height 0, and if `S` is the
    /// scheme of the other mode.
    pub fn finalized<S: Certify>(&self, height: Height) -> Option<Finalized<S>> {
        let Link { block, finalize, seed } = self.link(height)?;
        let certificate = self.certificate::<S>(*finalize, *seed)?;
        let proof = Finalization { proposal: proposal(block), certificate };
        Some(Finalized::new(proof, block.clone()))
    }

    /// The block at `height` with its notarization, which is signed on demand. `None` as for
    /// [`Chain::finalized`].
    pub fn notarized<S: Certify>(&self, height: Height) -> Option<Notarized<S>> {
        let Link { block, seed, .. } = self.link(height)?;
        let proposal = proposal(block);
        let vote = self.committee_of(height).vote(Vote::Notarize, &proposal);
        let certificate = self.certificate::<S>(vote, *seed)?;
        Some(Notarized::new(Notarization { proposal, certificate }, block.clone()))
    }

    /// Response of an indexer to a request for the finalized block at `height`, in either mode: the
    /// finalization, then the block. `None` above the tip and at height 0.
    pub fn encoded(&self, height: Height) -> Option<Bytes> {
        match self.mode {
            CertificateMode::Standard => {
                self.finalized::<StandardScheme>(height).map(|finalized| finalized.encode())
            }
            CertificateMode::Vrf => {
                self.finalized::<VrfScheme>(height).map(|finalized| finalized.encode())
            }
        }
    }

    pub(super) fn shared_committee(&self) -> &Arc<Committee> {
        &self.committees[0]
    }

    pub(super) fn unknown(&self, height: Height) -> Error {
        Error::UnknownHeight { height, tip: self.tip() }
    }

    fn certificate<S: Certify>(
        &self,
        vote: Signature,
        seed: Option<Signature>,
    ) -> Option<S::Certificate> {
        if S::MODE != self.mode {
            return None;
        }
        S::certificate(vote, seed)
    }

    fn link(&self, height: Height) -> Option<&Link> {
        let index = usize::try_from(height.get().checked_sub(1)?).ok()?;
        self.links.get(index)
    }

    /// Signs blocks on all cores.
    fn sign_all(&self, blocks: Vec<Block>) -> Vec<Link> {
        on_all_cores(blocks, |block| {
            let committee = self.committee_of(block.height);
            let vrf = self.mode == CertificateMode::Vrf;
            Link {
                finalize: committee.vote(Vote::Finalize, &proposal(&block)),
                seed: vrf.then(|| committee.seed_of(block.context.round)),
                block,
            }
        })
    }

    /// The next block on top of `parent`, or on top of the tip if `parent` is `None`.
    fn next(&self, parent: Option<&Block>) -> Block {
        let parent = parent.or_else(|| self.links.last().map(|link| &link.block));
        let view = view_of(parent);
        let (parent, height) = match parent {
            Some(parent) => (parent.digest(), parent.height.next()),
            None => (Block::genesis().digest(), Height::new(1)),
        };
        let epoch = self.epoch(height);
        let skipped = self.config.skip_every != 0 && height.get() % self.config.skip_every == 0;
        let next = (view.get() + 1 + u64::from(skipped)).max(self.view_min.get());
        let leaders = self.committee_of(height).participants();
        let leader = leaders[(next % leaders.len() as u64) as usize].clone();
        let context =
            Context { round: Round::new(epoch, View::new(next)), leader, parent: (view, parent) };
        let millis = u64::try_from(self.config.block_time.as_millis()).unwrap_or(u64::MAX);
        let age = (height.get() - 1).saturating_mul(millis);
        let timestamp = self.config.start_time_ms.saturating_add(age);
        let data = match self.ends_epoch(height) {
            true => self.epoch_info(epoch.next()),
            false => payload(self.config.data_bytes, &parent),
        };
        Block::new(context, parent, height, timestamp, data)
    }
}

/// View of a block; that of genesis for `None`.
fn view_of(block: Option<&Block>) -> View {
    block.map_or(View::zero(), |block| block.context.round.view())
}

/// The proposal that a vote for `block` signs.
pub(super) fn proposal(block: &Block) -> Proposal<Digest> {
    Proposal::new(block.context.round, block.context.parent.0, block.digest())
}

/// Incompressible payload that differs from block to block.
fn payload(length: usize, parent: &Digest) -> Bytes {
    let mut data = Vec::with_capacity(length);
    let mut digest = *parent;
    while data.len() < length {
        digest = Sha256::hash(&[digest.as_ref()]);
        let missing = length - data.len();
        data.extend_from_slice(&digest[..missing.min(digest.len())]);
    }
    data.into()
}

/// Makes a link of each block, on all cores.
fn on_all_cores(blocks: Vec<Block>, one: impl Fn(Block) -> Link + Sync) -> Vec<Link> {
    let one = &one;
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = blocks.len().div_ceil(cores).max(SIGNATURES_PER_THREAD_MIN);
    if blocks.len() <= share {
        return blocks.into_iter().map(one).collect();
    }
    let mut signed: Vec<Option<Link>> = blocks.iter().map(|_| None).collect();
    let mut blocks = blocks.into_iter();
    thread::scope(|scope| {
        for slots in signed.chunks_mut(share) {
            let chunk: Vec<_> = blocks.by_ref().take(slots.len()).collect();
            scope.spawn(move || {
                for (slot, block) in slots.iter_mut().zip(chunk) {
                    *slot = Some(one(block));
                }
            });
        }
    });
    signed.into_iter().flatten().collect()
}
