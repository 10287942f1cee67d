//! Everything that a sentinel says, compared with what is true. Nothing here is shared with the sentinel.

use super::{
    Tally,
    ports::World,
    truth::{Character, Proposed, Truth, Turn, id},
};
use std::collections::{BTreeMap, BTreeSet};
use tidewatch_sentinel::{
    Asked, Epoch, Judgement, Mailbox, Performance, Proposal, SlotReport, Status, ValidatorId, What,
};

/// The part that makes inactive.
pub(super) const TARGET: f64 = 0.6;
/// Comparisons that a pass may interrupt: nothing new is there to be judged when it compares.
const ATTEMPTS: usize = 3;

/// What the checker knows of disturbances.
#[derive(Default)]
pub(super) struct Checker {
    /// Slots in which something kept the sentinel from judging.
    disturbed: BTreeSet<u64>,
    /// Slots in which a late vote may have come before the judgement.
    waited: BTreeSet<u64>,
}

type Found = Result<(), (&'static str, String)>;

/// What holds of one slot.
#[derive(Debug, PartialEq, Eq)]
struct Fact {
    proposer: ValidatorId,
    proposal: Proposal,
    attested: BTreeSet<ValidatorId>,
    missed: BTreeSet<ValidatorId>,
}

fn ids(of: impl IntoIterator<Item = usize>) -> BTreeSet<ValidatorId> {
    of.into_iter().map(id).collect()
}

/// What is true of a slot, where the votes of `late` came in time.
fn fact(turn: &Turn, landed: Option<u8>, late: bool) -> Fact {
    let voted = |member: &usize| {
        let of = turn.votes.get(member);
        let in_time = of.is_some_and(|of| landed.is_none_or(|landed| of.contains(&landed)));
        in_time || late && turn.late.contains(member) && landed != Some(1)
    };
    let others = || turn.members.iter().copied().filter(|member| *member != turn.proposer);
    let proposal = match (landed, turn.proposed) {
        (Some(_), _) => Proposal::Mined,
        (None, Proposed::Valid) => Proposal::Valid,
        (None, Proposed::Invalid) => Proposal::Invalid,
        (None, Proposed::Unvalidated) => Proposal::Unvalidated,
        (None, Proposed::Blocks) => Proposal::Missed,
        (None, Proposed::Nothing) => Proposal::BlocksMissed,
    };
    let judged = turn.proposed == Proposed::Valid && !turn.twice;
    Fact {
        proposer: id(turn.proposer),
        proposal,
        attested: ids(others().filter(voted)),
        missed: ids(others().filter(|member| judged && !voted(member))),
    }
}

impl Checker {
    /// From slot `from` to slot `to` something kept it from judging, or made it wait.
    pub(super) fn disturbed(&mut self, from: u64, to: u64) {
        self.disturbed.extend(from..=to);
        self.waited.extend(from.saturating_sub(20)..=to);
    }

    /// Something made it wait, and kept it from nothing.
    pub(super) fn waited(&mut self, from: u64, to: u64) {
        self.waited.extend(from.saturating_sub(20)..=to);
    }

    /// Compares everything that is recorded. A pass between two questions changes what they are about: asked again.
    pub(super) async fn compare(
        &self,
        world: &World,
        mailbox: &Mailbox,
        tally: &mut Tally,
    ) -> Found {
        for _ in 0..ATTEMPTS {
            let Ok(status) = mailbox.status().await else { return Ok(()) };
            let found = self.recorded(world, mailbox, &status, tally).await;
            if mailbox.status().await.is_ok_and(|after| after == status) {
                return found;
            }
        }
        Err(("query", format!("it changed in {ATTEMPTS} comparisons")))
    }

    async fn recorded(
        &self,
        world: &World,
        mailbox: &Mailbox,
        status: &Status,
        tally: &mut Tally,
    ) -> Found {
        let Some((first, last)) = status.kept else { return Ok(()) };
        let slots = match mailbox.slots((first..=last).into()).await {
            Ok(slots) => slots,
            Err(fault) => return Err(("query", fault.to_string())),
        };
        self.slots(&world.truth.lock(), &slots, tally)?;
        let evaluated = self.epochs(world, mailbox, &slots, first.get()).await?;
        verdicts(world, &evaluated)?;
        contradictions(world, tally)?;
        statistics(mailbox, &slots, first.get(), last.get()).await
    }

    fn slots(&self, truth: &Truth, slots: &[SlotReport], tally: &mut Tally) -> Found {
        for report in slots {
            let slot = report.slot.get();
            tally.compared += 1;
            if report.epoch.get() != truth.epoch(slot) {
                return Err(("slot", format!("{report:?} is of another epoch")));
            }
            let nobody = truth.nobody.contains(&truth.epoch(slot));
            if nobody != (report.judgement == Judgement::NobodyDue) {
                return Err(("slot", format!("who is due: {report:?}")));
            }
            let Some(turn) = truth.turns.get(&slot) else {
                return Err(("slot", format!("{report:?} has not begun")));
            };
            match &report.judgement {
                Judgement::NobodyDue => {}
                Judgement::NotJudged { .. } if self.disturbed.contains(&slot) => {}
                Judgement::NotJudged { .. } => {
                    return Err(("slot", format!("{report:?} is not judged for no reason")));
                }
                Judgement::Judged { proposer, proposal, attested, missed, contradicted } => {
                    tally.judged += 1;
                    let found = Fact {
                        proposer: proposer.clone(),
                        proposal: *proposal,
                        attested: attested.iter().cloned().collect(),
                        missed: missed.iter().cloned().collect(),
                    };
                    let landed = truth.landed(slot);
                    // Whether an early vote was taken in is a matter of a moment, and it counts where nothing landed.
                    let early = truth.early.get(&slot).filter(|_| landed.is_none());
                    let early = ids(early.into_iter().flatten().copied());
                    let without = |mut fact: Fact| {
                        fact.attested.retain(|validator| !early.contains(validator));
                        fact.missed.retain(|validator| !early.contains(validator));
                        fact
                    };
                    let found = without(found);
                    let in_time = without(fact(turn, landed, false));
                    let with_late =
                        self.waited.contains(&slot) && found == without(fact(turn, landed, true));
                    if found != in_time && !with_late {
                        let detail = format!("slot {slot}: {found:?} is said, {in_time:?} is true");
                        return Err(("slot", detail));
                    }
                    equivocated(truth, contradicted)?;
                }
            }
        }
        let holes = slots.windows(2).any(|pair| pair[0].slot.plus(1) != pair[1].slot);
        if holes { Err(("slot", "the record has holes".into())) } else { Ok(()) }
    }

    /// Compares each epoch that was evaluated. Returns who is inactive for long enough, by epoch.
    async fn epochs(
        &self,
        world: &World,
        mailbox: &Mailbox,
        slots: &[SlotReport],
        first: u64,
    ) -> Result<BTreeMap<u64, BTreeMap<ValidatorId, Performance>>, (&'static str, String)> {
        let (length, last, threshold) = {
            let truth = world.truth.lock();
            (truth.epoch_slots, truth.epoch(truth.passed), truth.threshold)
        };
        let mut recorded: BTreeMap<ValidatorId, Vec<bool>> = BTreeMap::new();
        let mut verdicts = BTreeMap::new();
        for epoch in 0..=last {
            let asked = mailbox.epoch(Epoch(epoch)).await;
            let Some(report) = asked.map_err(|fault| ("query", fault.to_string()))? else {
                continue;
            };
            // Of an epoch whose slots are not all kept, what was counted is taken as it is.
            let counted = if epoch * length >= first {
                count(slots.iter().filter(|of| of.epoch.get() == epoch))
            } else {
                let rows = report.validators.iter();
                rows.map(|row| (row.validator.clone(), row.performance)).collect()
            };
            let said: BTreeMap<_, _> = report
                .validators
                .iter()
                .map(|row| (row.validator.clone(), row.performance))
                .collect();
            if said != counted {
                return Err((
                    "epoch",
                    format!("epoch {epoch}: {said:?} is said, {counted:?} is true"),
                ));
            }
            let mut inactive = BTreeMap::new();
            for (validator, performance) in counted {
                let missed = f64::from(performance.missed);
                let now = missed >= TARGET * f64::from(performance.total);
                let before = recorded.entry(validator.clone()).or_default();
                let long = before.iter().rev().take(threshold - 1).filter(|was| **was).count();
                if now && long == threshold - 1 {
                    inactive.insert(validator, performance);
                }
                before.push(now);
            }
            if !inactive.is_empty() {
                verdicts.insert(epoch, inactive);
            }
        }
        Ok(verdicts)
    }
}

/// What each validator missed of what it could have done.
fn count<'a>(slots: impl Iterator<Item = &'a SlotReport>) -> BTreeMap<ValidatorId, Performance> {
    let mut sum: BTreeMap<ValidatorId, Performance> = BTreeMap::new();
    let mut add = |validator: &ValidatorId, missed: bool| {
        let performance = sum.entry(validator.clone()).or_default();
        performance.total += 1;
        performance.missed += u32::from(missed);
    };
    for report in slots {
        if let Judgement::Judged { proposer, proposal, attested, missed, .. } = &report.judgement {
            let failed = match proposal {
                Proposal::Invalid
                | Proposal::Unvalidated
                | Proposal::Missed
                | Proposal::BlocksMissed => true,
                Proposal::Mined | Proposal::Valid | Proposal::Orphaned | Proposal::Unpublished => {
                    false
                }
            };
            add(proposer, failed);
            attested.iter().for_each(|validator| add(validator, false));
            missed.iter().for_each(|validator| add(validator, true));
        }
    }
    sum
}

