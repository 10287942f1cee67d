//! Who did what, and what is canonical.

use commonware_cryptography::{Hasher as _, Sha256};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use std::collections::{BTreeMap, BTreeSet};
use tidewatch_core::{BlockRef, Digest, Height};
use tidewatch_sentinel::{Act, Observation, Signed, Slot, ValidatorId, Verdict};

/// How a validator behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Character {
    Honest,
    Offline,
    /// In this epoch.
    Away(u64),
    Late,
    Equivocating,
    Fork,
    Ahead,
}

/// Milliseconds of a slot.
pub(super) const SLOT_MS: u64 = 4_000;
/// When the chain passes a slot, from its beginning.
pub(super) const PASSES_MS: u64 = 3_500;
/// Slots after which the votes of one who is late arrive: beyond every wait for being in step.
const LATE: u64 = 14;

/// What was proposed in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposed {
    Nothing,
    Blocks,
    Invalid,
    Unvalidated,
    Valid,
}

/// A slot: who was due and what they sent. It does not depend on the chain.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) members: Vec<usize>,
    pub(super) proposer: usize,
    pub(super) proposed: Proposed,
    pub(super) twice: bool,
    /// Votes that arrive in time: by validator, for which of the two payloads.
    pub(super) votes: BTreeMap<usize, BTreeSet<u8>>,
    /// Votes that arrive when the slot is judged, unless that had to wait.
    pub(super) late: BTreeSet<usize>,
}

/// A block: its slot, and which of the two payloads it has.
pub(super) type Placed = (u64, u8);

/// The world.
pub(super) struct Truth {
    pub(super) seed: u64,
    pub(super) rng: StdRng,
    pub(super) validators: Vec<Character>,
    pub(super) epoch_slots: u64,
    /// Epochs in which nobody is due.
    pub(super) nobody: BTreeSet<u64>,
    pub(super) turns: BTreeMap<u64, Turn>,
    /// The chain, from genesis.
    pub(super) chain: Vec<(Placed, BlockRef)>,
    /// The slot that the chain has passed.
    pub(super) passed: u64,
    /// Deepest reorg, in slots.
    pub(super) depth_max: u64,
    pub(super) has_finalized: bool,
    /// Epochs in a row that make a verdict.
    pub(super) threshold: usize,
    /// Votes for slots that had not begun, by slot: for whatever it will be, and so for nothing that lands.
    pub(super) early: BTreeMap<u64, BTreeSet<usize>>,
    /// Messages on their way, by when they arrive.
    pub(super) sent: BTreeMap<u64, Vec<Observation>>,
}

pub(super) fn id(n: usize) -> ValidatorId {
    ValidatorId::new(vec![n as u8 + 1]).expect("one byte")
}

pub(super) fn payload(slot: u64, variant: u8) -> Digest {
    Sha256::hash(&[&slot.to_be_bytes(), &[variant]])
}

