//! What is remembered between two opinions: whether another one is due, and what is disputed.

use super::{
    Opinion,
    judge::{Dispute, Verdict},
};
use crate::rpc::{Config, jitter};
use std::time::{Duration, SystemTime};
use tidewatch_core::{Backoff, BlockRef, Tier};

/// The tiers that a consensus client has an opinion on: its justified checkpoint, and its finalized one.
pub(super) const WATCHED: [Tier; 2] = [Tier::Checkpointed, Tier::Finalized];

/// How long two clients contradict each other before it is a fault: a third of a slot of Ethereum's, by which
/// most validators have agreed on the head of that slot. A node that is reorged by its consensus client is on
/// the other fork long before.
pub(super) const SETTLED: Duration = Duration::from_secs(4);

/// A contradiction that lasts.
#[derive(Clone, Copy, Debug)]
struct Open {
    since: SystemTime,
    reported: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Standing {
    /// The execution node's tiers that the last opinion was about.
    judged: Option<Opinion>,
    /// Another opinion is wanted.
    wanted: bool,
    disputes: [Option<Open>; 2],
    /// Whether the last opinion confirmed what is final: the client is there too, or further.
    confirmed: bool,
    backoff: Backoff,
    /// No client is asked before.
    not_before: Option<SystemTime>,
    /// The execution node's highest block.
    latest: Option<BlockRef>,
}

impl Standing {
    pub(super) const fn new(config: &Config) -> Self {
        Self {
            judged: None,
            wanted: false,
            disputes: [None; 2],
            confirmed: false,
            backoff: Backoff::new(config.backoff_base, config.backoff_cap),
            not_before: None,
            latest: None,
        }
    }

    /// Whether `latest` is another block than before.
    pub(super) fn moved(&mut self, latest: BlockRef) -> bool {
        self.latest.replace(latest) != Some(latest)
    }

    /// Whether an opinion is to be asked for now: where the tiers are others than those of the last opinion, a
    /// client `pushed` that its checkpoints moved, or something is disputed.
    pub(super) fn is_due(&mut self, now: SystemTime, ours: Opinion, pushed: bool) -> bool {
        self.wanted |= pushed || self.judged != Some(ours);
        let open = self.disputes.iter().any(Option::is_some);
        (self.wanted || open) && self.not_before.is_none_or(|not_before| not_before <= now)
    }

    /// Takes in an opinion on `ours`. What has to be reported now.
    pub(super) fn heard(
        &mut self,
        now: SystemTime,
        ours: Opinion,
        verdicts: [Verdict; 2],
    ) -> Vec<(Tier, Dispute)> {
        self.backoff.succeed();
        (self.judged, self.wanted, self.not_before) = (Some(ours), false, None);
        self.confirmed = matches!(verdicts[1], Verdict::Same | Verdict::Newer);
        let mut report = Vec::new();
        for ((tier, open), verdict) in WATCHED.into_iter().zip(&mut self.disputes).zip(verdicts) {
            let Verdict::Disputed(dispute) = verdict else {
                *open = None;
                continue;
            };
            let open = open.get_or_insert(Open { since: now, reported: false });
            let lasted = now.duration_since(open.since).unwrap_or_default();
            if lasted >= SETTLED && !open.reported {
                open.reported = true;
                report.push((tier, dispute));
            }
        }
        report
    }

    /// No client answered. What is disputed stays so.
    pub(super) fn unheard(&mut self, now: SystemTime) {
        self.not_before = now.checked_add(self.backoff.fail(&mut jitter(now)));
    }

