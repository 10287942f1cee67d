//! One pass: what is stale, which slots are judged, which epochs are evaluated.

use super::{config::Config, heard::Heard};
use crate::{
    AtSlot, Canonical, Committees, Epoch, Error, Event, Lineage, NotJudged, Observer, Performance,
    Position, Seen, Slot, Standing, ValidatorId, What,
    bits::MEMBERS_MAX,
    epochs::{Rule, verdict},
    history::{Basis, Change, EpochRecord, Filed, History, Kept, Outcome, Row, performances},
    judge::{Below, Due, judge, lineage},
    port::Committee,
};
use commonware_runtime::Clock;
use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    future::Future,
    time::Duration,
};
use tidewatch_core::{BlockRef, Fault, FaultKind, within};

/// Epochs that are evaluated in one pass, at the most.
const EPOCHS_MAX: usize = 64;

/// The ports.
pub(super) struct Ports<O, C, K> {
    pub(super) observer: O,
    pub(super) canonical: C,
    pub(super) committees: K,
}

/// What was read before anything is decided.
pub(super) struct Read {
    pub(super) standing: Standing,
    pub(super) position: Option<Position>,
}

/// What a pass decided.
pub(super) struct Decided {
    pub(super) change: Change,
    /// Slots that became stale, and whether that is all that could.
    pub(super) stale: u64,
    pub(super) deep: bool,
    pub(super) in_step: bool,
    /// Since the chain had passed which slot something waits; `None` if nothing does.
    pub(super) waits_since: Option<Slot>,
    /// Slots that were empty at the end of the chain, and are within it now.
    pub(super) anchored: Option<(Slot, Slot)>,
}

/// Asks a port, for so long at the most.
pub(super) async fn ask<T>(
    clock: &impl Clock,
    limit: Duration,
    about: &str,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    within(clock, limit, call).await.unwrap_or_else(|| {
        Err(FaultKind::Timeout.fault(about, format!("no answer within {limit:?}")))
    })
}

/// One pass, while it runs.
pub(super) struct Pass<'a, E, O, C, K> {
    pub(super) clock: &'a E,
    pub(super) config: &'a Config,
    pub(super) ports: &'a Ports<O, C, K>,
    pub(super) history: &'a History,
    pub(super) heard: &'a Heard,
    pub(super) read: &'a Read,
    /// The slot that the chain had passed in the pass in which the wait began that is not over; `None` if nothing waited in
    /// the last pass that ended well.
    pub(super) waits_since: Option<Slot>,
}

/// What still counts.
#[derive(Clone, Copy)]
struct Keep {
    /// The newest slot that does.
    processed: Option<Slot>,
    /// The first slot that does not; `None` if nothing was ever recorded.
    next: Option<Slot>,
    /// Whether a reorg went below everything that can be judged again.
    deep: bool,
}

/// A slot that is due, and what is known of it.
struct DueSlot {
    slot: Slot,
    epoch: Epoch,
    members: Option<Committee>,
    seen: Result<Seen, NotJudged>,
}

