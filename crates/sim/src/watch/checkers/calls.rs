//! Rules about calls to the source.

use super::{Checker, Observation, Rules};
use crate::{
    watch::{Answer, Certificates, Question},
    world::Truth,
};
use std::time::Duration;

/// The source is not asked more often than the situation allows.
///
/// A pass begins with a snapshot that is followed by a look at where the view stands. In it: two
/// snapshots, and a third as its last question where a block did not stand on the ancestor; for digests the gallop and the bisection over what lies between, and one look at the
/// ancestor; one range for every one that was taken in, and three more (one that did not link, one that
/// is being taken in, one that is fetched ahead of that).
pub(super) struct Budget {
    rules: Rules,
    /// A snapshot came, and nothing after it.
    fresh: bool,
    snapshots: u64,
    digests: u64,
    ranges: u64,
    taken: u64,
    height: u64,
}

impl Budget {
    pub(super) const fn new(rules: Rules) -> Self {
        Self { rules, fresh: false, snapshots: 0, digests: 0, ranges: 0, taken: 0, height: 0 }
    }

    fn check(&self) -> Result<(), String> {
        let over = |what: &str, is: u64, may: u64| {
            (is <= may).then_some(()).ok_or_else(|| format!("{is} {what} in a pass, of {may}"))
        };
        over("snapshots", self.snapshots, 2)?;
        over("ranges", self.ranges, self.taken + 3)?;
        // Base-b search over the whole height, where b is what one question holds.
        let base = self.rules.digests_max + 1;
        let (mut rounds, mut reach) = (0, 1u64);
        while reach <= self.height + 1 {
            (rounds, reach) = (rounds + 1, reach.saturating_mul(base));
        }
        let powers = u64::from(u64::BITS - self.height.leading_zeros()) + 2;
        let gallop = powers.div_ceil(self.rules.digests_max);
        // Without blocks, what the view knows lies so far apart that a cut may hit nothing.
        let sparse = if self.rules.blocks { 1 } else { 4 };
        over("questions for digests", self.digests, (gallop + rounds + 2) * sparse)
    }

    fn ask(&mut self, question: &Question) {
        self.fresh = matches!(question, Question::Snapshot);
        match question {
            Question::Snapshot => self.snapshots += 1,
            Question::Digests(_) => self.digests += 1,
            Question::Blocks(_, tip) => {
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
                if let Question::Digests(heights) = question {
                    let many = heights.len() as u64;
                    if many == 0 || many > self.rules.digests_max {
                        return Err(format!("{many} heights in one question"));
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
                // The pass is over, or the next one asks again.
                self.snapshots = self.snapshots.saturating_sub(1);
            }
            Observation::WatermarksRead(_) if self.fresh => {
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

/// Certificates that a follower remembers having checked, at the least.
const REMEMBERED: u64 = 256;

/// No certificate is checked that did not come, and none twice.
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
            return Err(format!("{checked} certificates were checked, of {new}"));
        }
        let all = [("tips", tips), ("pushes", pushes), ("heights", heights)];
        match all.into_iter().find(|(_, (checked, came))| checked > came) {
            Some((what, (checked, came))) => {
                Err(format!("{checked} certificates of {what} were checked, and {came} came"))
            }
            None => Ok(()),
        }
    }
}

/// No call to the source lasts for ever, and no pass stays away for ever.
pub(super) struct Deadlines {
    rules: Rules,
    now: Duration,
    /// Since when a call is under way.
    asked: Option<Duration>,
    /// When the source was last asked, or anything else was done.
    active: Duration,
    up: bool,
}

/// What starved tasks may add to a wait for a call.
const SLACK: Duration = Duration::from_secs(15);

/// What a slow disk may add to it between two passes.
const BUSY: Duration = Duration::from_secs(30);

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
                    return Err(format!("a call is under way since {asked:?}, now is {now:?}"));
                }
                let away = self.rules.deadline.max(self.rules.wait) + SLACK + BUSY;
                if self.up && now.saturating_sub(self.active) > away {
                    let since = self.active;
                    return Err(format!("no pass since {since:?}, now is {now:?}"));
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
                    return Err(format!("a call {question} was waited for {took:?}"));
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
