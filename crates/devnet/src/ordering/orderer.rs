//! The task that orders.

use super::{
    decide::{Outcome, Place, decide, place},
    disk::{Line, Opened, Pending, Preblocks},
    holder::Holder,
    metrics::Metrics,
};
use crate::{Committee, Rounds};
use alto_types::Signature;
use commonware_consensus::types::{Round, ViewDelta};
use commonware_cryptography::bls12381::primitives::{ops::threshold, variant::MinSig};
use commonware_parallel::Sequential;
use commonware_runtime::{Spawner as _, Supervisor as _, tokio::Context};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tidewatch_core::Height;
use tidewatch_sequencer::{
    Error, Identity, Opened as Said, Preblock, Proposal,
    disk::Lines,
    timelock::{Evidence, Keys, Statement},
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

/// A proposal, and whoever waits for what becomes of it.
pub(super) struct Submit {
    pub(super) proposal: Proposal,
    pub(super) answer: oneshot::Sender<Outcome>,
}

/// How far the note of what was seen runs ahead of it, in rounds: one write for so many. A start waits for as many.
const SEEN_AHEAD: ViewDelta = ViewDelta::new(8);

/// Where the task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// The newest round that was certified, once none can be older than what was seen before a restart.
    pub(super) certified: Option<Round>,
    pub(super) newest: Option<Height>,
    pub(super) pending: Option<Height>,
}

pub(super) struct Orderer {
    context: Context,
    keys: Keys,
    committee: Arc<Committee>,
    holders: Vec<Holder>,
    /// Which of them do nothing.
    silent: Arc<[AtomicBool]>,
    rounds: Rounds,
    preblocks: Preblocks,
    orders: Lines<Context, Line>,
    newest: Option<Height>,
    pending: Option<Pending>,
    /// What may have been certified before the start: validators that start again report older rounds first.
    before: Option<Round>,
    /// No certificate of a round above this was seen: on disk.
    seen: Option<Round>,
    certified: Option<Round>,
    /// Seeds of the proposal in hand.
    seeds: BTreeMap<Round, Signature>,
    status: watch::Sender<Status>,
    metrics: Arc<Metrics>,
}

