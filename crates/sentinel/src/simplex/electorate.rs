//! Who may vote, and who leads.

use super::{Rounds, rounds::Place};
use crate::{Committee, Committees, Epoch, Slot, ValidatorId, evidence};
use commonware_codec::Encode as _;
use commonware_consensus::{
    simplex::elector::{self, Elector as _, RoundRobin},
    types::{Epoch as ConsensusEpoch, Round},
};
use commonware_cryptography::{Sha256, certificate::Scheme, ed25519::PublicKey};
use commonware_utils::{
    N3f1, Participant,
    ordered::{Quorum as _, Set},
};
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidewatch_core::{Fault, FaultKind};

/// Epochs whose committees are kept.
const TERMS_MAX: usize = 256;

/// Who leads a round; `None` where a round alone does not tell.
pub type Leaders = Arc<dyn Fn(Round) -> Option<Participant> + Send + Sync>;

/// The validators of one epoch.
pub struct Term {
    /// What evidence against them is judged by.
    pub committee: evidence::Committee,
    /// What verifies their votes here. Erased, so that everything but the listener has one type for all schemes.
    scheme: Arc<dyn Any + Send + Sync>,
    members: Committee,
    leaders: Leaders,
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

impl Term {
    /// The validators of `committee`, whose votes `scheme` verifies.
    pub fn new<S>(scheme: Arc<S>, committee: evidence::Committee, leaders: Leaders) -> Self
    where
        S: Scheme<PublicKey = PublicKey>,
    {
        let members = committee.members().iter().filter_map(validator).collect();
        Self { committee, scheme, members, leaders }
    }

    /// Who takes turns as consensus's own `RoundRobin` has it, with `elector`.
    pub fn round_robin<S>(elector: RoundRobin<Sha256>, members: &Set<PublicKey>) -> Leaders
    where
        S: Scheme<PublicKey = PublicKey>,
    {
        let elector = elector::Config::<S>::build(elector, members);
        Arc::new(move |round| Some(elector.elect(round, None)))
    }

    /// What verifies votes, if it is an `S`.
    pub(super) fn scheme<S: 'static>(&self) -> Option<&S> {
        self.scheme.downcast_ref()
    }

    /// How many votes end a view.
    pub(super) fn quorum(&self) -> usize {
        self.committee.members().quorum::<N3f1>() as usize
    }

    /// The member at `index`.
    pub(super) fn member(&self, index: Participant) -> Option<ValidatorId> {
        self.members.get(usize::from(index)).cloned()
    }

    /// The key of the member at `index`.
    pub(super) fn key(&self, index: Participant) -> Option<&PublicKey> {
        self.committee.members().key(index)
    }

    /// Who leads `round`.
    pub(super) fn leader(&self, round: Round) -> Option<Participant> {
        (self.leaders)(round)
    }
}

/// A validator by its key.
pub(super) fn validator(key: &PublicKey) -> Option<ValidatorId> {
    ValidatorId::new(key.encode()).ok()
}

struct Known {
    rounds: Rounds,
    terms: BTreeMap<ConsensusEpoch, Arc<Term>>,
}

/// The committees of the epochs, as a validator learns of them. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Electorate(Arc<Mutex<Known>>);

impl fmt::Debug for Electorate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Electorate").field("rounds", &self.lock().rounds).finish_non_exhaustive()
    }
}

impl Electorate {
    /// Nobody yet, on a chain with such rounds.
    pub fn new(rounds: Rounds) -> Self {
        Self(Arc::new(Mutex::new(Known { rounds, terms: BTreeMap::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The validators of `epoch`. Only the newest epochs are kept.
    pub fn begin(&self, epoch: ConsensusEpoch, term: Term) {
        let mut known = self.lock();
        known.terms.insert(epoch, Arc::new(term));
        while known.terms.len() > TERMS_MAX {
            known.terms.pop_first();
        }
    }

    /// `last` is the round of the last block of its epoch, which is final.
    pub fn end(&self, last: Round) {
        self.lock().rounds.ended(last);
    }

    /// There is a final block of `round`: votes in it, and before it in its epoch, are of slots.
    pub fn reach(&self, round: Round) {
        self.lock().rounds.reach(round);
    }

    /// Where a vote belongs.
    pub(super) fn place(&self, round: Round) -> Place {
        self.lock().rounds.place(round)
    }

    /// The validators of an epoch of consensus.
    pub fn term(&self, epoch: ConsensusEpoch) -> Option<Arc<Term>> {
        self.lock().terms.get(&epoch).cloned()
    }

    /// The validators of the epoch that a slot is in.
    pub fn term_at(&self, slot: Slot) -> Option<Arc<Term>> {
        let known = self.lock();
        known.terms.get(&known.rounds.round(slot).epoch()).cloned()
    }

    /// The slot of a round; `None` where it cannot be told yet.
    pub fn slot(&self, round: Round) -> Option<Slot> {
        self.lock().rounds.slot(round)
    }

    /// The round of a slot.
    pub(super) fn round(&self, slot: Slot) -> Round {
        self.lock().rounds.round(slot)
    }

    /// The newest epoch of consensus whose first slot is known.
    pub fn newest(&self) -> u64 {
        self.lock().rounds.newest()
    }
}

impl Committees for Electorate {
    fn epoch(&self, slot: Slot) -> Epoch {
        self.lock().rounds.epoch(slot)
    }

    fn slots(&self, epoch: Epoch) -> Option<RangeInclusive<Slot>> {
        self.lock().rounds.slots(epoch)
    }

    async fn committee(&self, epoch: Epoch) -> Result<Option<Committee>, Fault> {
        let known = self.lock();
        let term = known.terms.get(&known.rounds.consensus(epoch));
        let unknown = || {
            let detail = format!("the committee of epoch {epoch} is not known");
            FaultKind::Missing.fault("the electorate", detail)
        };
        term.map(|term| Some(term.members.clone())).ok_or_else(unknown)
    }

    async fn proposer(&self, slot: Slot) -> Result<Option<ValidatorId>, Fault> {
        let (round, term) = {
            let known = self.lock();
            let round = known.rounds.round(slot);
            (round, known.terms.get(&round.epoch()).cloned())
        };
        Ok(term.and_then(|term| term.member(term.leader(round)?)))
    }
}
