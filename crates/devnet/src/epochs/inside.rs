//! Followers and sentinels inside of a validator: over its marshal and its votes, without a network.

use super::{block::Block, faults::Ears, served::Served};
use crate::Certify;
use bytes::{Buf, BufMut};
use commonware_codec::{Decode as _, Encode as _, EncodeSize, Error, RangeCfg, Read, Write};
use commonware_consensus::marshal::standard::Standard;
use commonware_cryptography::Digestible as _;
use commonware_runtime::tokio::Context;
use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
};
use tidewatch_certified::{MarshalBell, MarshalSource};
use tidewatch_core::{AnyBlock, AnySource, BlockRef, ChainId, ChainInfo, Digest, Running};
use tidewatch_sentinel::{
    FromSource, ValidatorId,
    simplex::{self as sentinel, Electorate, HandIn, Listener, Round, Rounds, Slots, slot_blocks},
};

/// The doorbell of one validator's marshal.
pub(super) type Bell = MarshalBell<Standard<Block>>;

/// A block as it is followed: alto's, in alto's encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Followed(alto_types::Block);

impl tidewatch_core::Block for Followed {
    fn reference(&self) -> BlockRef {
        BlockRef::new(self.0.height, self.0.digest())
    }

    fn parent(&self) -> Digest {
        self.0.parent
    }
}

impl tidewatch_core::Timed for Followed {
    fn time_ms(&self) -> Option<u64> {
        Some(self.0.timestamp)
    }
}

impl Write for Followed {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}

impl EncodeSize for Followed {
    fn encode_size(&self) -> usize {
        self.0.encode_size()
    }
}

impl Read for Followed {
    type Cfg = RangeCfg<usize>;

    fn read_cfg(buf: &mut impl Buf, bound: &Self::Cfg) -> Result<Self, Error> {
        alto_types::Block::read_cfg(buf, bound).map(Self)
    }
}

/// The ports of a sentinel inside of a validator. See [`Devnet::watched`](super::Devnet::watched).
#[derive(Debug)]
pub struct Watched {
    /// Who is due, and the slots.
    pub electorate: Electorate,
    /// What is canonical.
    pub canonical: FromSource<Slots<AnySource>>,
    /// How far the validator has come, and what was heard with it.
    pub observer: sentinel::Inside<Slots<AnySource>>,
    /// Hands in what the validators send. It runs until it is stopped.
    pub listener: Running,
}

/// What every validator rings and is heard by, and where its marshal is found.
pub(super) struct Inside<S: Certify> {
    served: Arc<Served<S>>,
    epoch_length: NonZeroU64,
    bells: Mutex<BTreeMap<usize, Bell>>,
    watched: Mutex<BTreeMap<usize, (Electorate, Ears<S>)>>,
}

/// In which round a followed block was proposed.
fn round(block: &AnyBlock) -> Option<Round> {
    let codec = alto_types::Block::unbounded_codec_config();
    let block = alto_types::Block::decode_cfg(block.bytes().clone(), &codec).ok()?;
    let leader = ValidatorId::new(block.context.leader.encode()).ok();
    Some(Round { round: block.context.round, leader })
}

impl<S: Certify> Inside<S> {
    pub(super) fn new(served: Arc<Served<S>>, epoch_length: NonZeroU64) -> Self {
        Self { served, epoch_length, bells: Mutex::default(), watched: Mutex::default() }
    }

    fn watch(&self, index: usize) -> (Electorate, Ears<S>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || (Electorate::new(Rounds::anew()), Ears::default());
        watched.entry(index).or_insert_with(new).clone()
    }

    /// The committees that the validator at `index` learns of.
    pub(super) fn electorate(&self, index: usize) -> Electorate {
        self.watch(index).0
    }

    /// Who hears the votes of the validator at `index`.
    pub(super) fn ears(&self, index: usize) -> Ears<S> {
        self.watch(index).1
    }

    /// The ports of a sentinel inside of the validator at `index`, if that runs.
    pub(super) fn watched(
        &self,
        context: Context,
        index: usize,
        chain: ChainId,
        hand_in: HandIn,
    ) -> Option<Watched> {
        let source = self.source(index, chain)?;
        let (electorate, ears) = self.watch(index);
        let slots = slot_blocks(source, electorate.clone(), Some(self.epoch_length), round);
        let config = sentinel::Config::default();
        let (listener, reporter, heard) =
            Listener::<_, S>::new(context, config, electorate.clone(), hand_in);
        ears.lock().unwrap_or_else(PoisonError::into_inner).push(reporter);
        let chain = |slots| FromSource::new(slots, NonZeroU64::MIN, 0);
        Some(Watched {
            electorate,
            observer: sentinel::Inside::new(chain(slots.clone()), heard),
            canonical: chain(slots),
            listener: Running::start(listener),
        })
    }

    /// The bell of the validator at `index`.
    pub(super) fn bell(&self, index: usize) -> Bell {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(index).or_default().clone()
    }

    /// A source over the marshal of the validator at `index`, if that runs.
    pub(super) fn source(&self, index: usize, chain: ChainId) -> Option<AnySource> {
        let marshal = self.served.archive(index)?;
        let genesis = alto_types::Block::genesis();
        let chain_info =
            ChainInfo { id: chain, genesis: BlockRef::new(genesis.height, genesis.digest()) };
        let name = format!("validator {index}");
        let convert = |block: Block| Followed(block.into_alto());
        let source = MarshalSource::new(name, chain_info, marshal, self.bell(index), convert);
        Some(AnySource::new(Arc::new(source)))
    }
}