impl Orderer {
    pub(super) fn new(
        context: Context,
        keys: Keys,
        committee: Arc<Committee>,
        silent: Arc<[AtomicBool]>,
        rounds: Rounds,
        opened: Opened,
        metrics: Arc<Metrics>,
    ) -> Self {
        let Opened { preblocks, orders, newest, pending, seen, stated } = opened;
        let mut holders: Vec<_> = committee.members().iter().cloned().map(Holder::new).collect();
        for (place, statement) in stated {
            if let Some(holder) = holders.get_mut(usize::from(place)) {
                holder.stated(statement);
            }
        }
        let number = |pending: &Pending| pending.proposal.identity.number;
        let pending_number = pending.as_ref().map(number);
        let status = Status { certified: None, newest, pending: pending_number };
        Self {
            context,
            keys,
            committee,
            holders,
            silent,
            rounds,
            preblocks,
            orders,
            newest,
            pending,
            before: seen,
            seen,
            certified: None,
            seeds: BTreeMap::new(),
            status: watch::Sender::new(status),
            metrics,
        }
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Orders until nobody can submit any more, or the disk fails.
    pub(super) async fn run(mut self, mut submitted: mpsc::Receiver<Submit>) -> Result<(), Error> {
        let mut newest = self.rounds.newest();
        loop {
            let certified = *newest.borrow_and_update();
            if let Some(certified) = certified.filter(|round| Some(*round) >= self.before) {
                self.see(certified).await?;
                self.go_on(certified).await?;
            }
            tokio::select! {
                submit = submitted.recv() => match submit {
                    Some(Submit { proposal, answer }) => {
                        let outcome = self.submit(proposal).await?;
                        // Whoever left submits again.
                        let _ = answer.send(outcome);
                    }
                    None => return Ok(()),
                },
                changed = newest.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn submit(&mut self, proposal: Proposal) -> Result<Outcome, Error> {
        let identity = proposal.identity;
        let held = self.held(identity.number).await?;
        let pending = self.pending.as_ref().map(|pending| &pending.proposal.identity);
        let place: Place<'_> = place(identity.number, self.newest, pending, held.as_ref());
        let outcome = decide(place, &identity);
        self.metrics.proposal(match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Known => "known",
            Outcome::Taken => "taken",
            Outcome::NotNext(_) => "not_next",
        });
        debug!(%identity, ?outcome, "proposal");
        if outcome == Outcome::Accepted {
            self.orders.write(&[Line::Proposed(proposal.clone())]).await?;
            self.pending = Some(Pending { proposal, fixed: None });
            self.seeds.clear();
            self.tell();
        }
        Ok(outcome)
    }

    /// The identity of the preblock of `number`.
    async fn held(&self, number: Height) -> Result<Option<Identity>, Error> {
        let (Some(first), Some(newest)) = (self.preblocks.first(), self.newest) else {
            return Ok(None);
        };
        if number < first || number > newest {
            return Ok(None);
        }
        Ok(Some(self.preblocks.read(number).await?.identity))
    }

    fn tell(&self) {
        let pending = self.pending.as_ref().map(|pending| pending.proposal.identity.number);
        let (certified, newest) = (self.certified, self.newest);
        self.status.send_replace(Status { certified, newest, pending });
    }

    /// Notes that `round` is certified: on disk before anything follows from it, so that a start does not take an
    /// older round for the newest one.
    async fn see(&mut self, round: Round) -> Result<(), Error> {
        if Some(round) > self.seen {
            let ahead = Round::new(round.epoch(), round.view().saturating_add(SEEN_AHEAD));
            self.seen = Some(ahead);
            if self.pending.is_none() && self.orders.is_stale(0) {
                let done = self.newest.map(Line::Done);
                let counts: Vec<_> = done.into_iter().chain([Line::Seen(ahead)]).collect();
                self.orders.rewrite(&counts).await?;
            } else {
                self.orders.write(&[Line::Seen(ahead)]).await?;
            }
        }
        if self.certified != Some(round) {
            self.certified = Some(round);
            self.tell();
        }
        Ok(())
    }

    /// Has the order of the proposal in hand attested, and opens it once its rounds are open, given the newest
    /// round that was certified.
    async fn go_on(&mut self, certified: Round) -> Result<(), Error> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        if pending.fixed.is_none() {
            self.attest(&mut pending, certified).await?;
        }
        let evidence = self.evidence(&pending, certified);
        match evidence {
            Some(evidence) => self.open(pending.proposal, evidence).await,
            None => {
                self.pending = Some(pending);
                Ok(())
            }
        }
    }

    fn speaks(&self, holder: usize) -> bool {
        self.silent.get(holder).is_some_and(|silent| !silent.load(Ordering::Acquire))
    }

    /// Asks every holder to attest the order as of the round after `certified`.
    async fn attest(&mut self, pending: &mut Pending, certified: Round) -> Result<(), Error> {
        let fixed = Round::new(certified.epoch(), certified.view().next());
        let identity = pending.proposal.identity;
        let statement = Statement { identity, fixed };
        let willing: Vec<_> = (0..self.holders.len())
            .filter(|place| self.speaks(*place))
            .filter(|place| self.holders[*place].attests(certified, &statement).is_ok())
            .collect();
        let is_fixed = willing.len() >= self.keys.quorum();
        self.metrics.attested(is_fixed);
        if !is_fixed {
            let (have, needed) = (willing.len(), self.keys.quorum());
            warn!(%identity, have, needed, "too few key holders attest");
            return Ok(());
        }
        let mut lines: Vec<_> =
            willing.iter().map(|place| Line::Attested(*place as u16, statement)).collect();
        let mut attestations = Vec::with_capacity(willing.len());
        for place in willing {
            let holder = &mut self.holders[place];
            holder.stated(statement);
            attestations.push((place as u16, holder.sign(&self.keys, &statement)));
        }
        // Nobody sees a signature before what it says is on disk.
        lines.push(Line::Fixed(identity, fixed, attestations.clone()));
        self.orders.write(&lines).await?;
        debug!(%identity, ?fixed, "its order is fixed");
        pending.fixed = Some((fixed, attestations));
        Ok(())
    }

    /// The evidence of a proposal, once its order is fixed and its rounds are open.
    fn evidence(&mut self, pending: &Pending, certified: Round) -> Option<Evidence> {
        let (fixed, attestations) = pending.fixed.as_ref()?;
        let needed = Keys::awaited(&pending.proposal.content, *fixed);
        for round in &needed {
            if !self.seeds.contains_key(round) {
                let seed = self.seed(*round, certified)?;
                self.seeds.insert(*round, seed);
            }
        }
        let seeds = needed.iter().map(|round| Some((*round, *self.seeds.get(round)?)));
        let (fixed, attestations) = (*fixed, attestations.clone());
        Some(Evidence { fixed, attestations, seeds: seeds.collect::<Option<_>>()? })
    }

    /// The seed of `round`: out of its certificate, or made of the holders' shares once a later one is certified.
    fn seed(&self, round: Round, certified: Round) -> Option<Signature> {
        if let Some(seed) = self.rounds.seed(round) {
            return Some(seed);
        }
        // Its own certificate is about to come.
        if round >= certified {
            return None;
        }
        let shares: Vec<_> = (self.holders.iter().enumerate())
            .filter(|(place, _)| self.speaks(*place))
            .filter_map(|(_, holder)| holder.release(round, certified))
            .take(self.keys.quorum())
            .collect();
        let seed =
            threshold::recover::<MinSig, _>(self.committee.polynomial(), &shares, &Sequential);
        let seed = seed.ok()?;
        self.metrics.share();
        debug!(?round, "opened with the holders' shares");
        Some(seed)
    }

    async fn open(&mut self, proposal: Proposal, evidence: Evidence) -> Result<(), Error> {
        let identity = proposal.identity;
        // A pairing for each transaction: not on the threads of the runtime.
        let context = self.context.child("open").shared(true);
        let opening = context.spawn(move |_| async move { Keys::open(proposal, &evidence) });
        let Ok(Some(preblock)) = opening.await else {
            // Only a stop ends it: the order is on disk, and is opened again.
            return Err(Error::Stopped);
        };
        let Preblock { opened, .. } = &preblock;
        let dropped = opened.iter().filter(|said| matches!(said, Said::Dropped(_))).count();
        let clear = opened.len() - dropped;
        self.preblocks.write(preblock).await?;
        self.newest = Some(identity.number);
        self.metrics.opened(clear, dropped);
        self.metrics.newest(identity.number);
        info!(%identity, clear, dropped, "preblock");
        self.tell();
        Ok(())
    }
}
