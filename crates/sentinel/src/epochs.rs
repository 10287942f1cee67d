//! Epochs: what was missed of what was possible, and for how long.

use crate::{Did, Epoch, Inactive, Performance, ValidatorId};
use std::collections::BTreeMap;

impl Performance {
    /// Counts one duty.
    pub(crate) const fn count(&mut self, did: Did) {
        let missed = match did {
            Did::Proposed(proposal) => proposal.is_fault(),
            Did::Attested => false,
            Did::AttestationMissed => true,
        };
        self.total = self.total.saturating_add(1);
        self.missed = self.missed.saturating_add(missed as u32);
    }

    /// Whether the part that was missed reaches `target`. Where nothing was possible, nobody was inactive.
    pub fn is_inactive(&self, target: f64) -> bool {
        self.total > 0 && f64::from(self.missed) / f64::from(self.total) >= target
    }
}

/// When inactivity is a verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) target: f64,
    pub(crate) threshold: usize,
    pub(crate) penalty: u64,
}

/// Whether a validator was inactive in each of the newest `need` epochs that are recorded of it before `epoch`.
/// `recorded` is in any order of epochs that falls; gaps are allowed, and too few of them are a no.
pub(crate) fn was_inactive(
    epoch: Epoch,
    recorded: impl Iterator<Item = (Epoch, Performance)>,
    need: usize,
    target: f64,
) -> bool {
    let earlier = recorded.filter(|(at, _)| *at < epoch).take(need);
    let (mut found, mut all) = (0, true);
    for (_, performance) in earlier {
        found += 1;
        all &= performance.is_inactive(target);
    }
    all && found == need
}

/// Who is inactive with `epoch`, in ascending order. `past` gives what is recorded of a validator, newest first.
pub(crate) fn verdict<I: Iterator<Item = (Epoch, Performance)>>(
    epoch: Epoch,
    now: &BTreeMap<ValidatorId, Performance>,
    past: impl Fn(&ValidatorId) -> I,
    rule: &Rule,
) -> Vec<Inactive> {
    let need = rule.threshold.saturating_sub(1);
    now.iter()
        .filter(|(_, performance)| performance.is_inactive(rule.target))
        .filter(|(validator, _)| was_inactive(epoch, past(validator), need, rule.target))
        .map(|(validator, performance)| Inactive {
            validator: validator.clone(),
            performance: *performance,
            penalty: rule.penalty,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs with the percentage that was missed, newest first.
    fn past(epochs: &[(u64, u32)]) -> Vec<(Epoch, Performance)> {
        let of = |(epoch, missed): &(u64, u32)| {
            (Epoch(*epoch), Performance { missed: *missed, total: 100 })
        };
        epochs.iter().map(of).collect()
    }

    #[test]
    fn st_62_to_st_69_only_the_newest_recorded_epochs_before_this_one_count() {
        let inactive = |epoch, recorded: &[(u64, u32)], need| {
            was_inactive(Epoch(epoch), past(recorded).into_iter(), need, 0.8)
        };
        let table = [
            ("ST-62", inactive(6, &[(5, 80), (4, 90), (3, 80)], 3), true),
            ("ST-63", inactive(6, &[(5, 80), (4, 50), (3, 80)], 3), false),
            ("ST-64", inactive(6, &[(5, 80), (4, 80)], 3), false),
            ("ST-65", inactive(4, &[(5, 80), (4, 80)], 2), false),
            ("ST-66", inactive(6, &[(5, 80), (3, 80), (2, 80)], 3), true),
            ("ST-67", inactive(6, &[(5, 10)], 0), true),
            ("ST-68", inactive(5, &[(5, 80), (4, 80), (3, 80), (2, 50)], 3), false),
        ];
        for (case, found, expected) in table {
            assert_eq!(found, expected, "{case}");
        }
        let mut with_nothing = past(&[(5, 80), (4, 80)]);
        with_nothing[1].1 = Performance::default();
        assert!(!was_inactive(Epoch(6), with_nothing.into_iter(), 2, 0.8), "ST-69");
    }

    fn id(n: u8) -> ValidatorId {
        ValidatorId::new(vec![n]).unwrap()
    }

    fn decide(
        threshold: usize,
        penalty: u64,
        now: &[(u8, u32)],
        recorded: &[(u8, &[(u64, u32)])],
    ) -> Vec<u8> {
        let now =
            now.iter().map(|(n, missed)| (id(*n), Performance { missed: *missed, total: 100 }));
        let past = |validator: &ValidatorId| {
            let found = recorded.iter().find(|(n, _)| id(*n) == *validator);
            past(found.map_or(&[], |(_, epochs)| epochs)).into_iter()
        };
        let rule = Rule { target: 0.8, threshold, penalty };
        let found = verdict(Epoch(5), &now.collect(), past, &rule);
        assert!(found.iter().all(|inactive| inactive.penalty == penalty));
        found.iter().map(|inactive| inactive.validator.as_bytes()[0]).collect()
    }

    #[test]
    fn st_70_inactive_now_and_before_is_a_verdict_and_inactive_now_alone_is_none() {
        let past: [(u8, &[(u64, u32)]); 2] = [(1, &[(4, 90)]), (2, &[(4, 50)])];
        assert_eq!(decide(2, 100, &[(1, 80), (2, 80)], &past), [1]);
    }

    #[test]
    fn st_71_a_penalty_of_zero_is_reported_too() {
        assert_eq!(decide(1, 0, &[(1, 80)], &[]), [1]);
    }

    #[test]
    fn st_72_one_active_epoch_among_the_last_is_enough_to_be_no_verdict() {
        assert_eq!(decide(3, 1, &[(1, 90)], &[(1, &[(4, 90), (3, 50)])]), [0; 0]);
    }

    #[test]
    fn st_58_a_verdict_names_who_missed_enough_in_one_epoch() {
        let now = |missed, total| Performance { missed, total };
        let rule = Rule { target: 0.8, threshold: 1, penalty: 100 };
        let now = [(id(1), now(1, 8)), (id(2), now(7, 8)), (id(3), now(4, 4))].into();
        let found = verdict(Epoch(2), &now, |_| std::iter::empty(), &rule);
        let named: Vec<_> = found.iter().map(|found| (&found.validator, found.penalty)).collect();
        assert_eq!(named, [(&id(2), 100), (&id(3), 100)]);
    }
}
