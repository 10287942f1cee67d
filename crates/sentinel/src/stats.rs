//! Statistics of validators, over rows that are read from the newest to the oldest.

use crate::{
    Asked, Detailed, Did, Duties, EpochPerformance, EpochReport, EpochRow, Error, Judgement,
    Proposal, Slot, SlotReport, ValidatorId, ValidatorReport, Window,
    bits::{Bits, ones},
    history::{EpochRecord, Filed, History, Outcome, Row},
    port::Committee,
};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// One kind of duty, while it is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    missed: u64,
    total: u64,
    streak: u64,
    last: Option<Slot>,
}

impl Count {
    /// Counts an older one.
    fn add(&mut self, slot: Slot, missed: bool) {
        self.total += 1;
        self.missed += u64::from(missed);
        if missed {
            self.streak += u64::from(self.last.is_none());
        } else if self.last.is_none() {
            self.last = Some(slot);
        }
    }

    fn duties(self) -> Duties {
        let Self { missed, total, streak, last } = self;
        let missed_rate = (total > 0).then(|| missed as f64 / total as f64);
        Duties { missed, total, missed_rate, streak, last }
    }
}

/// One validator, while it is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    proposals: Count,
    attestations: Count,
    contradictions: u64,
    seen: Option<Slot>,
}

impl Counts {
    fn seen(&mut self, slot: Slot) {
        self.seen = self.seen.max(Some(slot));
    }

    fn add(&mut self, slot: Slot, did: Did) {
        match did {
            Did::Proposed(proposal) => {
                self.proposals.add(slot, proposal.is_fault());
                if proposal != Proposal::BlocksMissed {
                    self.seen(slot);
                }
            }
            Did::Attested | Did::AttestationMissed => {
                self.attestations.add(slot, did == Did::AttestationMissed);
                if did == Did::Attested {
                    self.seen(slot);
                }
            }
        }
    }

    fn contradicted(&mut self, slot: Slot) {
        self.contradictions += 1;
        self.seen(slot);
    }

    fn report(self, validator: ValidatorId) -> ValidatorReport {
        ValidatorReport {
            validator,
            slots: self.proposals.total + self.attestations.total,
            proposals: self.proposals.duties(),
            attestations: self.attestations.duties(),
            contradictions: self.contradictions,
            last_seen: self.seen,
        }
    }

    fn is_empty(&self) -> bool {
        self.proposals.total + self.attestations.total + self.contradictions == 0
    }
}

/// Which slots are asked about.
///
/// # Errors
///
/// The range, where it is wider than what is kept, reversed, or not kept at all.
pub(crate) fn window(
    history: &History,
    asked: Asked,
    passed: Option<Slot>,
    initial: Option<Slot>,
) -> Result<Window, Error> {
    let (processed, kept) = (history.processed(), history.window());
    let to = asked.to.or(processed).or(passed).unwrap_or_default();
    let from = asked.from.unwrap_or_else(|| to.minus(kept).unwrap_or_default());
    let Some(slots) = to.get().checked_sub(from.get()) else {
        return Err(Error::Reversed { from, to });
    };
    if slots > kept {
        return Err(Error::TooWide { from, to, slots, kept });
    }
    if let Some((first, last)) = history.span().filter(|(first, last)| to < *first || from > *last)
    {
        return Err(Error::OutOfRange { from, to, first, last });
    }
    Ok(Window { from, to, processed, initial, kept })
}

/// The rows of a window, newest first.
fn rows(history: &History, window: Window) -> impl Iterator<Item = &Row> {
    let Window { from, to, .. } = window;
    let rows = history.rows().rev().skip_while(move |row| row.slot > to);
    rows.take_while(move |row| row.slot >= from)
}

/// What is recorded of `validator`, newest first, and whether it contradicted itself in that slot.
fn entries<'a>(
    history: &'a History,
    window: Window,
    validator: &'a ValidatorId,
) -> impl Iterator<Item = (Slot, Option<Did>, bool)> + 'a {
    let mut known: Option<(u32, Option<usize>)> = None;
    rows(history, window).filter_map(move |row| {
        let Outcome::Judged(filed) = &row.outcome else { return None };
        if known.is_none_or(|(committee, _)| committee != filed.committee) {
            let members = history.members(filed.committee);
            let at = members.and_then(|members| members.binary_search(validator).ok());
            known = Some((filed.committee, at));
        }
        let at = known?.1?;
        let contradicted = filed.judged.contradicted.contains(&(at as u32));
        Some((row.slot, History::did(filed, at), contradicted))
    })
}