/// The verdicts that hold after every withdrawal are those that are true.
fn verdicts(world: &World, expected: &BTreeMap<u64, BTreeMap<ValidatorId, Performance>>) -> Found {
    let mut holds = BTreeMap::new();
    let mut by_sequence = BTreeMap::new();
    for (sequence, event) in &*world.given.lock() {
        match &event.what {
            What::Inactive { epoch, validators } => {
                let who: BTreeMap<_, _> =
                    validators.iter().map(|v| (v.validator.clone(), v.performance)).collect();
                by_sequence.insert(*sequence, *epoch);
                if holds.insert(epoch.get(), who).is_some() {
                    return Err(("verdicts", format!("two verdicts of epoch {epoch} hold")));
                }
            }
            What::Withdrawn { epoch, verdict } => {
                let known = by_sequence.remove(verdict) == Some(*epoch);
                if !known || holds.remove(&epoch.get()).is_none() {
                    return Err(("verdicts", format!("{event:?} withdraws nothing")));
                }
            }
            What::Contradicted(_) => {}
        }
    }
    if &holds != expected {
        return Err(("verdicts", format!("{holds:?} hold, {expected:?} are true")));
    }
    Ok(())
}

fn equivocated(truth: &Truth, accused: &[ValidatorId]) -> Found {
    for validator in accused {
        let at = (0..truth.validators.len()).find(|n| id(*n) == *validator);
        if at.map(|at| truth.validators[at]) != Some(Character::Equivocating) {
            return Err(("contradictions", format!("{validator} is accused and never did")));
        }
    }
    Ok(())
}

