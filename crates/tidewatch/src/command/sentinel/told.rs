//! What is printed of what was judged.

use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};
use tidewatch_sentinel::{
    EpochReport, Judgement, SlotReport, Statistics, Status, ValidatorId, ValidatorReport,
};

/// Slots of a strip.
pub(super) const STRIP: u64 = 40;
/// Letters of a validator's name.
const NAME: usize = 12;

/// A line for machines, beside those of [`tidewatch_sentinel::Line`].
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    /// What is watched, once.
    Watching { chain: &'a str, epoch_length: u64, evidence: String },
    /// The committee of an epoch: what evidence of it is pinned by.
    Committee { epoch: u64, committee: String, validators: Vec<String> },
    /// A slot was recorded. The newest line of a slot counts: one that is judged again has another.
    Slot(&'a SlotReport),
    /// An epoch was evaluated.
    Epoch(&'a EpochReport),
}

pub(super) fn json(line: &impl Serialize) -> String {
    // Nothing in these types can fail to be written.
    serde_json::to_string(line).map(|line| line + "\n").unwrap_or_default()
}

/// An epoch for spreadsheets.
pub(super) fn csv(report: &EpochReport) -> String {
    let mut text = "epoch,validator,missed,total,inactive\n".to_owned();
    for row in &report.validators {
        let (missed, total) = (row.performance.missed, row.performance.total);
        let _ =
            writeln!(text, "{},{},{missed},{total},{}", report.epoch, row.validator, row.inactive);
    }
    text
}

/// An epoch for people.
pub(super) fn epoch(report: &EpochReport) -> String {
    let mut text = format!("epoch {}\n{:<64}  missed  of    part\n", report.epoch, "validator");
    for row in &report.validators {
        let (missed, total) = (row.performance.missed, row.performance.total);
        let part = if total == 0 { 0.0 } else { 100.0 * f64::from(missed) / f64::from(total) };
        let verdict = if row.inactive { "  inactive" } else { "" };
        let name = row.validator.to_string();
        let _ = writeln!(text, "{name:<64}  {missed:>6}  {total:>2}  {part:>5.1} %{verdict}");
    }
    if report.validators.is_empty() {
        text.push_str("nothing was judged in it\n");
    }
    text
}

/// What one validator did in a slot, as a letter.
fn letter(validator: &ValidatorId, slot: &SlotReport) -> char {
    let Judgement::Judged { proposer, proposal, attested, missed, contradicted } = &slot.judgement
    else {
        return match slot.judgement {
            Judgement::NotJudged { .. } => '?',
            _ => '.',
        };
    };
    if contradicted.contains(validator) {
        '!'
    } else if proposer == validator {
        if proposal.is_fault() { 'X' } else { 'P' }
    } else if attested.contains(validator) {
        'v'
    } else if missed.contains(validator) {
        'x'
    } else {
        '.'
    }
}

/// The live table. `slots` are the newest ones, ascending; `inactive` says for each validator since which epoch it is.
pub(super) fn table(
    status: &Status,
    slots: &[SlotReport],
    statistics: &Statistics,
    inactive: &BTreeMap<ValidatorId, u64>,
) -> String {
    let at =
        |slot: Option<tidewatch_sentinel::Slot>| slot.map_or("-".into(), |slot| slot.to_string());
    let step = if status.in_step { "in step" } else { "not in step" };
    let mut text = format!(
        "slot {} of {}, {step}, epoch {} evaluated\n",
        at(status.processed),
        at(status.passed),
        status.epoch.map_or("-".into(), |epoch| epoch.to_string()),
    );
    let strip = STRIP as usize;
    let _ = writeln!(
        text,
        "{:<NAME$}  {:<strip$}  proposals     votes         streak  seen   ",
        "validator", "last slots"
    );
    for report in &statistics.validators {
        let ValidatorReport {
            validator, proposals, attestations, contradictions, last_seen, ..
        } = report;
        let name: String = validator.to_string().chars().take(NAME).collect();
        let letters: String = slots.iter().map(|slot| letter(validator, slot)).collect();
        let did = |missed: u64, total: u64| format!("{}/{total}", total - missed.min(total));
        let mut verdict = String::new();
        if let Some(epoch) = inactive.get(validator) {
            let _ = write!(verdict, "inactive since epoch {epoch}");
        }
        if *contradictions > 0 {
            let comma = if verdict.is_empty() { "" } else { ", " };
            let _ = write!(verdict, "{comma}contradicted itself in {contradictions}");
        }
        let _ = writeln!(
            text,
            "{name:<NAME$}  {letters:<strip$}  {:<12}  {:<12}  {:>6}  {:<6} {verdict}",
            did(proposals.missed, proposals.total),
            did(attestations.missed, attestations.total),
            attestations.streak,
            at(*last_seen),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_sentinel::{
        Duties, Epoch, EpochRow, NotJudged, Performance, Proposal, Slot, Window,
    };

    fn id(number: u8) -> ValidatorId {
        ValidatorId::new(vec![number; 32]).unwrap()
    }

    fn judged(slot: u64, proposal: Proposal, missed: &[u8], twice: &[u8]) -> SlotReport {
        let ids = |of: &[u8]| of.iter().map(|number| id(*number)).collect::<Vec<_>>();
        let attested: Vec<u8> = (2..=3).filter(|number| !missed.contains(number)).collect();
        let judgement = Judgement::Judged {
            proposer: id(1),
            proposal,
            attested: ids(&attested),
            missed: ids(missed),
            contradicted: ids(twice),
        };
        SlotReport { slot: Slot(slot), epoch: Epoch(0), judgement }
    }

    fn statistics() -> Statistics {
        let duties =
            Duties { missed: 1, total: 5, missed_rate: Some(0.2), streak: 1, last: Some(Slot(4)) };
        let report = |number| ValidatorReport {
            validator: id(number),
            slots: 5,
            proposals: duties,
            attestations: duties,
            contradictions: u64::from(number == 3),
            last_seen: Some(Slot(4)),
        };
        let window =
            Window { from: Slot(1), to: Slot(5), processed: Some(Slot(5)), initial: None, kept: 9 };
        Statistics { validators: vec![report(1), report(2), report(3)], window }
    }

    #[test]
    fn a_strip_has_a_letter_for_what_was_done_in_each_slot() {
        let not = Judgement::NotJudged { reason: NotJudged::Missed };
        let slots = [
            judged(1, Proposal::Mined, &[], &[]),
            judged(2, Proposal::BlocksMissed, &[], &[]),
            judged(3, Proposal::Mined, &[2], &[3]),
            SlotReport { slot: Slot(4), epoch: Epoch(0), judgement: not },
            SlotReport { slot: Slot(5), epoch: Epoch(0), judgement: Judgement::NobodyDue },
        ];
        let strip = |number| slots.iter().map(|slot| letter(&id(number), slot)).collect::<String>();
        assert_eq!(strip(1), "PXP?.");
        assert_eq!(strip(2), "vvx?.");
        assert_eq!(strip(3), "vv!?.");
        assert_eq!(strip(9), "...?.");
        let inactive = BTreeMap::from([(id(2), 7)]);
        let text = table(&Status::default(), &slots, &statistics(), &inactive);
        assert_eq!(text.lines().count(), 5);
        for words in ["PXP?.", "inactive since epoch 7", "contradicted itself in 1", "4/5"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn an_epoch_is_printed_for_people_and_for_spreadsheets() {
        let row = |number, missed, inactive| EpochRow {
            validator: id(number),
            performance: Performance { missed, total: 8 },
            inactive,
        };
        let validators = vec![row(1, 0, false), row(2, 8, true)];
        let report = EpochReport { epoch: Epoch(3), validators, verdict: Some(1) };
        let (one, two) = (id(1), id(2));
        assert_eq!(
            csv(&report),
            format!("epoch,validator,missed,total,inactive\n3,{one},0,8,false\n3,{two},8,8,true\n")
        );
        let text = epoch(&report);
        assert!(text.contains("100.0 %  inactive") && text.contains("  0.0 %\n"), "{text}");
        let line: serde_json::Value = serde_json::from_str(&json(&Line::Epoch(&report))).unwrap();
        assert_eq!((&line["event"], &line["epoch"]), (&"epoch".into(), &3.into()));
        assert_eq!(line["validators"][1]["inactive"], true);
        let empty = EpochReport { epoch: Epoch(3), validators: Vec::new(), verdict: None };
        assert!(epoch(&empty).contains("nothing was judged"));
    }
}
