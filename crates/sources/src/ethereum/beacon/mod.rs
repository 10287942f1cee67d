//! Consensus clients beside execution nodes: a doorbell, and a second opinion on what is safe and final.
//!
//! # Overview
//!
//! ```text
//!  eth+http://EL:8545?beacon=http://CL:5052
//!
//!  events: head, finalized_checkpoint ──rings──▶ a pass
//!  the execution node's safe, finalized ──┐
//!  checkpoints of the head's state ───────┴─judge──▶ kept, or withheld and reported as `disputed`
//! ```
//!
//! # What is asked
//!
//! | when | request |
//! |---|---|
//! | `safe` or `finalized` of the execution node moved, or the client pushed that finality did | `/eth/v1/beacon/states/head/finality_checkpoints` |
//! | a checkpoint names a block that was not asked for before | `/eth/v2/beacon/blocks/{root}`: the execution block inside of it |
//! | once for each doorbell, and again when it ended | `/eth/v1/events?topics=head&topics=finalized_checkpoint` |
//!
//! A pass in which neither moved asks nothing. In an epoch that is one block and one or two times the
//! checkpoints: what becomes final was the justified block before.
//!
//! # What is believed
//!
//! Both clients are the operator's, and nothing proves what either says. The consensus client makes no tier
//! and moves none: it can only object. One that is silent, syncing or older has no objection; the
//! execution node's word counts then, as it does without a second opinion, and the fault says that there
//! was none.
//!
//! # When the two disagree
//!
//! `safe` is compared with the justified checkpoint, `finalized` with the finalized one (`judge`). One client
//! knows of a step before the other does, and a client that restarted is epochs behind: to be older or newer is
//! no contradiction. Two different blocks at one height are one, and so is a checkpoint whose block is not on
//! the execution node's chain. The tier is then withheld at once, with what stands on it, and stays where it
//! is for consumers. The fault comes once the contradiction has lasted for four seconds: a reorg reaches the
//! two at different moments. As long as it lasts every pass asks again.

mod client;
mod error;
mod events;
mod judge;
mod standing;
mod wire;

#[cfg(test)]
mod tests;

pub use error::BeaconError;
pub use judge::Dispute;

use super::headers::Headers;
use crate::{
    error::fault,
    rpc::{Config, Endpoint, Metrics, Rpc, Work},
};
use client::Client;
use commonware_runtime::{Clock, Metrics as Register, Spawner};
use commonware_utils::sync::Mutex;
use judge::{Verdict, judge};
use standing::{Standing, WATCHED};
use std::{fmt, sync::Arc};
use tidewatch_core::{BlockRef, Digest, Doorbell, Fault, Monitor, Snapshot, Tier, TipSet};

/// The execution blocks of the justified and of the finalized checkpoint, as a consensus client has them.
type Opinion = [Option<BlockRef>; 2];

/// Consensus clients of one chain, each beside one of its execution nodes. See the [module](self).
pub(super) struct Beacons<E: Clock> {
    clients: Vec<Arc<Client<E>>>,
    context: Arc<E>,
    metrics: Metrics,
    standing: Mutex<Standing>,
}

impl<E: Clock> fmt::Debug for Beacons<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beacons").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

impl<E: Clock + Register + Spawner> Beacons<E> {
    /// Sets up for `endpoints`. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`: no TLS can be set up for one.
    pub(super) fn new(
        context: E,
        endpoints: &[&Endpoint],
        monitor: Arc<dyn Monitor>,
        config: &Config,
    ) -> Result<Self, Fault> {
        let metrics = Metrics::new(&context, monitor);
        let context = Arc::new(context);
        let client = |endpoint: &&Endpoint| {
            Client::new(context.clone(), endpoint, metrics.clone(), config).map(Arc::new)
        };
        let clients = endpoints.iter().map(client).collect::<Result<_, _>>()?;
        let standing = Mutex::new(Standing::new(config));
        Ok(Self { clients, context, metrics, standing })
    }
}

impl<E: Clock + Spawner> Beacons<E> {
    /// What was asked and refused so far.
    pub(super) fn work(&self) -> Work {
        self.metrics.work()
    }

