//! Followers inside of a validator: over its marshal, without a network.

use super::{block::Block, served::Served};
use crate::Certify;
use bytes::{Buf, BufMut};
use commonware_codec::{EncodeSize, Error, RangeCfg, Read, Write};
use commonware_consensus::marshal::standard::Standard;
use commonware_cryptography::Digestible as _;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tidewatch_certified::{CertifiedBlock, MarshalBell, MarshalSource};
use tidewatch_core::{AnySource, BlockRef, ChainId, ChainInfo, Digest};

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

impl CertifiedBlock for Followed {
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

/// What every validator rings, and where its marshal is found.
pub(super) struct Inside<S: Certify> {
    served: Arc<Served<S>>,
    bells: Mutex<BTreeMap<usize, Bell>>,
}

impl<S: Certify> Inside<S> {
    pub(super) fn new(served: Arc<Served<S>>) -> Self {
        Self { served, bells: Mutex::default() }
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
