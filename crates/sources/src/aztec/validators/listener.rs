//! Reads the node slot by slot, and hands in what it says.

use super::{
    hearing::{Found, Hearing},
    node::Node,
    rollup::{Moment, Past, Rollup},
};
use crate::rpc::Rpc;
use commonware_macros::select_loop;
use commonware_runtime::{Clock, ContextCell, Handle, Spawner, spawn_cell};
use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};
use tidewatch_core::{
    Actor, Fault, Stopper, Stopping,
    watch::{self, watch},
};
use tidewatch_sentinel::{Epoch, Observation, Position, Slot, simplex::HandIn};
use tracing::debug;

/// Slots that are read in one round, at the most.
const SLOTS_MAX: u64 = 16;

/// Reads a node at an interval: see the [module](super).
pub struct Listener<E: Clock, R> {
    context: ContextCell<E>,
    rollup: Arc<Rollup<E, R>>,
    node: Arc<Node<E, R>>,
    pub(super) interval: Duration,
    hand_in: HandIn,
    hearing: Hearing,
    /// Slots up to here were handed in.
    settled: Option<Slot>,
    stands: watch::Sender<Option<Position>>,
    stopper: Stopper,
    stop: Stopping,
}

impl<E: Clock, R> fmt::Debug for Listener<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("settled", &self.settled).finish_non_exhaustive()
    }
}

impl<E: Spawner + Clock, R: Rpc> Listener<E, R> {
    pub(super) fn new(
        context: E,
        rollup: Arc<Rollup<E, R>>,
        node: Arc<Node<E, R>>,
        interval: Duration,
        hand_in: HandIn,
    ) -> (Self, watch::Receiver<Option<Position>>) {
        let (stopper, stop) = Stopper::new();
        let (stands, position) = watch(None);
        let listener = Self {
            context: ContextCell::new(context),
            rollup,
            node,
            interval,
            hand_in,
            hearing: Hearing::default(),
            settled: None,
            stands,
            stopper,
            stop,
        };
        (listener, position)
    }

    /// Starts it. The handle resolves with success when it was stopped, and with the fault that ended it.
    pub fn start(mut self) -> Handle<Result<(), Fault>> {
        spawn_cell!(self.context, self.run())
    }

    async fn run(mut self) -> Result<(), Fault> {
        let (stop, held) = self.stop.clone().with_runtime(&*self.context);
        let mut next = self.context.current();
        select_loop! {
            self.context,
            on_stopped => {},
            () = stop.stopped() => break,
            () = self.context.sleep_until(next) => {
                // Each request has its deadline. A stop does not wait for it: what was not handed in is read again.
                let round = commonware_macros::select! {
                    () = stop.stopped() => break,
                    round = self.round() => round,
                };
                match round {
                    Err(fault) if fault.severity().is_fatal() => return Err(fault),
                    Err(fault) => debug!(%fault, "a round failed"),
                    Ok(()) => {}
                }
                next = self.context.current() + self.interval;
            },
        }
        drop(held);
        Ok(())
    }

    /// Hands in the slots that have passed, and says where the node stands.
    async fn round(&mut self) -> Result<(), Fault> {
        let Some(moment) = self.rollup.now().await? else { return Ok(()) };
        let node = self.node.newest().await?;
        // What was sent of a slot has arrived when another one has passed.
        let Some(last) = moment.standing.tip.slot.minus(1) else { return Ok(()) };
        // Some validators have to be heard before watching begins: those of the newest checkpoint.
        let newest = Slot(moment.newest.slot);
        let from = self.settled.map_or_else(|| newest.min(last), |settled| settled.plus(1));
        let past = self.rollup.past(&moment, from.min(newest)).await?;
        // A node that has not come so far says nothing of what it lacks.
        let lacks = past.checkpoints.iter().find(|at| at.number > node);
        let lacks = lacks.map(|at| Slot(at.slot).minus(1).unwrap_or_default());
        let to = last.min(from.plus(SLOTS_MAX - 1)).min(lacks.unwrap_or(last));
        if to < from {
            return Ok(());
        }
        let position = self.hand_in(&moment, &past, node, from, to).await?;
        self.settled = Some(to);
        // Only after what it is about was handed in.
        self.stands.change(|stands| std::mem::replace(stands, position) != position);
        Ok(())
    }

    /// Hands in the slots from `from` to `to`; says where the node stands then.
    async fn hand_in(
        &mut self,
        moment: &Moment,
        past: &Past,
        node: u64,
        from: Slot,
        to: Slot,
    ) -> Result<Option<Position>, Fault> {
        let constants = *self.rollup.constants();
        // The checkpoint that the node stands at: of its own chain, so it is read too.
        let at_node = past.checkpoints.iter().rev().find(|at| at.number <= node).copied();
        let at_node = at_node.or((moment.newest.number <= node).then_some(moment.newest));
        let slots: Vec<Slot> = (from.get()..=to.get()).map(Slot).collect();
        let landed = slots.iter().filter(|slot| past.at(**slot).is_some()).copied();
        let stands = at_node.filter(|at| at.number > 0).map(|at| Slot(at.slot));
        let epochs: BTreeSet<Epoch> =
            landed.chain(stands).map(|slot| constants.epoch(slot)).collect();
        let epochs: Vec<Epoch> = epochs.into_iter().collect();
        let said = self.node.say(&epochs, &slots).await?;
        let name = self.node.name();
        let mut observations: Vec<Observation> = Vec::new();
        let mut hearing = self.hearing.clone();
        for (slot, heard) in slots.into_iter().zip(&said.heard) {
            let epoch = constants.epoch(slot);
            let Some(elected) = self.rollup.elected(epoch).await? else { continue };
            if slot < past.told_from {
                observations.push(Observation::Missed(slot));
                continue;
            }
            let published = match past.at(slot) {
                None => None,
                Some(at) => {
                    let checked = said.named(name, at.number).and_then(|data| data.check(name, at));
                    Some(self.node.believe(checked)?)
                }
            };
            observations.extend(hearing.settle(&Found {
                slot,
                members: &elected.members,
                proposer: elected.proposer(epoch, slot),
                landed: published.as_ref(),
                heard: heard.as_deref(),
            }));
        }
        let position = match at_node {
            Some(at) if at.number > 0 => {
                let checked = said.named(name, at.number).and_then(|data| data.check(name, &at));
                self.node.believe(checked)?;
                Some(Position { block: at.reference(), slot: to })
            }
            // Genesis is everybody's.
            Some(at) => Some(Position { block: at.reference(), slot: to }),
            None => None,
        };
        // All of it or nothing: a round that fails is made again.
        self.hearing = hearing;
        observations.into_iter().for_each(|observation| (self.hand_in)(observation));
        Ok(position)
    }
}

impl<E: Spawner + Clock, R: Rpc> Actor for Listener<E, R> {
    fn name(&self) -> String {
        "listener".into()
    }

    fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn start(self) -> Handle<Result<(), Fault>> {
        Self::start(self)
    }
}