    /// Rings when any of the clients pushes a new head, or a new finalized checkpoint.
    pub(super) fn doorbell(&self) -> Doorbell {
        Doorbell::any(self.clients.iter().map(|client| events::doorbell(client.clone())))
    }

    /// `snapshot` of the execution node, without the tiers that are disputed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the opinion is asked for again.
    pub(super) async fn review<R: Rpc>(
        &self,
        headers: &Headers<E, R>,
        mut snapshot: Snapshot,
    ) -> Snapshot {
        let Some(latest) = snapshot.tips.block(Tier::Proposed) else { return snapshot };
        if self.standing.lock().moved(latest) {
            self.clients.iter().for_each(|client| client.moved());
        }
        let ours = WATCHED.map(|tier| snapshot.tips.block(tier));
        // Of every client: what one pushed is not left for the next pass.
        let pushed = self.clients.iter().filter(|client| client.take_news()).count() > 0;
        let due = self.standing.lock().is_due(self.context.current(), ours, pushed);
        if due {
            match self.opinion(headers, &snapshot.tips).await {
                Ok(verdicts) => {
                    let now = self.context.current();
                    let disputes = self.standing.lock().heard(now, ours, verdicts);
                    for (tier, dispute) in disputes {
                        let error = BeaconError::Disputed { tier, dispute };
                        let fault = fault(self.name(), error);
                        self.metrics.absorbed(&self.metrics.refused(fault));
                    }
                }
                Err(fault) => {
                    self.standing.lock().unheard(self.context.current());
                    self.metrics.absorbed(&fault);
                }
            }
        }
        for tier in self.standing.lock().withheld() {
            snapshot.tips.set(tier, None);
        }
        snapshot
    }

    fn name(&self) -> String {
        let names: Vec<_> = self.clients.iter().map(|client| client.name()).collect();
        names.join(", ")
    }

    /// What the first client that answers says of the tiers of `tips`, beside them.
    async fn opinion<R: Rpc>(
        &self,
        headers: &Headers<E, R>,
        tips: &TipSet,
    ) -> Result<[Verdict; 2], Fault> {
        let mut failed = None;
        for client in &self.clients {
            match client.opinion().await {
                Ok(theirs) => return self.compare(headers, tips, theirs).await,
                Err(fault) => {
                    if let Some(before) = failed.replace(fault) {
                        self.metrics.absorbed(&before);
                    }
                }
            }
        }
        Err(failed.unwrap_or_else(|| fault(self.name(), BeaconError::NoClient)))
    }

    /// Each tier beside the checkpoint that stands for it, and beside the execution node's block there: only
    /// blocks that the node did not just name are asked for, and those that it gave lately are remembered.
    async fn compare<R: Rpc>(
        &self,
        headers: &Headers<E, R>,
        tips: &TipSet,
        theirs: Opinion,
    ) -> Result<[Verdict; 2], Fault> {
        let named: Vec<_> = Tier::ALL.into_iter().filter_map(|tier| tips.block(tier)).collect();
        let latest = tips.block(Tier::Proposed);
        let at = |block: &BlockRef| named.iter().find(|named| named.height == block.height);
        let below = |block: &&BlockRef| latest.is_some_and(|top| block.height <= top.height);
        let unknown = theirs.iter().flatten().filter(below).filter(|block| at(block).is_none());
        let unknown: Vec<_> = unknown.map(|block| block.height).collect();
        let found = match latest {
            Some(latest) if !unknown.is_empty() => headers.digests(latest, &unknown).await?,
            _ => Vec::new(),
        };
        let found: Vec<_> = unknown.iter().zip(found).collect();
        let there = |block: BlockRef| -> Option<Digest> {
            let named = at(&block).map(|block| block.digest);
            let asked = || found.iter().find(|(height, _)| **height == block.height);
            named.or_else(|| asked().and_then(|(_, digest)| *digest))
        };
        let [safe, finalized] = WATCHED.map(|tier| tips.block(tier));
        let [justified, final_] = theirs;
        Ok([
            judge(safe, justified, justified.and_then(there)),
            judge(finalized, final_, final_.and_then(there)),
        ])
    }
}
