//! What is printed of what was judged.

use serde::Serialize;
use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};
use tidewatch_sentinel::{
    EpochReport, Judgement, SlotReport, Statistics, Status, ValidatorId, ValidatorReport,
};

/// Slots of a strip, at the most.
pub(super) const STRIP: u64 = 40;
/// Slots of a strip, however narrow the terminal is.
const STRIP_MIN: usize = 8;
/// Letters of a validator's name.
const NAME: usize = 12;

/// A line for machines, beside those of [`tidewatch_sentinel::Line`].
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    /// What is watched, once.
    Watching {
        chain: &'a str,
        epoch_length: u64,
        /// Where evidence is written, where there is any.
        #[serde(skip_serializing_if = "Option::is_none")]
        evidence: Option<String>,
    },
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

/// The live table, of so many lines of so many characters at the most. `slots` are the newest ones, ascending;
/// `inactive` says for each validator since which epoch it is. Where there are more validators than lines, those who
/// missed most are shown.
pub(super) fn table(
    status: &Status,
    slots: &[SlotReport],
    statistics: &Statistics,
    inactive: &BTreeMap<ValidatorId, u64>,
    (height, width): (usize, usize),
) -> String {
    let at =
        |slot: Option<tidewatch_sentinel::Slot>| slot.map_or("-".into(), |slot| slot.to_string());
    let step = if status.in_step { "in step" } else { "not in step" };
    let title = format!(
        "slot {} of {}, {step}, epoch {} evaluated",
        at(status.processed),
        at(status.passed),
        status.epoch.map_or("-".into(), |epoch| epoch.to_string()),
    );
    let head = ["validator", "last slots", "proposals", "votes", "streak", "seen", ""];
    let row = |report: &ValidatorReport| {
        let ValidatorReport { validator, proposals, attestations, .. } = report;
        let did = |missed: u64, total: u64| format!("{}/{total}", total - missed.min(total));
        [
            validator.to_string().chars().take(NAME).collect(),
            slots.iter().map(|slot| letter(validator, slot)).collect(),
            did(proposals.missed, proposals.total),
            did(attestations.missed, attestations.total),
            attestations.streak.to_string(),
            at(report.last_seen),
            verdict(report, inactive),
        ]
    };
    let mut shown: Vec<_> = statistics.validators.iter().collect();
    let room = height.saturating_sub(3);
    let more = if shown.len() > room + 1 { shown.len() - room } else { 0 };
    if more > 0 {
        shown.sort_by_key(|report| {
            let missed = report.proposals.missed + report.attestations.missed;
            let accused = inactive.contains_key(&report.validator) || report.contradictions > 0;
            Reverse((accused, missed))
        });
        shown.truncate(room);
    }
    let rows: Vec<_> =
        std::iter::once(head.map(String::from)).chain(shown.into_iter().map(row)).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    // The strip takes what the other columns leave: how long it is says least.
    let [name, _, others @ ..] = widths;
    let taken = name + others.iter().sum::<usize>() + 2 * others.len() + 2;
    let strip = width.saturating_sub(taken).clamp(STRIP_MIN, STRIP as usize);
    let mut text = cut(&title, width);
    for [name, letters, proposed, voted, streak, seen, verdict] in rows {
        let [proposals, votes, streaks, ..] = others;
        let old = letters.chars().count().saturating_sub(strip);
        let newest: String = match letters == head[1] {
            true => letters,
            false => letters.chars().skip(old).collect(),
        };
        let line = format!(
            "{name:<NAME$}  {newest:<strip$}  {proposed:<proposals$}  {voted:<votes$}  {streak:>streaks$}  \
             {seen:<seen_width$}  {verdict}",
            seen_width = others[3],
        );
        text += &cut(&line, width);
    }
    if more > 0 {
        text += &cut(&format!("and {more} more, who missed less"), width);
    }
    text
}

/// A line that is no longer than the terminal is wide: one that wraps could not be drawn over.
fn cut(line: &str, width: usize) -> String {
    line.trim_end().chars().take(width).chain(['\n']).collect()
}

fn verdict(report: &ValidatorReport, inactive: &BTreeMap<ValidatorId, u64>) -> String {
    let since = inactive.get(&report.validator);
    let since = since.map(|epoch| format!("inactive since epoch {epoch}"));
    let twice = (report.contradictions > 0)
        .then(|| format!("contradicted itself in {}", report.contradictions));
    since.into_iter().chain(twice).collect::<Vec<_>>().join(", ")
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
        for width in [0, 40, 79, 80, 120] {
            let text = table(&Status::default(), &slots, &statistics(), &inactive, (24, width));
            assert_eq!(text.lines().count(), 5, "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
            let whole = ["PXP?.", "inactive since epoch 7", "contradicted itself in 1", "4/5"];
            if width >= 80 {
                assert!(whole.iter().all(|words| text.contains(words)), "{width}: {text}");
            }
        }
    }

    #[test]
    fn a_narrow_terminal_shows_the_newest_slots() {
        let slots: Vec<_> = (1..=40)
            .map(|slot| {
                let proposal = if slot > 32 { Proposal::BlocksMissed } else { Proposal::Mined };
                judged(slot, proposal, &[], &[])
            })
            .collect();
        let strip = |width| {
            let text =
                table(&Status::default(), &slots, &statistics(), &BTreeMap::new(), (24, width));
            let row = text.lines().nth(2).unwrap().to_owned();
            row.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(strip(20 + 60), "X".repeat(8));
        assert_eq!(strip(200), format!("{}{}", "P".repeat(32), "X".repeat(8)));
    }

    #[test]
    fn a_low_terminal_shows_who_missed_most() {
        let inactive = BTreeMap::from([(id(3), 1)]);
        let text = table(&Status::default(), &[], &statistics(), &inactive, (4, 200));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[2].starts_with("0303") && lines[2].contains("inactive"), "{text}");
        assert_eq!(lines[3], "and 2 more, who missed less");
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
