//! The ports as a world has them: watched, and with one rule switched off where a test says so.
//!
//! A rule that is switched off is off at the ports alone: the wrapper does there what a sequencer without the rule
//! would have done. No product code knows of it.

use super::Network;
use commonware_runtime::{Clock, Spawner};
use commonware_storage::Context;
use commonware_utils::sync::Mutex;
use futures::{FutureExt as _, future::BoxFuture};
use std::{collections::BTreeMap, fmt, sync::Arc};
use tidewatch_core::{Block as _, Fault, Height, watch::Receiver};
use tidewatch_sequencer::{
    Applier, Block, Item, Locked, NotApplied, NotSubmitted, Opened, Ordering, Pool, Preblock,
    Preblocks, Proposal, Standing, Transaction,
    disk::{Chain, DiskPool},
};

/// A rule that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A preblock counts whatever was proposed.
    Identity,
    /// A preblock of an older number is applied as well.
    LateDiscard,
    /// Transactions are not reserved for the proposal that they are in.
    Reservation,
    /// The network is not asked what it fixed meanwhile.
    CatchUp,
    /// An applied block is in memory alone.
    DurableApply,
}

impl Mutant {
    /// Every rule, with the checker that objects when it is switched off.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Identity, "proposed"),
        (Self::LateDiscard, "order"),
        (Self::Reservation, "reserved"),
        (Self::CatchUp, "liveness"),
        (Self::DurableApply, "durable"),
    ];
}

/// What the ports of one life have in common.
#[derive(Default)]
struct Shared {
    /// What was submitted last for a number.
    submitted: BTreeMap<u64, Proposal>,
    /// What came instead of it.
    instead: BTreeMap<u64, Preblock>,
    /// Blocks that are in memory alone.
    volatile: Vec<Block>,
    /// What a checker at the ports objects to.
    objections: Vec<String>,
}

/// Watches the ports of one life, and switches off a rule.
#[derive(Clone, Default)]
pub(super) struct Guard {
    mutant: Option<Mutant>,
    shared: Arc<Mutex<Shared>>,
}

impl Guard {
    pub(super) fn new(mutant: Option<Mutant>) -> Self {
        Self { mutant, shared: Arc::default() }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Blocks that were to be applied out of order.
    pub(super) fn objections(&self) -> Vec<String> {
        self.shared.lock().objections.clone()
    }

    pub(super) fn over<T>(&self, inner: Arc<T>) -> Guarded<T> {
        Guarded { inner, guard: self.clone() }
    }
}

/// A port under guard.
pub(super) struct Guarded<T> {
    pub(super) inner: Arc<T>,
    guard: Guard,
}

impl<T> Clone for Guarded<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), guard: self.guard.clone() }
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("mutant", &self.guard.mutant).finish_non_exhaustive()
    }
}

impl<E: Context + Spawner> Pool for Guarded<DiskPool<E>> {
    fn select(&self, bytes: usize) -> BoxFuture<'_, Result<Vec<Transaction>, Locked>> {
        self.inner.select(bytes)
    }

    fn reserve(&self, proposal: &Proposal) -> BoxFuture<'_, Result<(), Fault>> {
        let reserved = self.inner.reserve(proposal);
        if !self.guard.is(Mutant::Reservation) {
            return reserved;
        }
        async move {
            reserved.await?;
            self.inner.release().await
        }
        .boxed()
    }

    fn outstanding(&self) -> Option<Proposal> {
        self.inner.outstanding()
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.inner.release()
    }

    fn settle<'a>(&'a self, block: &'a Block) -> BoxFuture<'a, Result<(), Fault>> {
        self.inner.settle(block)
    }

    fn settled(&self) -> Height {
        self.inner.settled()
    }

    fn waiting(&self) -> Receiver<usize> {
        self.inner.waiting()
    }
}

/// A block in which a transaction begins with `?` is refused by the chain, as a whole.
fn refused(preblock: &Preblock) -> bool {
    let refused =
        |opened: &Opened| matches!(opened, Opened::Clear(it) if it.first() == Some(&b'?'));
    preblock.opened.iter().any(refused)
}

impl<E: Context + Spawner> Applier for Guarded<Chain<E>> {
    fn head(&self) -> Standing {
        match self.guard.shared.lock().volatile.last() {
            Some(block) => Standing { block: block.reference(), time_ms: block.content.time_ms },
            None => self.inner.head(),
        }
    }

