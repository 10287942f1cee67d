//! What is proven: the statement of this build.

#[cfg(feature = "prove")]
pub(super) use with::{Statement, inputs, statement};
#[cfg(not(feature = "prove"))]
pub(super) use without::{Statement, inputs, statement};

use commonware_codec::Decode as _;
use tidewatch_core::{AnyBlock, Block as _, BlockDecoder, ChainId, ChainInfo};
use tidewatch_sources::alto::AltoBlock;

/// Largest payload of a block, in bytes: that of alto's followers.
const BLOCK_MAX: u32 = 4 * 1024 * 1024;

fn decode(block: &AnyBlock) -> Option<AltoBlock> {
    AltoBlock::decode_cfg(block.bytes().clone(), &AltoBlock::codec(BLOCK_MAX)).ok()
}

/// When `block` was made, in milliseconds since 1970, by its own time.
pub(super) fn time_ms(block: &AnyBlock) -> Option<u64> {
    decode(block).map(|block| block.timestamp)
}

/// The chain called `id`, of those that can be proven.
pub(super) fn chain(id: ChainId) -> (ChainInfo, BlockDecoder) {
    let genesis = AltoBlock::genesis().reference();
    (ChainInfo { id, genesis }, BlockDecoder::new::<AltoBlock>(AltoBlock::codec(BLOCK_MAX)))
}

#[cfg(feature = "prove")]
mod with {
    use super::{AnyBlock, BLOCK_MAX, decode};
    use crate::Outcome;
    use bytes::Bytes;
    use tidewatch_core::{Fault, FaultKind};
    use tidewatch_prover::sha256::{self, ChainLink, Layout};

    pub(in super::super) type Statement = ChainLink;

    /// Where alto hashes a block's parent: after the consensus context, whose numbers are varints.
    const LAYOUT: Layout = Layout { parent_at: 67..=94, length_max: BLOCK_MAX };

    /// The statement, with its prover.
    pub(in super::super) fn statement() -> Outcome<Statement> {
        Ok(ChainLink::new(LAYOUT))
    }

    /// What a prover needs of `block`.
    pub(in super::super) fn inputs(block: &AnyBlock) -> Result<Bytes, Fault> {
        let wrong = || FaultKind::Bug.fault("the prover's feed", "a block is none of alto's");
        let (hashed, at) = decode(block).ok_or_else(wrong)?.hashed();
        let at = u16::try_from(at).map_err(|_| wrong())?;
        Ok(sha256::inputs(&hashed, at))
    }
}

#[cfg(not(feature = "prove"))]
mod without {
    use super::AnyBlock;
    use crate::{Outcome, command::Problem};
    use bytes::Bytes;
    use tidewatch_core::{BlockRef, Digest, Fault, FaultKind};
    use tidewatch_prover::{Key, Program, Prove, Released};

    /// What no build without the feature has.
    #[derive(Clone, Debug)]
    #[allow(dead_code, reason = "it is only there to be named")]
    pub(in super::super) struct Statement;

    const NONE: &str = "this build cannot prove: it was made without the feature `prove`";

    pub(in super::super) fn statement() -> Outcome<Statement> {
        Err(Problem::usage(NONE)
            .hint("run `cargo run --release --features prove -- prove`, or build so once"))
    }

    pub(in super::super) fn inputs(_: &AnyBlock) -> Result<Bytes, Fault> {
        Err(FaultKind::Bug.fault("the prover's feed", NONE))
    }

    impl Program for Statement {
        fn id(&self) -> Digest {
            Digest([0; 32])
        }

        fn check(&self, _: BlockRef, _: &[u8]) -> Result<(), String> {
            Err(NONE.into())
        }

        fn verify(&self, _: Digest, _: BlockRef, _: &[u8]) -> Result<(), String> {
            Err(NONE.into())
        }
    }

    impl Prove for Statement {
        fn prove(&self, _: &Key, _: &[u8], _: &Released) -> Result<Bytes, String> {
            Err(NONE.into())
        }
    }
}