impl Truth {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5E17);
        let epoch_slots = rng.random_range(5..=8);
        let n = rng.random_range(4..=10);
        let character = |rng: &mut StdRng| match rng.random_range(0..13) {
            0 => Character::Offline,
            1 => Character::Away(rng.random_range(1..9)),
            2 => Character::Late,
            3 => Character::Equivocating,
            4 | 6 => Character::Fork,
            5 => Character::Ahead,
            _ => Character::Honest,
        };
        let mut validators: Vec<_> = (0..n).map(|_| character(&mut rng)).collect();
        // More of those than may be faulty would be the chain's own clock.
        let ahead = validators.iter().rposition(|of| *of == Character::Ahead);
        for (at, of) in validators.iter_mut().enumerate() {
            if *of == Character::Ahead && Some(at) != ahead {
                *of = Character::Honest;
            }
        }
        // Most are honest, or nothing would ever be heard.
        validators[0] = Character::Honest;
        validators[1] = Character::Honest;
        validators[2] = Character::Honest;
        let nobody = (0..14).filter(|_| rng.random_bool(0.07)).collect();
        let depth_max = epoch_slots * 5 / 2;
        let has_finalized = rng.random_bool(0.5);
        let threshold = rng.random_range(1..=3);
        let genesis = BlockRef::new(Height::zero(), payload(0, 0));
        Self {
            seed,
            rng,
            validators,
            epoch_slots,
            nobody,
            turns: BTreeMap::new(),
            chain: vec![((0, 0), genesis)],
            passed: 0,
            depth_max,
            has_finalized,
            threshold,
            early: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    pub(super) const fn epoch(&self, slot: u64) -> u64 {
        slot / self.epoch_slots
    }

    /// The committee of an epoch: most validators, drawn from the seed alone.
    pub(super) fn committee(&self, epoch: u64) -> Vec<usize> {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_mul(31).wrapping_add(epoch));
        let mut members: Vec<usize> = (0..self.validators.len()).collect();
        members.shuffle(&mut rng);
        members.truncate((self.validators.len() * 4).div_ceil(5).max(3));
        members
    }

    fn works(&self, validator: usize, slot: u64) -> bool {
        match self.validators[validator] {
            Character::Offline | Character::Ahead => false,
            Character::Away(epoch) => epoch != self.epoch(slot),
            _ => true,
        }
    }

    /// Slot `slot` begins at `now` milliseconds: what everybody sends in it.
    pub(super) fn begin(&mut self, slot: u64, now: u64) {
        let members = self.committee(self.epoch(slot));
        let proposer = members[self.rng.random_range(0..members.len())];
        let mut turn = Turn {
            proposer,
            proposed: Proposed::Nothing,
            twice: false,
            votes: BTreeMap::new(),
            late: BTreeSet::new(),
            members,
        };
        if self.works(proposer, slot) {
            self.propose(slot, now, &mut turn);
        }
        for validator in 0..self.validators.len() {
            self.vote(slot, now, validator, &mut turn);
        }
        self.turns.insert(slot, turn);
    }

    fn propose(&mut self, slot: u64, now: u64, turn: &mut Turn) {
        turn.proposed = match self.rng.random_range(0..20) {
            0 => Proposed::Blocks,
            1 => Proposed::Invalid,
            2 => Proposed::Unvalidated,
            _ => Proposed::Valid,
        };
        let proposer = turn.proposer;
        let (first, second) = (payload(slot, 0), payload(slot, 1));
        let verdict = match turn.proposed {
            Proposed::Valid => Verdict::Valid(None),
            Proposed::Invalid => Verdict::Invalid,
            Proposed::Unvalidated => Verdict::Unvalidated,
            Proposed::Nothing | Proposed::Blocks => {
                return self.send(now, 900, slot, proposer, Act::Block(first));
            }
        };
        self.send(now, 900, slot, proposer, Act::Proposal(first));
        let at = now + self.rng.random_range(950..1_500);
        let checked = Observation::Checked { slot: Slot(slot), payload: first, verdict };
        self.sent.entry(at).or_default().push(checked);
        if self.validators[proposer] == Character::Equivocating {
            turn.twice = true;
            self.send(now, 900, slot, proposer, Act::Proposal(second));
        }
    }

    fn vote(&mut self, slot: u64, now: u64, validator: usize, turn: &mut Turn) {
        let character = self.validators[validator];
        if character == Character::Ahead {
            let ahead = match self.rng.random_range(0..3) {
                0 => self.rng.random_range(1..12),
                1 => self.rng.random_range(12..100),
                _ => u64::MAX / 2,
            };
            let slot = slot.saturating_add(ahead);
            self.early.entry(slot).or_default().insert(validator);
            return self.send(now, 2_000, slot, validator, Act::Attestation(payload(slot, 7)));
        }
        if turn.proposed != Proposed::Valid || !self.works(validator, slot) {
            return;
        }
        let variants: &[u8] = match character {
            Character::Equivocating => &[0, 1],
            Character::Fork => &[1],
            _ => &[0],
        };
        for variant in variants {
            let act = Act::Attestation(payload(slot, *variant));
            if character == Character::Late {
                turn.late.insert(validator);
                self.send(now + LATE * SLOT_MS, 1_000, slot, validator, act);
            } else {
                turn.votes.entry(validator).or_default().insert(*variant);
                // Into the slot after the next one, at the longest.
                self.send(now + 1_000, 5_000, slot, validator, act);
            }
        }
    }

    fn send(&mut self, from: u64, longest: u64, slot: u64, validator: usize, act: Act) {
        let at = from + self.rng.random_range(0..longest);
        let bytes = format!("{validator} says {act:?} of {slot}").into_bytes().into();
        let signed = Signed { slot: Slot(slot), validator: id(validator), act, bytes };
        self.sent.entry(at).or_default().push(Observation::Signed(signed));
    }

    fn push(&mut self, placed: Placed) {
        let (_, parent) = self.chain[self.chain.len() - 1];
        let digest = Sha256::hash(&[&parent.digest.0, &payload(placed.0, placed.1).0]);
        let block = BlockRef::new(Height::new(self.chain.len() as u64), digest);
        self.chain.push((placed, block));
    }

    /// The chain passes `slot`. What was proposed lands, most often.
    pub(super) fn pass(&mut self, slot: u64) {
        let valid = self.turns.get(&slot).is_some_and(|turn| turn.proposed == Proposed::Valid);
        if valid && self.rng.random_bool(0.92) {
            let other = u8::from(self.rng.random_bool(0.05));
            self.push((slot, other));
        }
        self.passed = slot;
    }

    /// A reorg of the last `depth` slots: what landed in them is gone, lands again, or gives way to what was not
    /// chosen.
    pub(super) fn reorg(&mut self, depth: u64) {
        let from = (self.passed + 1).saturating_sub(depth).max(1);
        self.chain.retain(|((slot, _), _)| *slot < from);
        for slot in from..=self.passed {
            let valid = self.turns.get(&slot).is_some_and(|turn| turn.proposed == Proposed::Valid);
            if valid && self.rng.random_bool(0.7) {
                let other = u8::from(self.rng.random_bool(0.6));
                self.push((slot, other));
            }
        }
    }

    /// What is canonical in `slot`: which payload landed.
    pub(super) fn landed(&self, slot: u64) -> Option<u8> {
        let at = self.chain.binary_search_by_key(&slot, |((slot, _), _)| *slot).ok()?;
        Some(self.chain[at].0.1)
    }

    /// The finalized block: nothing at or below it is ever reorged.
    pub(super) fn finalized(&self) -> Option<BlockRef> {
        let slot = self.passed.checked_sub(self.depth_max + 1).filter(|_| self.has_finalized)?;
        self.chain.iter().rev().find(|((at, _), _)| *at <= slot).map(|(_, block)| *block)
    }
}
