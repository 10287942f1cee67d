//! A certified chain as a [`Source`].
//!
//! # Overview
//!
//! Reads what the upstream and its own questions have verified, and asks for the rest.
//!
//! | file | what |
//! |---|---|
//! | `ask` | whether a snapshot asks or answers from memory: a pure decision |
//! | `tips` | one snapshot: ask, take in, find the best proposed tip |
//! | `gather` | what is sent for a range of heights |
//! | `range` | a range of history, checked by hashing from one anchor |
//! | `digests` | digests at heights, each proved |
//! | `epochs` | the walk to an epoch that is not known |
//!
//! # Snapshots
//!
//! The tip is asked for after every (re)connection, every `ask_interval`, and whenever pushes do not
//! come. In between memory answers. An answer from before what was verified is counted and ignored: the
//! tips of this source never go back below a certificate.
//!
//! As long as no certificate verified there is no snapshot, but a fault: every endpoint can say that it has
//! nothing, and genesis is known here without one.
//!
//! A notarization that fails, or whose ancestors cannot be had, never holds up finality: the proposed
//! tip is then the next best one, at worst the finalized tip.
//!
//! # Ranges
//!
//! 1. The blocks that memory has, from the tip downwards, need no request.
//! 2. What is below is asked for by height, `concurrency` requests at once, in ascending order, until a
//!    limit of bytes, time or count. Of a deep history only one height in 32, and the others by digest, down
//!    from there: that is less to send and to decode, and nothing is asked for that has no finalization.
//! 3. The anchor is the digest that the chain above names, if the range reaches it: no certificate is
//!    checked. If it does not, the certificate of its last block is: one check for the whole range.
//! 4. From the anchor downwards each block must hash to what its child names. A height that had no
//!    answer, or a wrong one, is asked for by that digest instead.
//! 5. A height that cannot be had either way cuts the range: what is below it is anchored by a
//!    certificate of its own. If there is nothing below it, the answer is a fault that names it.
//!
//! # Cost
//!
//! A range of `n` blocks up to the tip is `n` requests and no certificate check, beyond the one that
//! the tip itself has cost; one that ends lower is `n + 1` requests and one check. A snapshot is at most
//! two requests, and `ancestors_max` more after notarizations were missed.
//!
//! # Certificates of history
//!
//! A range comes with the certificate that it ends with, and with those of the last blocks of epochs in it, as they
//! were received: a view that keeps them can hand its history to others, who verify it themselves. With
//! `boundary_certificates`, those of boundaries that nothing needed here are fetched too: one request and one check
//! for each epoch.
//!
//! An upstream that took its history in like that has few certificates. With `finds_certificates` it is asked where
//! they are: of a gap, one wave of `concurrency` requests is made before the first answer, and then one at its end; the
//! blocks of the gap come in ranges. A range ends where the upstream has a certificate, if it has one within
//! `blocks_max`; otherwise the next one above is checked, and the hash chain followed down from there.
//!
//! With `certificate_at_end` a range of such an endpoint costs the requests for its blocks and, where it ends below what is
//! known, two requests and one check. One whose blocks come short, or take longer than `range_time_max`, ends lower.
//!
//! # Restart safety
//!
//! Nothing here is durable. After a restart the tip is asked for and verified again.

mod ask;
mod digests;
mod epochs;
mod gather;
mod range;
mod tips;

#[cfg(test)]
mod tests;

use crate::{
    CertifiedBlock, Checker, Config, Epochs, Metrics, Transport, Upstream, Verifier, Work, checker,
    known::{Known, Shared},
    requests::Requests,
    upstream,
};
use ask::Asked;
use commonware_runtime::{Clock, Metrics as Register, Spawner};
use commonware_utils::sync::{AsyncMutex, Mutex};
use rand::CryptoRng;
use std::{
    fmt,
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicU32},
};
use tidewatch_core::{
    BlockRange, BlockRef, ChainId, ChainInfo, Digest, Doorbell, Fault, Height, Ladder, Limits,
    Monitor, Snapshot, Source,
};

/// Heights that one call for digests may name: a gallop back over 65,535 blocks.
const DIGESTS_MAX: NonZeroUsize = match NonZeroUsize::new(16) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};

/// What a certified source is made of.
pub struct Parts<T, X, B: CertifiedBlock> {
    /// The chain's name. It must stand for the trust root: a chain of other validators is another one.
    pub chain: ChainId,
    /// The chain's block at height 0.
    pub genesis: B,
    /// Bounds what is decoded of a block.
    pub codec: B::Cfg,
    /// The table of epochs: the trust root.
    pub epochs: X,
    /// The remote endpoint.
    pub transport: T,
    /// Is told of what was refused on the way to an answer, and so is part of no answer.
    pub monitor: Arc<dyn Monitor>,
}

