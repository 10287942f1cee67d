//! The durable store: one writer, readers beside it.
//!
//! | file | holds |
//! |---|---|
//! | `layout` | where each part lies on disk, and the items of its journals |
//! | `open` | what a restart does |
//! | `writer` | the local view: hands commits to the committer, closes the store where one fails |
//! | `committer` | what a commit does, and in which order |
//! | `trim` | the removal of what is past retention, at the end of a commit |
//! | `run` | the blocks of one run and their digests |
//! | `proofs` | the proofs of one tier |
//! | `moment` | what readers see |
//! | `reader` | events, archive, positions, and where to go on from a cursor |
//! | `positions` | durable positions of consumers |
//! | `meta` | the small things, in two copies |
//! | `fault` | storage errors as faults that name part and position |

mod committer;
mod layout;
mod meta;
mod moment;
mod open;
mod positions;
mod proofs;
mod reader;
mod run;
mod trim;
mod writer;

use crate::{Config, Retention};
use commonware_codec::Codec;
use commonware_storage::Context;
use moment::Log;
use positions::Positions;
pub use reader::Reader;
use std::sync::Arc;
use tidewatch_core::{Block, ChainInfo, Fault};
use trim::Floors;
pub use writer::Writer;

/// A durable local view, event log and archive: see the [crate] for what it promises.
#[derive(Clone, Copy, Debug)]
pub struct Store;

impl Store {
    /// Opens the store in `config.partition` of the context's storage, or starts it there, and
    /// repairs what a crash left. Reads no history: see the [crate].
    ///
    /// The writer is the local view of the driver, and there is no other. Readers are handles: clone
    /// them. Nothing keeps a second process from opening the same directory; the program that composes
    /// the node has to.
    ///
    /// # Errors
    ///
    /// [`WrongChain`](tidewatch_core::FaultKind::WrongChain) if another chain is there,
    /// [`InvalidConfig`](tidewatch_core::FaultKind::InvalidConfig) if it was written in another format,
    /// [`CorruptRecord`](tidewatch_core::FaultKind::CorruptRecord), naming part and position, if it
    /// holds something else than what was written, and [`Disk`](tidewatch_core::FaultKind::Disk).
    pub async fn open<E: Context, B: Block + Codec>(
        context: E,
        config: Config<B::Cfg>,
    ) -> Result<(Writer<E, B>, Reader<E, B>), Fault> {
        // On the heap: a restart is a large future, and whoever opens a store holds it on the stack.
        let (committer, log) = Box::pin(open::open::<E, B>(context, &config)).await?;
        let (positions, floors) = (committer.positions.clone(), committer.floors.clone());
        let Config { chain_info, codec, retention, .. } = config;
        let shared = Arc::new(Shared { chain_info, codec, positions, floors, retention, log });
        let writer = Writer { committer: Some(committer), shared: shared.clone() };
        Ok((writer, Reader { shared }))
    }
}

/// What the writer and all readers have in common.
struct Shared<E: Context, B: Block + Codec> {
    chain_info: ChainInfo,
    codec: B::Cfg,
    positions: Arc<Positions<E>>,
    floors: Arc<Floors>,
    retention: Retention,
    log: Log<E>,
}
