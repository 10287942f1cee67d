//! A Miden chain, followed from its nodes by gRPC-web.
//!
//! # Overview
//!
//! ```text
//!  miden+http://HOST:PORT?finalized=committed  miden+https://  ──parse──▶ Address ──open──▶ MidenSource
//! ```
//!
//! | tier | what the node calls it |
//! |---|---|
//! | proposed | committed: the highest block that its validator signed |
//! | proven | proven: the highest block that is proven, with all below it |
//! | finalized | unknown, unless the address says what its user takes for final |
//!
//! `finalized=committed` takes what the validator signed for final, and `finalized=proven` what is proven.
//! There are no checkpoints.
//!
//! # What is asked
//!
//! | call of the source | request |
//! |---|---|
//! | `snapshot` | `SyncChainMmr` for the proven tip, then for the committed one: in that order, so that the first is never above the second |
//! | `digests` | `GetBlockByNumber` for each height, and `GetBlockHeaderByNumber` for the tip and genesis |
//! | `blocks` | `BlockSubscription`, which is read as far as the range goes; `GetBlockByNumber` for a single block, and for up to 16 where the node gives no stream |
//! | `chain_info`, and the first of every connection | `GetBlockHeaderByNumber` for genesis; once more, by the first snapshot, for the validator's key that it names |
//! | `doorbell` | `BlockSubscription` from above the highest block that is known |
//!
//! What is pushed is kept, and is not asked for again. A tip comes with header and signature, which is all that
//! is kept of a block: so the newest block is never asked for.
//!
//! # What is believed
//!
//! A block's digest is the commitment of its header, computed here: Poseidon2 over the field that Miden
//! computes in. It names the commitment of the block before. The validator signs it (ECDSA on secp256k1, over
//! its keccak-256), and no block counts without that signature by the key that genesis names: a header that names
//! another key is refused. Genesis itself is what the node says it is, once; a data directory is of one genesis.
//!
//! So committed blocks are those of the validator, whatever the node is. **Which of them are proven is the
//! node's word**: block proofs of the versions that are followed are empty stand-ins, which nobody could verify.
//! Nothing here is the word of more than one validator, and there is no reorg that it did not sign.
//!
//! What a block contains is skipped: the header commits to it.
//!
//! # Cost
//!
//! In requests: a quiet pass 2; one new block 2, and several that were pushed likewise; otherwise several new
//! blocks 3; catching up `n` blocks `2 * ceil(n / 256) + 2` at the most. Miden has no reorgs. Where a chain was begun anew at the same address, its
//! genesis is another one, and it is refused.
//!
//! # Limits
//!
//! Nodes of version 0.15 are followed. An answer with a block is 16 MiB at the most; a range ends early once
//! its blocks, of which the header is kept, fill half of that. One that is too large all the same halves the length of ranges,
//! which grows again with many that are answered.

mod address;
mod block;
mod calls;
mod error;
mod family;
mod field;
mod header;
mod proposed;
mod pushes;
mod source;
mod wire;

#[cfg(test)]
mod tests;

pub use address::{Address, Finalized};
pub use block::{MidenBlock, Signature};
pub use error::MidenError;
pub(crate) use family::FAMILY;
pub use field::Word;
pub use header::{Faucet, Header};
pub use proposed::{NotProposed, Proposed};
pub use source::MidenSource;

use crate::{
    error::fault,
    rpc::{Config, grpc::GrpcWeb},
};
use commonware_runtime::{Clock, Metrics};
use std::sync::Arc;
use tidewatch_core::{Fault, Monitor};

/// What these addresses begin with.
const PREFIX: &str = "miden";

/// Makes a source for the chain of the nodes at `addresses`, which are asked one at a time: the next one when
/// one fails. Nothing is asked yet.
///
/// # Errors
///
/// `Setting`, with what to do about it: there is no address, they do not take the same for final, or no TLS can
/// be set up for one.
pub fn open<E: Clock + Metrics>(
    context: E,
    addresses: &[Address],
    monitor: Arc<dyn Monitor>,
    config: &Config,
) -> Result<MidenSource<E, GrpcWeb<E>>, Fault> {
    let finalized = addresses.first().map(Address::finalized).unwrap_or_default();
    if addresses.iter().any(|address| address.finalized() != finalized) {
        return Err(fault(PREFIX, MidenError::Mixed));
    }
    let node = |address: &Address| {
        GrpcWeb::new(context.child("node"), address.node(), calls::SERVICE, config)
    };
    let nodes = addresses.iter().map(node).collect::<Result<_, _>>()?;
    MidenSource::new(context, nodes, finalized, monitor, config)
}