impl<T, X, B: CertifiedBlock> fmt::Debug for Parts<T, X, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// A certified chain, followed at one endpoint. Made by [`open`].
pub struct CertifiedSource<E, T, X: Epochs, B: CertifiedBlock> {
    chain_info: ChainInfo,
    requests: Requests<E, T>,
    verifier: Arc<Verifier<X, B>>,
    shared: Arc<Shared<B>>,
    asked: Mutex<Asked>,
    /// One walk over epochs at a time: whoever waits for it finds what it learned.
    walking: AsyncMutex<()>,
    /// How often in a row a boundary that was passed over could not be had.
    unfilled: AtomicU32,
    metrics: Metrics,
    config: Config,
    upstream: upstream::Mailbox,
}

impl<E, T, X: Epochs, B: CertifiedBlock> fmt::Debug for CertifiedSource<E, T, X, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertifiedSource")
            .field("chain_info", &self.chain_info)
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

/// A source and its upstream, as [`open`] makes them.
pub type Opened<E, T, X, B> = (CertifiedSource<E, T, X, B>, Upstream<E, T, X, B>);

/// Makes the source and its upstream. The source works without the upstream, by asking; the upstream
/// brings pushes once it is started.
pub fn open<E, T, X, B>(context: E, parts: Parts<T, X, B>, config: Config) -> Opened<E, T, X, B>
where
    E: Clock + Register + Spawner + CryptoRng,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    let Parts { chain, genesis, codec, epochs, transport, monitor } = parts;
    let metrics = Metrics::new(&context, transport.name(), monitor);
    let chain_info = ChainInfo { id: chain, genesis: genesis.reference() };
    let (checker, mailbox) = Checker::new(context.child("checker"), checker::Config::default());
    checker.start(); // It ends with the last mailbox: when source and upstream are gone.
    let verifier = Verifier::new(epochs, genesis, codec, metrics.clone(), mailbox);
    let known =
        Known::new(&verifier.genesis(), config.ancestors_max.get(), config.recent_max.get());
    let (shared, verifier, transport) =
        (Arc::new(Shared::new(known)), Arc::new(verifier), Arc::new(transport));
    let collaborators = upstream::Config {
        transport: transport.clone(),
        verifier: verifier.clone(),
        shared: shared.clone(),
        metrics: metrics.clone(),
        limits: config.clone(),
    };
    let (upstream, mailbox) = Upstream::new(context.child("upstream"), collaborators);
    let timeout = config.request_timeout;
    let requests =
        Requests { clock: Arc::new(context), transport, metrics: metrics.clone(), timeout };
    let asked = Mutex::default();
    let source = CertifiedSource {
        chain_info,
        requests,
        verifier,
        shared,
        asked,
        walking: AsyncMutex::new(()),
        unfilled: AtomicU32::new(0),
        metrics,
        config,
        upstream: mailbox,
    };
    (source, upstream)
}

impl<E, T, X, B> CertifiedSource<E, T, X, B>
where
    E: Clock,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    /// What was done and refused so far, by reason.
    pub fn work(&self) -> Work {
        self.metrics.work()
    }

    /// The endpoint.
    pub fn transport(&self) -> &T {
        &self.requests.transport
    }

    /// The endpoint, for others who ask it: a [`Resolver`](crate::follow::Resolver).
    pub fn shared_transport(&self) -> Arc<T> {
        self.requests.transport.clone()
    }

    /// Talks to the upstream that was made with this source, if it runs.
    pub const fn upstream(&self) -> &upstream::Mailbox {
        &self.upstream
    }
}

impl<E, T, X, B> Source for CertifiedSource<E, T, X, B>
where
    E: Clock,
    T: Transport,
    X: Epochs,
    B: CertifiedBlock,
{
    type Block = B;

    fn name(&self) -> &str {
        self.metrics.name()
    }

    fn ladder(&self) -> Ladder {
        Ladder::Certified
    }

    fn limits(&self) -> Limits {
        Limits { digests_max: DIGESTS_MAX, blocks_max: self.config.blocks_max }
    }

    /// Needs no network: the chain is named by our own trust root.
    fn chain_info(&self) -> impl Future<Output = Result<ChainInfo, Fault>> + Send {
        std::future::ready(Ok(self.chain_info.clone()))
    }

    // Each of these is a large future, and a pass asks in many places: on the heap each costs an
    // allocation, inside the pass it would cost that much of the stack in every place.

    fn snapshot(&self) -> impl Future<Output = Result<Snapshot, Fault>> + Send {
        Box::pin(self.tips())
    }

    fn digests(
        &self,
        tip: BlockRef,
        heights: &[Height],
    ) -> impl Future<Output = Result<Vec<Option<Digest>>, Fault>> + Send {
        Box::pin(self.digests_at(tip, heights))
    }

    fn blocks(
        &self,
        tip: BlockRef,
        from: Height,
    ) -> impl Future<Output = Result<Vec<B>, Fault>> + Send {
        Box::pin(async move { self.certified_range(tip, from).await.map(|range| range.blocks) })
    }

    fn range(
        &self,
        tip: BlockRef,
        from: Height,
    ) -> impl Future<Output = Result<BlockRange<B>, Fault>> + Send {
        Box::pin(self.certified_range(tip, from))
    }

    fn doorbell(&self) -> Doorbell {
        self.shared.doorbell()
    }

    fn judged(&self, verdict: Result<(), &Fault>) {
        self.requests.transport.judged(verdict);
    }
}