    fn apply<'a>(&'a self, preblock: &'a Preblock) -> BoxFuture<'a, Result<Block, NotApplied>> {
        let (number, head) = (preblock.identity.number, self.head().block);
        let mut shared = self.guard.shared.lock();
        if number != head.height.next() {
            shared.objections.push(format!("block {number} is applied over the head {head}"));
        }
        let instead = shared.instead.remove(&number.get());
        if self.guard.is(Mutant::DurableApply) {
            let block = Block::of(preblock);
            shared.volatile.push(block.clone());
            return futures::future::ready(Ok(block)).boxed();
        }
        drop(shared);
        if refused(preblock) {
            let why = NotApplied::Rejected("the chain does not run it".into());
            return futures::future::ready(Err(why)).boxed();
        }
        match instead {
            Some(instead) => async move { self.inner.apply(&instead).await }.boxed(),
            None => self.inner.apply(preblock),
        }
    }

    fn block(&self, number: Height) -> BoxFuture<'_, Result<Block, Fault>> {
        let shared = self.guard.shared.lock();
        let volatile = shared.volatile.iter().find(|block| block.identity.number == number);
        match volatile.cloned() {
            Some(block) => futures::future::ready(Ok(block)).boxed(),
            None => self.inner.block(number),
        }
    }
}

/// The network, and the chain that a preblock is applied to behind the coordinator's back.
pub(super) struct GuardedNetwork<E, A> {
    pub(super) network: Network<E>,
    pub(super) applier: Arc<A>,
    pub(super) guard: Guard,
}

impl<E: Clock + Spawner, A: Applier> Ordering for GuardedNetwork<E, A> {
    fn name(&self) -> &str {
        self.network.name()
    }

    fn submit(&self, proposal: Proposal) -> BoxFuture<'_, Result<(), NotSubmitted>> {
        let number = proposal.identity.number.get();
        self.guard.shared.lock().submitted.insert(number, proposal.clone());
        self.network.submit(proposal)
    }

    fn preblocks(&self, from: Height) -> BoxFuture<'_, Result<Box<dyn Preblocks>, Fault>> {
        async move {
            let inner = self.network.preblocks(from).await?;
            let (applier, guard) = (self.applier.clone(), self.guard.clone());
            Ok(Box::new(GuardedStream { inner, applier, guard }) as Box<dyn Preblocks>)
        }
        .boxed()
    }

    fn newest(&self) -> BoxFuture<'_, Result<Option<Height>, Fault>> {
        if self.guard.is(Mutant::CatchUp) {
            return futures::future::ready(Ok(None)).boxed();
        }
        self.network.newest()
    }

    fn verify(&self, preblock: &Preblock) -> Result<(), String> {
        if self.guard.is(Mutant::Identity) {
            return Ok(());
        }
        self.network.verify(preblock)
    }
}

struct GuardedStream<A> {
    inner: Box<dyn Preblocks>,
    applier: Arc<A>,
    guard: Guard,
}

impl<A: Applier> Preblocks for GuardedStream<A> {
    fn next(&mut self) -> BoxFuture<'_, Result<Item, Fault>> {
        async move {
            let item = self.inner.next().await?;
            let Item::Preblock(preblock) = item else { return Ok(item) };
            let (number, head) = (preblock.identity.number, self.applier.head().block);
            if self.guard.is(Mutant::LateDiscard) && number <= head.height {
                // Nobody looks at the number. What the chain makes of it is its own affair.
                let _ = self.applier.apply(&preblock).await;
            }
            if self.guard.is(Mutant::Identity) && number == head.height.next() {
                let mut shared = self.guard.shared.lock();
                let ours = shared.submitted.get(&number.get()).cloned();
                if let Some(ours) = ours
                    && ours.identity.parent == preblock.identity.parent
                    && !ours.identity.same(&preblock.identity)
                    && preblock.is_whole()
                {
                    // It is taken for the answer to what was proposed, and applied as it came.
                    let Proposal { identity, content } = ours;
                    let opened =
                        content.transactions.iter().map(|it| Opened::Clear(it.payload.clone()));
                    let (opened, evidence) = (opened.collect(), preblock.evidence.clone());
                    shared.instead.insert(number.get(), *preblock);
                    let taken = Preblock { identity, content, opened, evidence };
                    return Ok(Item::Preblock(Box::new(taken)));
                }
            }
            Ok(Item::Preblock(preblock))
        }
        .boxed()
    }
}