fn contradictions(world: &World, tally: &mut Tally) -> Found {
    let given = world.given.lock();
    let found = given.values().filter_map(|event| match &event.what {
        What::Contradicted(conflict) => Some(conflict),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    tally.contradictions = found.len() as u64;
    let count = |of: fn(&What) -> bool| given.values().filter(|event| of(&event.what)).count();
    tally.verdicts = count(|what| matches!(what, What::Inactive { .. })) as u64;
    tally.withdrawn = count(|what| matches!(what, What::Withdrawn { .. })) as u64;
    for conflict in found {
        let (first, second) = (&conflict.first, &conflict.second);
        if first.validator != second.validator
            || first.slot != second.slot
            || first.act == second.act
            || first.bytes.is_empty()
            || second.bytes.is_empty()
        {
            return Err(("contradictions", format!("{conflict:?} is none")));
        }
        equivocated(&world.truth.lock(), std::slice::from_ref(&first.validator))?;
    }
    Ok(())
}

/// Statistics are what the slots add up to.
async fn statistics(mailbox: &Mailbox, slots: &[SlotReport], first: u64, last: u64) -> Found {
    let asked = Asked { from: slots.first().map(|of| of.slot), to: slots.last().map(|of| of.slot) };
    let found = mailbox.all(asked).await.map_err(|fault| ("query", fault.to_string()))?;
    let counted = count(slots.iter());
    let said: BTreeMap<_, _> = found
        .validators
        .iter()
        .map(|of| {
            let missed = of.proposals.missed + of.attestations.missed;
            let total = of.proposals.total + of.attestations.total;
            let performance = Performance { missed: missed as u32, total: total as u32 };
            (of.validator.clone(), performance)
        })
        .filter(|(_, performance)| performance.total > 0)
        .collect();
    if said != counted {
        return Err(("statistics", format!("slots {first} to {last}: {said:?}, not {counted:?}")));
    }
    Ok(())
}