    /// The tiers that do not move: those that are disputed, and what stands on them. While anything is, the two may be of
    /// two chains: what is final does not move then either, unless the client confirms it.
    pub(super) fn withheld(&self) -> Vec<Tier> {
        let [safe, finalized] = self.disputes.map(|open| open.is_some());
        let open = safe || finalized;
        // What is safe stands on what is final.
        let held = [open, finalized || open && !self.confirmed];
        WATCHED.into_iter().zip(held).filter(|(_, is)| *is).map(|(tier, _)| tier).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;
    use tidewatch_core::{Digest, Height};

    fn at(height: u64, fork: u8) -> BlockRef {
        BlockRef::new(Height::new(height), Digest([fork; 32]))
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn dispute(fork: u8) -> Verdict {
        Verdict::Disputed(Dispute { execution: at(8, 1), consensus: at(8, fork) })
    }

    #[test]
    fn an_opinion_is_due_when_something_moved_and_not_otherwise() {
        let mut standing = Standing::new(&Config::default());
        let (ours, next) = ([Some(at(16, 1)), Some(at(8, 1))], [Some(at(24, 1)), Some(at(16, 1))]);
        let now = UNIX_EPOCH;
        assert!(standing.is_due(now, ours, false), "the first time");
        assert!(standing.is_due(now, ours, false), "it was not heard yet");
        standing.heard(now, ours, [Verdict::Same; 2]);
        assert!(!standing.is_due(now, ours, false), "nothing moved");
        assert!(standing.is_due(now, ours, true), "the client's moved");
        assert!(standing.is_due(now, ours, false), "and nobody was asked since");
        standing.heard(now, ours, [Verdict::Newer; 2]);
        assert!(standing.is_due(now, next, false), "the node's moved");
        standing.unheard(now);
        assert!(!standing.is_due(now, next, true), "not at once after a failure");
        assert!(standing.is_due(now + SECOND, next, false), "soon after it");
        standing.heard(now, next, [Verdict::Same; 2]);
        assert!(!standing.is_due(now, next, false));
    }

    #[test]
    fn a_disputed_tier_is_withheld_at_once_and_reported_once_it_lasts() {
        let mut standing = Standing::new(&Config::default());
        let ours = [Some(at(16, 1)), Some(at(8, 1))];
        let start = UNIX_EPOCH + SECOND;
        let mut heard = |after, verdicts| {
            let report = standing.heard(start + after, ours, verdicts);
            (report.into_iter().map(|(tier, _)| tier).collect::<Vec<_>>(), standing.withheld())
        };
        let same = [Verdict::Same; 2];
        let (safe, both) = (vec![Tier::Checkpointed], WATCHED.to_vec());
        // For a moment.
        assert_eq!(heard(Duration::ZERO, [dispute(2), Verdict::Same]), (vec![], safe.clone()));
        assert_eq!(heard(SECOND, same), (vec![], vec![]));
        assert_eq!(heard(SETTLED, [dispute(2), Verdict::Same]), (vec![], safe.clone()));
        // For long, whichever blocks it is about.
        let later = SETTLED * 2;
        assert_eq!(heard(later, [dispute(3), Verdict::Same]), (safe.clone(), safe.clone()));
        assert_eq!(heard(later + SECOND, [dispute(3), Verdict::Same]), (vec![], safe));
        // A client that has finalized nothing yet, or less, may be of the other chain.
        for unconfirmed in [Verdict::Unknown, Verdict::Older, Verdict::Beyond] {
            assert_eq!(heard(later + SECOND, [dispute(3), unconfirmed]), (vec![], both.clone()));
        }
        // What is safe stands on what is final.
        let finalized = [Verdict::Beyond, dispute(2)];
        assert_eq!(heard(later, finalized), (vec![], both.clone()));
        assert_eq!(heard(later * 2, finalized), (vec![Tier::Finalized], both.clone()));
        assert_eq!(heard(later * 3, [Verdict::Unknown, Verdict::Older]), (vec![], vec![]));
        assert_eq!(heard(later * 4, [dispute(2), dispute(2)]), (vec![], both.clone()));
        assert_eq!(heard(later * 5, [dispute(2), dispute(2)]), (both.clone(), both));
    }

    #[test]
    fn while_something_is_disputed_every_pass_asks_again_and_silence_settles_nothing() {
        let mut standing = Standing::new(&Config::default());
        let ours = [Some(at(16, 1)), None];
        standing.heard(UNIX_EPOCH, ours, [dispute(2), Verdict::Same]);
        assert!(standing.is_due(UNIX_EPOCH, ours, false));
        standing.unheard(UNIX_EPOCH);
        assert!(!standing.is_due(UNIX_EPOCH, ours, false));
        assert_eq!(standing.withheld(), [Tier::Checkpointed]);
        standing.heard(UNIX_EPOCH + SECOND, ours, [Verdict::Same, Verdict::Unknown]);
        assert_eq!(standing.withheld(), []);
    }
}
