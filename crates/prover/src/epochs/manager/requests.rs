//! What others ask of the manager, and what it asks of provers.

use super::{
    super::{
        Chain, Content, Entry, Light, PostMortem, Publisher, RangeProgram, SessionId, Trigger,
    },
    actor::Manager,
    core::{Core, Taker, fault},
    ingress::{Answer, Message},
    timely::Timely,
};
use crate::{Error, Failure, Prover};
use commonware_runtime::{Handle, Spawner};
use commonware_storage::Context;
use rand::Rng;
use std::{collections::BTreeSet, sync::Arc};
use tidewatch_core::{Fault, within};

impl<E, C, P, U, M> Manager<E, C, P, U, M>
where
    E: Context + Spawner + Rng,
    C: Chain<Heavy = Content> + 'static,
    P: RangeProgram,
    U: Publisher,
    M: PostMortem,
{
    pub(super) async fn walk(&mut self, number: u64) -> Result<(), Fault> {
        let call = self.config.proving.call;
        let Self { walk, chain, core, context, metrics, .. } = self;
        let chain = Timely { chain, clock: &**context, call };
        let mut taker = Taker { core, chain: &chain };
        let progress = walk.advance(number, &chain, &mut taker).await?;
        metrics.walked(progress);
        Ok(())
    }

    /// Reads what is to be known first: a prune that fails has changed nothing.
    pub(super) async fn prune(&mut self, height: u64) -> Result<(), Fault> {
        let call = self.config.proving.call;
        let Self { walk, chain, core, context, .. } = self;
        let chain = Timely { chain, clock: &**context, call };
        let geometry = self.config.geometry;
        let entries = core.checkpoints.within(0..=u64::MAX);
        let gone = entries.iter().filter(|entry| entry.last_block > height);
        let epochs: BTreeSet<u64> = gone.map(|entry| geometry.epoch(entry.id.slot)).collect();
        let view = match epochs.is_empty() {
            true => None,
            false => Some(core.view(&chain, epochs.clone()).await?),
        };
        walk.prune(height, &chain).await?;
        let removed = core.checkpoints.prune(height);
        core.dropped(&removed);
        if let Some(view) = view {
            core.reconcile(&Trigger::Prune(epochs), &view).await.map_err(fault)?;
        }
        Ok(())
    }

    /// Drops everything of `epoch` and of those before it.
    pub(super) async fn expire(&mut self, epoch: u64) -> Result<(), Error> {
        let reaped = self.core.checkpoints.reap(epoch);
        self.core.dropped(&reaped);
        for asked in self.core.kept.asked().into_iter().filter(|asked| *asked <= epoch) {
            self.core.kept.ask(asked, false).await?;
        }
        let firsts = self.core.contents.values();
        let firsts = firsts.filter_map(|registered| registered.content.blocks.first());
        let lowest = firsts.map(|block| block.block.height.get()).min();
        let above = reaped.iter().map(|entry| entry.last_block + 1).max();
        if let Some(floor) = lowest.or(above) {
            self.core.kept.sweep(floor).await;
        }
        Ok(())
    }

    /// Proves again what failed of `epoch`. How many checkpoints and sessions those were.
    pub(super) async fn retry(&mut self, epoch: u64) -> Result<usize, Fault> {
        let view = self.core.view(&self.timely(), [epoch]).await?;
        let failed = self.core.checkpoints.take_failed(epoch);
        let content = |entry: &Entry| {
            let registered = self.core.contents.get(&entry.instance)?;
            let light = Light { number: entry.id.number, slot: entry.id.slot };
            Some((light, registered.content.clone()))
        };
        let contents: Vec<_> = failed.iter().filter_map(content).collect();
        self.core.dropped(&failed);
        for (light, content) in contents {
            self.core.register(light, content).await?;
        }
        let sessions = self.core.sessions.forget_failed(epoch);
        self.core.reconcile(&Trigger::Checkpoint(epoch), &view).await.map_err(fault)?;
        Ok(failed.len() + sessions)
    }

    pub(super) async fn begin_session(&mut self, epoch: u64) -> Result<SessionId, Fault> {
        let view = self.core.view(&self.timely(), [epoch]).await?;
        let Core { sessions, checkpoints, .. } = &mut self.core;
        let (id, action) = sessions
            .start(epoch, checkpoints, &view)
            .map_err(|reason| fault(Error::NotStarted(reason)))?;
        self.core.kept.ask(epoch, true).await.map_err(fault)?;
        self.core.act(action.into_iter().collect()).await.map_err(fault)?;
        Ok(id)
    }

    /// Asks each prover what it offers, now and then.
    pub(super) fn ask_for_offers(&self) -> Vec<Handle<()>> {
        let ask = |(at, prover): (usize, &Arc<dyn Prover>)| {
            let (prover, mailbox) = (prover.clone(), self.own.clone());
            let (call, every) = (self.config.proving.call, self.config.proving.offers);
            self.context.child("offers").spawn(move |context| async move {
                loop {
                    let offer = within(&context, call, prover.offer()).await;
                    let silent = || {
                        let reason = format!("no answer within {call:?}");
                        Err(Failure::Unavailable(reason))
                    };
                    let offer = offer.unwrap_or_else(silent);
                    let message = Message::Offer { prover: at, offer };
                    if !mailbox.sender.enqueue(message).accepted() {
                        return;
                    }
                    context.sleep(every).await;
                }
            })
        };
        self.provers.iter().enumerate().map(ask).collect()
    }
}

/// Answers a request. What concerns the disk as such ends the manager too: what it holds is known to a restart.
pub(super) fn answered<T>(answer: Answer<T>, result: Result<T, Fault>) -> Result<(), Error> {
    let fatal = result.as_ref().err().and_then(Fault::reason::<Error>).is_some_and(|error| {
        matches!(error, Error::File { .. } | Error::Metadata(_) | Error::Closed)
    });
    let _ = answer.send(result);
    if fatal { Err(Error::Closed) } else { Ok(()) }
}
