//! Rules about the status and the faults that a follower reports.

use super::{Checker, Observation, Rules};
use crate::{
    truth::{Truth, since_begin_ms},
    watch::Answer,
};
use std::time::Duration;
use tidewatch_core::{FaultKind, State, Tier, TipSet, Watermarks};

/// `Live` is reported only while the last contact is recent, the lag is small, the tip's time is near, and
/// there is no finality conflict; and it does not remain the last word for longer than that.
pub(super) struct Honest {
    rules: Rules,
    contact: Option<Duration>,
    tips: TipSet,
    watermarks: Watermarks,
    /// A finality conflict was reported, and the source was not called since.
    contradicted: bool,
    /// Timestamp of the tip, since the world began.
    time: Option<Duration>,
    /// The last snapshot had no proposed tip.
    untold: bool,
    /// The last word is `Live`.
    live: bool,
}

/// A clock that was set back is detected at the next status check: until then, the age of the last
/// contact may reach its threshold a second time.
const LOOKS: u32 = 2;

/// Tolerance for starved tasks.
const SLACK: Duration = Duration::from_secs(15);

impl Honest {
    pub(super) const fn new(rules: Rules) -> Self {
        let (tips, watermarks) = (TipSet::unknown(), Watermarks::none());
        let (contact, time) = (None, None);
        Self {
            rules,
            contact,
            tips,
            watermarks,
            contradicted: false,
            time,
            untold: false,
            live: false,
        }
    }

    fn live(&self, at: Duration) -> Result<(), String> {
        if self.contradicted {
            return Err("live is reported after a finality conflict".into());
        }
        if self.untold {
            return Err("live is reported after a snapshot without a tip".into());
        }
        self.fresh(at)?;
        let ahead = self.time.map_or(Duration::ZERO, |time| time.saturating_sub(at));
        if self.rules.steady && ahead > self.rules.thresholds.tip_age + SLACK {
            return Err(format!("live is reported with a tip {ahead:?} from now"));
        }
        let head = self.watermarks.head().map_or(0, |block| block.height.get());
        let tip = self.tips.block(Tier::Proposed).map_or(0, |block| block.height.get());
        let lag = tip.saturating_sub(head);
        if lag > self.rules.thresholds.lag {
            return Err(format!("live is reported {lag} blocks behind"));
        }
        Ok(())
    }
}

impl Honest {
    /// Whether `Live` can be said for what the last contact was.
    fn fresh(&self, at: Duration) -> Result<(), String> {
        let contact = self.contact.ok_or("live is reported without any contact")?;
        let since = at.saturating_sub(contact);
        if since > self.rules.thresholds.contact * LOOKS + SLACK {
            return Err(format!("live is reported {since:?} after the last contact"));
        }
        Ok(())
    }
}

impl Checker for Honest {
    fn name(&self) -> &'static str {
        "status"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        match observation {
            Observation::Answered { answer: Answer::Snapshot(snapshot), at, .. }
                if snapshot.tips.check(self.rules.ladder).is_ok() =>
            {
                // One without a proposed tip says nothing of the chain.
                let told = snapshot.tips.block(Tier::Proposed).is_some();
                self.contact = Some(*at).filter(|_| told).or(self.contact);
                self.tips = snapshot.tips;
                self.time = snapshot.time_ms.map(since_begin_ms);
                self.untold = !told;
            }
            Observation::Opened { watermarks, .. } => {
                (self.watermarks, self.contact, self.live) = (*watermarks, None, false);
            }
            Observation::Crashed | Observation::Ended { .. } => self.live = false,
            Observation::Clock(now) if self.live => self.fresh(*now)?,
            Observation::WatermarksRead(watermarks) | Observation::Committed { watermarks, .. } => {
                self.watermarks = *watermarks;
            }
            Observation::Refused(fault) if fault.kind == FaultKind::FinalityConflict => {
                self.contradicted = true;
            }
            Observation::Asked(_) => self.contradicted = false,
            Observation::Said(status, at) => {
                self.live = status.state == State::Live;
                if self.live {
                    self.live(*at)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// An external failure is never reported as a bug of the follower, and never ends an actor.
pub(super) struct Faults;

impl Checker for Faults {
    fn name(&self) -> &'static str {
        "faults"
    }

    fn see(&mut self, observation: &Observation, _: &Truth) -> Result<(), String> {
        let fault = match observation {
            Observation::Refused(fault) | Observation::NotCommitted(Some(fault)) => fault,
            Observation::Ended { actor, result: Err(fault) } if fault.kind != FaultKind::Disk => {
                return Err(format!("{actor} ended: {fault}"));
            }
            _ => return Ok(()),
        };
        let ours = matches!(fault.kind, FaultKind::Bug | FaultKind::CorruptRecord);
        if ours { Err(fault.to_string()) } else { Ok(()) }
    }
}