/// One validator; `None` if nothing of it is recorded.
pub(crate) fn one(
    history: &History,
    window: &Window,
    validator: &ValidatorId,
) -> Option<ValidatorReport> {
    let mut counts = Counts::default();
    for (slot, did, contradicted) in entries(history, *window, validator) {
        did.iter().for_each(|did| counts.add(slot, *did));
        if contradicted {
            counts.contradicted(slot);
        }
    }
    (!counts.is_empty()).then(|| counts.report(validator.clone()))
}

/// Validators that are looked up one by one at the most: everybody is counted almost as fast.
const ONE_BY_ONE: usize = 8;

/// Several validators, in the order of the question; `None` for each of whom nothing is recorded.
pub(crate) fn several(
    history: &History,
    window: &Window,
    validators: &[ValidatorId],
) -> Vec<Option<ValidatorReport>> {
    if validators.len() <= ONE_BY_ONE {
        return validators.iter().map(|validator| one(history, window, validator)).collect();
    }
    let all = all(history, window);
    let of = |validator: &ValidatorId| {
        let at = all.binary_search_by(|report| report.validator.cmp(validator));
        at.ok().map(|at| all[at].clone())
    };
    validators.iter().map(of).collect()
}

/// One validator with its history.
pub(crate) fn detailed(
    history: &History,
    window: Window,
    validator: &ValidatorId,
    target: f64,
) -> Option<Detailed> {
    let report = one(history, &window, validator)?;
    let entries = entries(history, window, validator);
    let mut slots: Vec<_> = entries.filter_map(|(slot, did, _)| Some((slot, did?))).collect();
    slots.reverse();
    let mut epochs: Vec<_> = history
        .epochs()
        .filter_map(|record| {
            let performance = history.performance(record, validator)?;
            let inactive = performance.is_inactive(target);
            Some(EpochPerformance { epoch: record.epoch, performance, inactive })
        })
        .collect();
    epochs.reverse();
    Some(Detailed { report, history: slots, epochs, window })
}

/// Rows of one committee in a row. What most members do in most slots is counted for all of them at once.
struct Run<'a> {
    /// Where each member is in the counts.
    at: &'a [usize],
    committee: u32,
    /// Slots in which everybody but the proposer had to attest.
    expected: u64,
    /// Members that were not seen to attest in this row or a newer one.
    unseen: Box<[u64]>,
}

impl<'a> Run<'a> {
    fn new(committee: u32, at: &'a [usize], counts: &[Counts]) -> Self {
        let mut unseen = Bits::none(at.len());
        for (nth, member) in at.iter().enumerate() {
            if counts[*member].attestations.last.is_none() {
                unseen.set(nth);
            }
        }
        Self { at, committee, expected: 0, unseen: unseen.words().into() }
    }

    fn add(&mut self, slot: Slot, filed: &Filed, counts: &mut [Counts]) {
        let (proposer, judged) = (filed.proposer as usize, &filed.judged);
        if let Some(member) = self.at.get(proposer) {
            counts[*member].add(slot, Did::Proposed(judged.proposal));
            // It had nothing to attest to.
            counts[*member].attestations.total =
                counts[*member].attestations.total.wrapping_sub(u64::from(judged.expected));
        }
        self.expected += u64::from(judged.expected);
        for (nth, attested) in judged.attested.words().iter().enumerate() {
            let all = match self.at.len() - 64 * nth {
                64.. => u64::MAX,
                rest => (1 << rest) - 1,
            };
            let unseen = &mut self.unseen[nth];
            if judged.expected {
                let own = if proposer / 64 == nth { 1 << (proposer % 64) } else { 0 };
                for at in ones(nth, all & !attested & !own) {
                    let count = &mut counts[self.at[at]].attestations;
                    count.missed += 1;
                    count.streak += u64::from(count.last.is_none());
                }
            } else {
                for at in ones(nth, all & attested) {
                    let total = &mut counts[self.at[at]].attestations.total;
                    *total = total.wrapping_add(1);
                }
            }
            for at in ones(nth, attested & *unseen) {
                let counts = &mut counts[self.at[at]];
                counts.attestations.last = Some(slot);
                counts.seen(slot);
            }
            *unseen &= !attested;
        }
        for at in &judged.contradicted {
            if let Some(member) = self.at.get(*at as usize) {
                counts[*member].contradicted(slot);
            }
        }
    }

