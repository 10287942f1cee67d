//! The chain, on disk.

use super::{lines::Lines, record::Link};
use crate::{Applier, Block, Error, NotApplied, Preblock, Standing};
use commonware_runtime::Spawner;
use commonware_storage::Context;
use commonware_utils::sync::{AsyncMutex, Mutex};
use futures::{FutureExt as _, future::BoxFuture};
use std::{fmt, sync::Arc};
use tidewatch_core::{
    Block as _, BlockRef, ChainId, Digest, Fault, Height,
    watch::{Receiver, Sender, watch},
};

const ABOUT: &str = "the sequencer's chain";

/// What a chain begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The chain's name.
    pub chain: ChainId,
    /// The digest of its block at height 0.
    pub digest: Digest,
    /// The time of that block, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// The chain: one line a block. It applies whatever goes on its head.
pub struct Chain<E: Context + Spawner> {
    context: Mutex<E>,
    lines: Arc<AsyncMutex<Lines<E, Link>>>,
    head: Arc<Sender<Standing>>,
    heads: Receiver<Standing>,
    genesis: Genesis,
}

impl<E: Context + Spawner> fmt::Debug for Chain<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("head", &self.heads.current()).finish_non_exhaustive()
    }
}

impl<E: Context + Spawner> Chain<E> {
    /// Opens the chain in `partition`, or begins it.
    ///
    /// # Errors
    ///
    /// It is of another chain, it is damaged, or the disk.
    pub async fn open(context: E, partition: &str, genesis: Genesis) -> Result<Self, Fault> {
        let open = Self::opened(context, partition, genesis).await;
        open.map_err(|error| Fault::new(ABOUT, error))
    }

    async fn opened(context: E, partition: &str, genesis: Genesis) -> Result<Self, Error> {
        let Genesis { chain, digest, time_ms } = genesis.clone();
        let begin = Standing { block: BlockRef::new(Height::zero(), digest), time_ms };
        let (mut head, mut first) = (begin, None);
        let fold = |position, link| {
            // The first line alone is a genesis: another one would take back the blocks before it.
            match link {
                Link::Genesis { chain, digest, time_ms } if position == 0 => {
                    head = Standing { block: BlockRef::new(Height::zero(), digest), time_ms };
                    first = Some(chain);
                }
                Link::Block(block) if first.is_some() => head = next(head, &block)?,
                Link::Genesis { .. } | Link::Block(_) => return Err(Error::Chain(position)),
            }
            Ok(())
        };
        let partition = format!("{partition}-chain");
        let mut lines = Lines::open(context.child("chain"), partition, "the chain", fold).await?;
        match first {
            None => lines.write(&[Link::Genesis { chain, digest, time_ms }]).await?,
            Some(found) if found == chain => {}
            Some(found) => return Err(Error::WrongChain { found, wanted: chain }),
        }
        let (head, heads) = watch(head);
        let (lines, head) = (Arc::new(AsyncMutex::new(lines)), Arc::new(head));
        Ok(Self { context: Mutex::new(context), lines, head, heads, genesis })
    }

    /// What it begins with.
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The head: to read and to await.
    pub fn heads(&self) -> Receiver<Standing> {
        self.heads.clone()
    }
}

/// Where the chain stands after `block`.
fn next(head: Standing, block: &Block) -> Result<Standing, Error> {
    let (number, parent) = (block.identity.number, block.identity.parent);
    if number != head.block.height.next() || parent != head.block.digest {
        return Err(Error::NotNext { number, parent, head: head.block });
    }
    let (time_ms, parent_ms) = (block.content.time_ms, head.time_ms);
    if time_ms < parent_ms {
        return Err(Error::BackInTime { number, time_ms, parent_ms });
    }
    Ok(Standing { block: block.reference(), time_ms })
}

async fn append<E: Context>(
    lines: &AsyncMutex<Lines<E, Link>>,
    head: &Sender<Standing>,
    block: Block,
) -> Result<Block, NotApplied> {
    let failed = |error| NotApplied::Failed(Fault::new(ABOUT, error));
    let mut lines = lines.lock().await;
    let at = head.subscribe().current();
    let number = block.identity.number;
    if number <= at.block.height && number > Height::zero() {
        // It came again. A line's position is its number: genesis is the first.
        if let Link::Block(there) = lines.read(number.get()).await.map_err(failed)?
            && there.identity.same(&block.identity)
        {
            return Ok(*there);
        }
    }
    let standing = next(at, &block).map_err(failed)?;
    lines.write(&[Link::Block(Box::new(block.clone()))]).await.map_err(failed)?;
    head.change(|head| std::mem::replace(head, standing) != standing);
    Ok(block)
}

impl<E: Context + Spawner> Applier for Chain<E> {
    fn head(&self) -> Standing {
        self.heads.current()
    }

    fn apply<'a>(&'a self, preblock: &'a Preblock) -> BoxFuture<'a, Result<Block, NotApplied>> {
        let (lines, head, block) = (self.lines.clone(), self.head.clone(), Block::of(preblock));
        // On a task of its own: a caller that leaves does not cut a write off.
        let context = self.context.lock().child("apply");
        let applied = context.spawn(move |_| async move { append(&lines, &head, block).await });
        let ended = |_| NotApplied::Failed(Fault::new(ABOUT, Error::Stopped));
        async move { applied.await.unwrap_or_else(|error| Err(ended(error))) }.boxed()
    }

    fn block(&self, number: Height) -> BoxFuture<'_, Result<Block, Fault>> {
        async move {
            let head = self.head().block;
            let none = || Fault::new(ABOUT, Error::NoBlock { number, head });
            if number == Height::zero() || number > head.height {
                return Err(none());
            }
            let line = self.lines.lock().await.read(number.get()).await;
            match line.map_err(|error| Fault::new(ABOUT, error))? {
                Link::Block(block) => Ok(*block),
                Link::Genesis { .. } => Err(none()),
            }
        }
        .boxed()
    }
}
