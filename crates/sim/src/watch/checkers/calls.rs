//! Rules about calls to the source.

use super::{Checker, Observation, Rules};
use crate::{
    truth::Truth,
    watch::{Answer, Certificates, Question},
};
use std::time::Duration;
use tidewatch_core::Tier;

/// The number of calls to the source is within the budget of the situation.
///
/// A pass starts with a snapshot, followed by a read of the view's watermarks. The budget of a pass:
///
/// - two snapshots;
/// - requests for digests: the gallop, the bisection of the interval it found, and two to check the
///   ancestor, or what contradicts finality and whether that is of this network;
/// - one range for each range committed, and three more: one that did not link, one that is being
///   committed, and one that is prefetched.
pub(super) struct Budget {
    rules: Rules,
    /// Whether a snapshot was the last call.
    fresh: bool,
    snapshots: u64,
    /// Snapshots since the last pass began that the source answered with a proposed tip, and with tips in
    /// their order.
    looks: u64,
    digests: u64,
    ranges: u64,
    taken: u64,
    height: u64,
}

impl Budget {
    pub(super) const fn new(rules: Rules) -> Self {
        Self {
            rules,
            fresh: false,
            snapshots: 0,
            looks: 0,
            digests: 0,
            ranges: 0,
            taken: 0,
            height: 0,
        }
    }

    fn check(&self) -> Result<(), String> {
        let over = |what: &str, is: u64, may: u64| {
            (is <= may)
                .then_some(())
                .ok_or_else(|| format!("{is} {what} in a pass, the budget is {may}"))
        };
        over("snapshots", self.snapshots, 2)?;
        over("ranges", self.ranges, self.taken + 3)?;
        // Search over the whole height, where one request with n heights splits an interval by n + 1.
        let base = self.rules.digests_max + 1;
        let (mut rounds, mut reach) = (0, 1u64);
        while reach <= self.height + 1 {
            (rounds, reach) = (rounds + 1, reach.saturating_mul(base));
        }
        let powers = u64::from(u64::BITS - self.height.leading_zeros()) + 2;
        let gallop = powers.div_ceil(self.rules.digests_max);
        // Without blocks, the known heights are so sparse that a probe may find none in its interval.
        let sparse = if self.rules.blocks { 1 } else { 4 };
        over("requests for digests", self.digests, (gallop + rounds + 2) * sparse)
    }

    fn ask(&mut self, question: &Question) {
        self.fresh = matches!(question, Question::Snapshot);
        match question {
            Question::Snapshot => self.snapshots += 1,
            Question::Digests(..) => self.digests += 1,
            Question::Blocks(tip, _) => {
                self.ranges += 1;
                self.height = self.height.max(tip.height.get());
            }
        }
    }
}

impl Checker for Budget {
    fn name(&self) -> &'static str {
        "budget"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Asked(question) => {
                self.ask(question);
                if let Question::Digests(_, heights) = question {
                    let many = heights.len() as u64;
                    if many == 0 || many > self.rules.digests_max {
                        return Err(format!("{many} heights in one request"));
                    }
                    let top = heights.iter().map(|height| height.get()).max().unwrap_or(0);
                    self.height = self.height.max(top);
                }
                if !self.fresh {
                    self.check()?;
                }
            }
            Observation::Answered {
                question: Question::Snapshot,
                answer: Answer::Fault(_) | Answer::Dropped,
                ..
            } => {
                // Either the pass is over, or the snapshot is requested again.
                self.snapshots = self.snapshots.saturating_sub(1);
            }
            Observation::Answered { answer: Answer::Snapshot(snapshot), .. } => {
                // One without a proposed tip is refused, and ends its pass before the view is read.
                let told = snapshot.tips.block(Tier::Proposed).is_some();
                self.looks += u64::from(told && snapshot.tips.check(self.rules.ladder).is_ok());
            }
            Observation::WatermarksRead(_) if self.fresh => {
                // The newest one begins this pass; before it the last pass looked again at most once.
                let again = std::mem::take(&mut self.looks).saturating_sub(1);
                if again > 1 {
                    return Err(format!("{again} snapshots in a pass besides its first"));
                }
                (self.fresh, self.snapshots) = (false, 1);
                (self.digests, self.ranges, self.taken, self.height) = (0, 0, 0, 0);
            }
            Observation::Committed { .. } | Observation::NotCommitted(_) => {
                (self.fresh, self.taken) = (false, self.taken + 1);
            }
            Observation::Opened { .. } => *self = Self::new(self.rules),
            _ => {}
        }
        Ok(())
    }
}

/// Minimum number of verified certificates that a follower remembers.
const REMEMBERED: u64 = 256;

/// No more certificates are verified than were received, and none twice.
pub(super) struct Checks;

impl Checker for Checks {
    fn name(&self) -> &'static str {
        "certificates"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        let Observation::Certificates(certificates) = observation else { return Ok(()) };
        let Certificates { tips, pushes, heights, new } = certificates;
        let checked = certificates.checked();
        if *new <= REMEMBERED && checked > *new {
            return Err(format!("{checked} certificates were verified, only {new} were new"));
        }
        let all = [("tips", tips), ("pushes", pushes), ("heights", heights)];
        match all.into_iter().find(|(_, (checked, came))| checked > came) {
            Some((what, (checked, came))) => {
                Err(format!("{checked} certificates of {what} were verified, {came} were received"))
            }
            None => Ok(()),
        }
    }
}

/// Every call to the source ends within its deadline, and the next pass starts within the maximum wait.
pub(super) struct Deadlines {
    rules: Rules,
    now: Duration,
    /// Start of the call in flight.
    asked: Option<Duration>,
    /// Time of the last activity: a call, its result, or a commit.
    active: Duration,
    up: bool,
}

/// Tolerance for starved tasks.
const SLACK: Duration = Duration::from_secs(15);

/// Additional tolerance for a slow disk, or one that hangs, between two passes.
const BUSY: Duration = Duration::from_secs(120);

impl Deadlines {
    pub(super) const fn new(rules: Rules) -> Self {
        Self { rules, now: Duration::ZERO, asked: None, active: Duration::ZERO, up: false }
    }
}

impl Checker for Deadlines {
    fn name(&self) -> &'static str {
        "deadlines"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Clock(now) => {
                self.now = *now;
                let late = self.rules.deadline + SLACK;
                if let Some(asked) = self.asked.filter(|asked| now.saturating_sub(*asked) > late) {
                    return Err(format!("a call started at {asked:?} has not ended at {now:?}"));
                }
                let away = self.rules.deadline.max(self.rules.wait) + SLACK + BUSY;
                if self.up && now.saturating_sub(self.active) > away {
                    let since = self.active;
                    return Err(format!("no activity from {since:?} until {now:?}"));
                }
            }
            Observation::Asked(_) => {
                self.asked = Some(self.now);
                self.active = self.now;
            }
            Observation::Answered { question, took, .. } => {
                self.asked = None;
                self.active = self.now;
                if *took > self.rules.deadline + SLACK {
                    return Err(format!("a call for {question} took {took:?}"));
                }
            }
            Observation::Committed { .. } => self.active = self.now,
            Observation::Opened { .. } => (self.active, self.up) = (self.now, true),
            Observation::Crashed | Observation::Ended { actor: "driver", .. } => {
                (self.asked, self.up) = (None, false);
            }
            _ => {}
        }
        Ok(())
    }
}
