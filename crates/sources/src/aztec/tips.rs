//! Tips, as a node writes them.

use super::{AztecError, Field, header::number};
use crate::error::fault;
use serde::Deserialize;
use tidewatch_core::{BlockRef, CheckpointRef, Digest, Fault, Height, Tier, Tip, TipSet};

/// How every node names the block at height 0, whatever its header is: the constant
/// `GENESIS_BLOCK_HEADER_HASH`.
const GENESIS: [u8; 32] = [
    0x2f, 0xf6, 0x81, 0xdd, 0x77, 0x30, 0xc7, 0xb9, 0xe5, 0x65, 0x0c, 0x70, 0xaf, 0xa5, 0x7e, 0xe8,
    0x13, 0x77, 0x79, 0x2d, 0xfc, 0x95, 0xd9, 0x8c, 0x11, 0x81, 0x7b, 0x8c, 0x76, 0x1f, 0xf9, 0x65,
];

/// A block or a checkpoint, named.
#[derive(Deserialize)]
struct Name {
    #[serde(deserialize_with = "number")]
    number: u64,
    hash: Field,
}

#[derive(Deserialize)]
struct Checkpointed {
    block: Name,
    checkpoint: Name,
}

/// What `node_getL2Tips` answers.
#[derive(Deserialize)]
pub(super) struct Wire {
    proposed: Name,
    checkpointed: Option<Checkpointed>,
    proven: Option<Checkpointed>,
    finalized: Option<Checkpointed>,
}

impl Wire {
    /// The proposed tip, and all tiers, each at its own tip alone. At height 0 there is `genesis`, which
    /// the node may call by its digest or by the constant of the protocol.
    ///
    /// # Errors
    ///
    /// `WrongDigest`: it has another block at height 0. `name` is the node.
    pub(super) fn read(&self, name: &str, genesis: BlockRef) -> Result<(BlockRef, TipSet), Fault> {
        let block = |named: &Name| {
            let digest = Digest(*named.hash.bytes());
            match named.number {
                0 if digest == genesis.digest || digest.0 == GENESIS => Ok(genesis),
                0 => {
                    let named = named.hash;
                    Err(fault(name, AztecError::OtherGenesis { named, genesis }))
                }
                number => Ok(BlockRef::new(Height::new(number), digest)),
            }
        };
        let proposed = block(&self.proposed)?;
        let mut tips = TipSet::unknown().with(Tier::Proposed, proposed);
        let tiers = [
            (Tier::Checkpointed, &self.checkpointed),
            (Tier::Proven, &self.proven),
            (Tier::Finalized, &self.finalized),
        ];
        for (tier, tip) in tiers {
            let Some(Checkpointed { block: named, checkpoint }) = tip else { continue };
            let digest = Digest(*checkpoint.hash.bytes());
            let checkpoint = CheckpointRef { number: checkpoint.number, digest };
            tips.set(tier, Some(Tip { block: block(named)?, checkpoint: Some(checkpoint) }));
        }
        Ok((proposed, tips))
    }
}
