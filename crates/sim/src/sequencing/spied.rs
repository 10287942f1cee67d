//! Recorders at the ports, which fail as they are told.

use commonware_utils::sync::Mutex;
use futures::{FutureExt as _, future::BoxFuture};
use std::{collections::VecDeque, fmt, sync::Arc};
use tidewatch_core::{Fault, FaultKind, Height};
use tidewatch_sequencer::{Applier, Block, NotApplied, Preblock, Publisher, Standing};

/// An applier that records what it applied.
pub struct Applies<A> {
    inner: Arc<A>,
    log: Arc<Mutex<Vec<Preblock>>>,
    script: Arc<Mutex<VecDeque<NotApplied>>>,
}

impl<A> fmt::Debug for Applies<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applies").field("calls", &self.log.lock().len()).finish_non_exhaustive()
    }
}

impl<A> Applies<A> {
    /// Around `inner`.
    pub fn new(inner: Arc<A>) -> Self {
        Self { inner, log: Arc::default(), script: Arc::default() }
    }

    /// Fails the next call like that, after those that were scripted before.
    pub fn fails(&self, with: NotApplied) {
        self.script.lock().push_back(with);
    }

    /// Every preblock that it was to apply, with those that failed.
    pub fn calls(&self) -> Vec<Preblock> {
        self.log.lock().clone()
    }
}

impl<A: Applier> Applier for Applies<A> {
    fn head(&self) -> Standing {
        self.inner.head()
    }

    fn apply<'a>(&'a self, preblock: &'a Preblock) -> BoxFuture<'a, Result<Block, NotApplied>> {
        self.log.lock().push(preblock.clone());
        let scripted = self.script.lock().pop_front();
        match scripted {
            Some(error) => futures::future::ready(Err(error)).boxed(),
            None => self.inner.apply(preblock),
        }
    }

    fn block(&self, number: Height) -> BoxFuture<'_, Result<Block, Fault>> {
        self.inner.block(number)
    }
}

/// A publisher that records what it published, and keeps it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Posted>>);

#[derive(Debug, Default)]
struct Posted {
    blocks: Vec<Block>,
    calls: usize,
    fails: usize,
}

impl Board {
    /// Fails the next `calls`.
    pub fn fails(&self, calls: usize) {
        self.0.lock().fails = calls;
    }

    /// What was published, in order.
    pub fn blocks(&self) -> Vec<Block> {
        self.0.lock().blocks.clone()
    }

    /// How often it was asked to publish.
    pub fn calls(&self) -> usize {
        self.0.lock().calls
    }
}

impl Publisher for Board {
    fn published(&self) -> Height {
        let posted = self.0.lock();
        posted.blocks.last().map_or(Height::zero(), |block| block.identity.number)
    }

    fn publish<'a>(&'a self, block: &'a Block) -> BoxFuture<'a, Result<(), Fault>> {
        let mut posted = self.0.lock();
        posted.calls += 1;
        let published = if posted.fails > 0 {
            posted.fails -= 1;
            Err(FaultKind::Unreachable.fault("board", "scripted"))
        } else {
            posted.blocks.push(block.clone());
            Ok(())
        };
        futures::future::ready(published).boxed()
    }
}