    fn end(self, counts: &mut [Counts]) {
        for member in self.at {
            let total = &mut counts[*member].attestations.total;
            *total = total.wrapping_add(self.expected);
        }
    }
}

/// Every validator of whom anything is recorded, in ascending order.
pub(crate) fn all(history: &History, window: &Window) -> Vec<ValidatorReport> {
    let rows: Vec<(Slot, &Filed)> = rows(history, *window)
        .filter_map(|row| match &row.outcome {
            Outcome::Judged(filed) => Some((row.slot, &**filed)),
            _ => None,
        })
        .collect();
    let mut places = BTreeMap::<&ValidatorId, usize>::new();
    let mut committees = BTreeMap::<u32, Vec<usize>>::new();
    for (_, filed) in &rows {
        let Some(members) = history.members(filed.committee) else { continue };
        committees.entry(filed.committee).or_insert_with(|| {
            let mut place = |member| {
                let next = places.len();
                *places.entry(member).or_insert(next)
            };
            members.iter().map(&mut place).collect()
        });
    }
    let mut counts = vec![Counts::default(); places.len()];
    let mut run: Option<Run<'_>> = None;
    for (slot, filed) in rows {
        let Some(at) = committees.get(&filed.committee) else { continue };
        let current = match run.take() {
            Some(run) if run.committee == filed.committee => run,
            before => {
                before.into_iter().for_each(|run| run.end(&mut counts));
                Run::new(filed.committee, at, &counts)
            }
        };
        run.insert(current).add(slot, filed, &mut counts);
    }
    run.into_iter().for_each(|run| run.end(&mut counts));
    let counted = places.into_iter().map(|(validator, at)| (validator, counts[at]));
    let counted = counted.filter(|(_, counts)| !counts.is_empty());
    counted.map(|(validator, counts)| counts.report(validator.clone())).collect()
}

/// What is recorded of the slots of a window, in ascending order.
pub(crate) fn slots(history: &History, window: &Window) -> Vec<SlotReport> {
    let report = |row: &Row| SlotReport {
        slot: row.slot,
        epoch: row.epoch,
        judgement: match &row.outcome {
            Outcome::NotJudged(reason) => Judgement::NotJudged { reason: *reason },
            Outcome::NobodyDue => Judgement::NobodyDue,
            Outcome::Judged(filed) => judgement(history.members(filed.committee), filed),
        },
    };
    let Window { from, to, .. } = *window;
    let rows = history.rows().skip_while(|row| row.slot < from);
    rows.take_while(|row| row.slot <= to).map(report).collect()
}

fn judgement(members: Option<&Committee>, filed: &Filed) -> Judgement {
    let none: Committee = [].into();
    let members = members.unwrap_or(&none);
    let who = |at: usize| members.get(at).cloned();
    let did = |did: Did| {
        let these = (0..members.len()).filter(move |at| History::did(filed, *at) == Some(did));
        these.filter_map(who).collect()
    };
    let Some(proposer) = who(filed.proposer as usize) else { return Judgement::NobodyDue };
    Judgement::Judged {
        proposer,
        proposal: filed.judged.proposal,
        attested: did(Did::Attested),
        missed: did(Did::AttestationMissed),
        contradicted: filed.judged.contradicted.iter().filter_map(|at| who(*at as usize)).collect(),
    }
}

/// An epoch, as it is recorded.
pub(crate) fn epoch(history: &History, record: &EpochRecord, target: f64) -> EpochReport {
    let members = record.committee.and_then(|committee| history.members(committee));
    let members = members.into_iter().flat_map(|members| members.iter());
    let rows = members.zip(&record.performances).filter(|(_, performance)| performance.total > 0);
    let row = |(validator, performance): (&ValidatorId, &crate::Performance)| EpochRow {
        validator: validator.clone(),
        performance: *performance,
        inactive: performance.is_inactive(target),
    };
    let verdict = record.verdict.as_ref().map(|(sequence, _)| *sequence);
    EpochReport { epoch: record.epoch, validators: rows.map(row).collect(), verdict }
}