impl<E, O, C, K> Pass<'_, E, O, C, K>
where
    E: Clock,
    O: Observer,
    C: Canonical,
    K: Committees,
{
    async fn canonical<T>(&self, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        ask(self.clock, self.config.call, "the canonical chain", call).await
    }

    async fn committees<T>(
        &self,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        ask(self.clock, self.config.call, "the committees", call).await
    }

    async fn on_chain(&self, blocks: &[BlockRef]) -> Result<Vec<bool>, Fault> {
        let call = self.ports.canonical.on_chain(&self.read.standing, blocks);
        let found = self.canonical(call).await?;
        if found.len() != blocks.len() {
            return Err(FaultKind::Malformed.fault("the canonical chain", "answers are missing"));
        }
        Ok(found)
    }

    /// Decides. Nothing is changed before that is written.
    pub(super) async fn decide(&self) -> Result<Decided, Fault> {
        let keep = self.kept().await?;
        let (keep, anchored) = self.loose(keep).await?;
        let before = self.history.processed();
        let reached = self.reached().await?;
        let mut change = Change { processed: keep.processed, ..Change::default() };
        let passed = self.read.standing.tip.slot;
        let stale = count(before) - count(keep.processed);
        // What became stale now was not waited for yet, however old it is; nor was what could not be read before.
        let since = self.waits_since.filter(|_| stale == 0).unwrap_or(passed);
        let waits = self.judge(&mut change, keep, reached, since).await?;
        self.evaluate(&mut change, keep, passed);
        let deep = keep.deep;
        let in_step = reached.is_some_and(|slot| slot.plus(self.config.lag) >= passed);
        Ok(Decided { change, stale, deep, in_step, waits_since: waits.then_some(since), anchored })
    }

    /// What a reorg left.
    async fn kept(&self) -> Result<Keep, Fault> {
        let tip = self.read.standing.tip.block;
        let keep = |processed: Slot| Keep {
            processed: Some(processed),
            next: Some(processed.plus(1)),
            deep: false,
        };
        let mut tips: VecDeque<(BlockRef, Slot)> = VecDeque::new();
        let (mut lowest, mut open) = (None, 0);
        for (row, basis) in self.history.open() {
            if tips.back().is_none_or(|(tip, _)| *tip != basis.tip) {
                tips.push_back((basis.tip, row.slot));
            }
            (lowest, open) = (Some(row.slot), open + 1);
        }
        let Some(lowest) =
            lowest.filter(|_| tips.front().is_some_and(|(newest, _)| *newest != tip))
        else {
            let stale = self.history.first_stale();
            let none = Keep { processed: None, next: stale, deep: false };
            return Ok(self.history.processed().map_or(none, keep));
        };
        let mut part = 1;
        while !tips.is_empty() {
            let asked: Vec<_> = tips.drain(..part.min(tips.len())).collect();
            let blocks: Vec<_> = asked.iter().map(|(tip, _)| *tip).collect();
            let on_chain = self.on_chain(&blocks).await?;
            let found = asked.iter().zip(on_chain).find(|(_, on_chain)| *on_chain);
            if let Some(((_, slot), _)) = found {
                return Ok(keep(*slot));
            }
            part *= 2;
        }
        let below = lowest.minus(1).filter(|slot| self.history.row(*slot).is_some());
        let deep = below.is_some() && open >= self.config.reorg_max.get();
        Ok(Keep { processed: below, next: Some(lowest), deep })
    }

    /// Slots that were empty at the end of the chain: a reorg may have filled them without touching the tip.
    async fn loose(&self, keep: Keep) -> Result<(Keep, Option<(Slot, Slot)>), Fault> {
        let counts = |slot: Slot| keep.processed.is_some_and(|processed| slot <= processed);
        let open = self.history.open().filter(|(row, basis)| basis.loose && counts(row.slot));
        let slots: Vec<Slot> = open.map(|(row, _)| row.slot).collect();
        let (Some(last), Some(first)) = (slots.first().copied(), slots.last().copied()) else {
            return Ok((keep, None));
        };
        let passed = self.read.standing.tip.slot;
        let found = self.at(first, passed.max(last)).await?;
        let at = |slot: Slot| found.get((slot.get() - first.get()) as usize);
        let filled = slots.iter().rev().find(|slot| at(**slot) != Some(&AtSlot::Empty));
        if let Some(filled) = filled {
            let processed = filled.minus(1).filter(|slot| self.history.row(*slot).is_some());
            return Ok((Keep { processed, next: Some(*filled), ..keep }, None));
        }
        let mut after = found.iter().skip((last.get() - first.get()) as usize);
        let landed = after.any(|at| matches!(at, AtSlot::Landed(_)));
        Ok((keep, landed.then_some((first, last))))
    }

    /// What stands from `first` to `last`.
    async fn at(&self, first: Slot, last: Slot) -> Result<Vec<AtSlot>, Fault> {
        let call = self.ports.canonical.at(&self.read.standing, first..=last);
        let found = self.canonical(call).await?;
        if found.len() as u64 != last.get() - first.get() + 1 {
            return Err(FaultKind::Malformed.fault("the canonical chain", "slots are missing"));
        }
        let tip = self.read.standing.tip.block;
        let above = |at: &AtSlot| matches!(at, AtSlot::Landed(of) if of.block.height > tip.height);
        if found.iter().any(above) {
            // What landed above the tip is of a chain that this pass did not read: what is judged on that tip would
            // not be judged again once it is gone.
            let detail = format!("a block above {tip} is said to be below it");
            return Err(FaultKind::Torn.fault("the canonical chain", detail));
        }
        Ok(found)
    }

    /// The newest slot that the observer has passed on the canonical chain.
    async fn reached(&self) -> Result<Option<Slot>, Fault> {
        let Some(position) = self.read.position else { return Ok(None) };
        let canonical = position.block == self.read.standing.tip.block
            || self.on_chain(&[position.block]).await? == [true];
        Ok(canonical.then_some(position.slot))
    }

    /// The slots that are due, in order.
    async fn due(&self, keep: Keep) -> Result<Vec<DueSlot>, Fault> {
        let Some(initial) = self.heard.initial() else { return Ok(Vec::new()) };
        let passed = self.read.standing.tip.slot;
        let Some(last) = passed.minus(self.config.lag) else { return Ok(Vec::new()) };
        let window = self.history.window();
        // Where nothing was ever recorded, what was not watched is of no interest.
        let first = keep.next.unwrap_or(initial.plus(1));
        // What is older than is kept is not recorded any more.
        let first = first.max(last.minus(window - 1).unwrap_or_default());
        let mut due = Vec::new();
        let mut committees = BTreeMap::<Epoch, Option<Committee>>::new();
        for slot in (first.get()..=last.get()).map(Slot) {
            let prior = self.history.row(slot);
            if due.len() >= self.config.pass_max.get() && prior.is_none() {
                break;
            }
            let epoch = self.ports.committees.epoch(slot);
            let members = match committees.entry(epoch) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(place) => {
                    let found = self.committees(self.ports.committees.committee(epoch)).await?;
                    place.insert(found.map(sorted).transpose()?).clone()
                }
            };
            let seen = match prior {
                Some(row) => self.restored(row),
                None if !self.heard.is_watched(slot) => Err(NotJudged::NotWatched),
                None => Ok(self.heard.of(slot).cloned().unwrap_or_default()),
            };
            let seen = seen
                .and_then(|seen| if seen.is_missed() { Err(NotJudged::Missed) } else { Ok(seen) });
            due.push(DueSlot { slot, epoch, members, seen });
        }
        Ok(due)
    }

    /// What was seen of a slot that is stale.
    fn restored(&self, row: &Row) -> Result<Seen, NotJudged> {
        let kept = row.basis.as_deref().and_then(|basis| basis.kept.as_ref());
        match (&row.outcome, kept) {
            (Outcome::NotJudged(reason), _) => Err(*reason),
            (Outcome::Judged(filed), Some(kept)) => {
                let members = self.history.members(filed.committee);
                let members = members.ok_or(NotJudged::NotWatched)?;
                Ok(kept.restore(row.slot, members))
            }
            _ => Err(NotJudged::NotWatched),
        }
    }

    /// Judges the slots that are due, up to the first that has to wait. Whether there is one.
    async fn judge(
        &self,
        change: &mut Change,
        keep: Keep,
        reached: Option<Slot>,
        since: Slot,
    ) -> Result<bool, Fault> {
        let due = self.due(keep).await?;
        let passed = self.read.standing.tip.slot;
        let waited = |slot: Slot| {
            let since = slot.plus(self.config.lag).max(since);
            passed > since.plus(self.config.patience)
        };
        // As late as on the chain: one that was cut off right after the slot did not hear all of it.
        let in_step = |slot: Slot| reached.is_some_and(|at| slot.plus(self.config.lag) <= at);
        let judged = |due: &DueSlot| due.members.is_some() && due.seen.is_ok();
        // Those that wait, and whatever comes after them, are not asked for.
        let count =
            due.iter().take_while(|due| !judged(due) || in_step(due.slot) || waited(due.slot));
        let count = count.count();
        let asked = || due.iter().take(count).filter(|due| judged(due) && in_step(due.slot));
        // Up to what has passed: whether anything landed after a slot says how firm that slot is.
        let first = asked().next().map(|due| due.slot);
        let canonical = match first {
            None => Vec::new(),
            Some(first) => self.at(first, passed).await?,
        };
        let newest = canonical.iter().rposition(|at| matches!(at, AtSlot::Landed(_)));
        let waits = count < due.len();
        for due in due.into_iter().take(count) {
            let (slot, epoch) = (due.slot, due.epoch);
            let nth = first.and_then(|first| slot.get().checked_sub(first.get()));
            let nth = nth.and_then(|nth| usize::try_from(nth).ok());
            let at = nth.and_then(|nth| canonical.get(nth));
            let loose = nth.is_some() && newest.is_none_or(|newest| nth > Some(newest));
            let (outcome, kept) = match (due.members, due.seen) {
                (None, _) => (Outcome::NobodyDue, None),
                (Some(_), Err(reason)) => (Outcome::NotJudged(reason), None),
                (Some(_), Ok(_)) if !in_step(slot) => {
                    (Outcome::NotJudged(NotJudged::OutOfStep), None)
                }
                (Some(members), Ok(seen)) => match at {
                    // The chain contradicts itself: it says that it has passed the slot.
                    Some(AtSlot::NotPassed) => return Ok(true),
                    // A source that is behind itself may have it soon.
                    Some(AtSlot::Unknown) if !waited(slot) => return Ok(true),
                    None | Some(AtSlot::Unknown) => (Outcome::NotJudged(NotJudged::Unknown), None),
                    Some(at) => self.one(change, slot, &members, &seen, at).await?,
                },
            };
            let tip = self.read.standing.tip.block;
            let basis = Some(Box::new(Basis { tip, loose, kept }));
            change.rows.push(Row { slot, epoch, outcome, basis });
            change.processed = Some(slot);
        }
        Ok(waits)
    }

    /// Judges one slot.
    async fn one(
        &self,
        change: &mut Change,
        slot: Slot,
        members: &Committee,
        seen: &Seen,
        at: &AtSlot,
    ) -> Result<(Outcome, Option<Kept>), Fault> {
        let landed = match at {
            AtSlot::Landed(landed) => Some(landed),
            _ => None,
        };
        let proposer = match landed.and_then(|landed| landed.proposer.clone()) {
            Some(proposer) => Some(proposer),
            None => self.committees(self.ports.committees.proposer(slot)).await?,
        };
        let position = proposer.and_then(|proposer| members.binary_search(&proposer).ok());
        let Some(proposer) = position else {
            return Ok((Outcome::NotJudged(NotJudged::NoProposer), None));
        };
        let due = Due { members, proposer };
        let below = match lineage(&due, landed, seen) {
            Some(Lineage::On { number, .. }) => {
                let call = self.ports.canonical.checkpoint(&self.read.standing, number);
                Below::Canonical(self.canonical(call).await?)
            }
            _ => Below::NotAsked,
        };
        let judged = judge(&due, landed, seen, below);
        let committee = self.number(change, members);
        let filed = Filed { committee, proposer: proposer as u32, judged };
        Ok((Outcome::Judged(Box::new(filed)), Kept::of(seen, members)))
    }

    /// The number of a committee, which becomes known with this change.
    fn number(&self, change: &mut Change, members: &Committee) -> u32 {
        let (next, known) = self.history.number(members);
        if known {
            return next;
        }
        if let Some((number, _)) = change.committees.iter().find(|(_, new)| new == members) {
            return *number;
        }
        let number = change.committees.last().map_or(next, |(last, _)| last + 1);
        change.committees.push((number, members.clone()));
        number
    }

    fn members(&self, change: &Change, committee: u32) -> Option<Committee> {
        let new = change.committees.iter().find(|(number, _)| *number == committee);
        new.map(|(_, members)| members).or_else(|| self.history.members(committee)).cloned()
    }

    /// Evaluates the epochs that are complete, and withdraws what does not hold.
    fn evaluate(&self, change: &mut Change, keep: Keep, passed: Slot) {
        let committees = &self.ports.committees;
        // Epochs of slots that all count.
        let changed = keep.next.and_then(|slot| committees.epoch(slot).minus(1));
        let kept = self.history.evaluated().min(changed);
        change.evaluated = kept;
        let began = self.heard.initial().map(|initial| committees.epoch(initial).plus(1));
        let stale = self.history.epochs_from(kept.map_or(Epoch(0), |epoch| epoch.plus(1)));
        let stale: Vec<&EpochRecord> = stale.collect();
        let mut sequence = self.history.sequence();
        let next = kept.map(|epoch| epoch.plus(1));
        let first = stale.first().map(|record| record.epoch);
        // Between the two lie epochs that nobody watched from their beginning.
        let mut epoch = first.into_iter().chain(began).min().max(next);
        while let (Some(at), true) = (epoch, change.epochs.len() < EPOCHS_MAX) {
            let before = stale.iter().find(|record| record.epoch == at);
            if before.is_none() && began.is_none_or(|began| at < began) {
                epoch = began.filter(|began| *began > at);
                continue;
            }
            let recorded = |last: Slot| change.processed.is_some_and(|slot| last <= slot);
            let buffered = |last: Slot| last.plus(self.config.buffer) <= passed;
            let slots = committees.slots(at);
            let Some(slots) = slots.filter(|of| recorded(*of.end()) && buffered(*of.end())) else {
                break;
            };
            let record = self.one_epoch(change, at, slots, before.copied(), &mut sequence);
            change.epochs.push(record);
            change.evaluated = Some(at);
            epoch = Some(at.plus(1));
        }
        // What cannot be evaluated again yet does not hold until it is.
        for record in stale.into_iter().filter(|record| Some(record.epoch) > change.evaluated) {
            if let Some((verdict, _)) = &record.verdict {
                let what = What::Withdrawn { epoch: record.epoch, verdict: *verdict };
                sequence += 1;
                change.events.push(Event { sequence, what });
                change.epochs.push(EpochRecord { verdict: None, ..record.clone() });
            }
        }
    }

    fn one_epoch(
        &self,
        change: &mut Change,
        epoch: Epoch,
        slots: std::ops::RangeInclusive<Slot>,
        before: Option<&EpochRecord>,
        sequence: &mut u64,
    ) -> EpochRecord {
        let again = change.rows.first().map(|row| row.slot);
        let old = self.history.rows().filter(|row| again.is_none_or(|again| row.slot < again));
        let rows = old.chain(&change.rows).filter(|row| slots.contains(&row.slot));
        let now = performances(rows, |committee| self.members(change, committee));
        let rule = Rule {
            target: self.config.target,
            threshold: self.config.threshold.get(),
            penalty: self.config.penalty,
        };
        let found = verdict(epoch, &now, |validator| self.past(change, epoch, validator), &rule);
        let given = before.and_then(|before| before.verdict.as_ref());
        let mut event = |what| {
            *sequence += 1;
            change.events.push(Event { sequence: *sequence, what });
            *sequence
        };
        let verdict = match given {
            Some((given, validators)) if *validators == found => Some((*given, found)),
            given => {
                if let Some((verdict, _)) = given {
                    event(What::Withdrawn { epoch, verdict: *verdict });
                }
                let validators = found.clone();
                (!found.is_empty()).then(|| (event(What::Inactive { epoch, validators }), found))
            }
        };
        let members: Committee = now.keys().cloned().collect();
        let committee = (!members.is_empty()).then(|| self.number(change, &members));
        EpochRecord { epoch, committee, performances: now.into_values().collect(), verdict }
    }

    /// What is recorded of `validator` before `epoch`, newest first.
    fn past(
        &self,
        change: &Change,
        epoch: Epoch,
        validator: &ValidatorId,
    ) -> std::vec::IntoIter<(Epoch, Performance)> {
        let first = change.epochs.first().map(|record| record.epoch);
        let old = self.history.epochs().filter(|old| first.is_none_or(|first| old.epoch < first));
        let all = change.epochs.iter().rev().chain(old).filter(|record| record.epoch < epoch);
        let of = |record: &EpochRecord| {
            let members = self.members(change, record.committee?)?;
            let at = members.binary_search(validator).ok()?;
            let performance = record.performances.get(at).copied()?;
            (performance.total > 0).then_some((record.epoch, performance))
        };
        let need = self.config.threshold.get();
        all.filter_map(of).take(need).collect::<Vec<_>>().into_iter()
    }
}

fn count(slot: Option<Slot>) -> u64 {
    slot.map_or(0, |slot| slot.get().saturating_add(1))
}

/// A committee as it is kept: in ascending order, each once.
fn sorted(committee: Committee) -> Result<Committee, Fault> {
    if committee.len() > MEMBERS_MAX {
        let error = Error::Config("a committee has more than 65,536 members");
        return Err(Fault::new("the committees", error));
    }
    if committee.is_sorted_by(|a, b| a < b) {
        return Ok(committee);
    }
    let mut members = committee.to_vec();
    members.sort_unstable();
    members.dedup();
    Ok(members.into())
}
