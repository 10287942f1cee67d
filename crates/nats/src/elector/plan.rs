//! Who may lead, and for how long.

use crate::Lease;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long things take. All of them are measured by sleeps: no clock that is set has a part in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A lease that was not renewed for so long ends: the bucket's greatest age.
    pub ttl: Duration,
    /// The pause between two renewals.
    pub renew: Duration,
    /// A leader stops by itself when its last renewal that was confirmed began so long ago.
    pub give_up: Duration,
    /// How long an answer is waited for.
    pub answer: Duration,
    /// The pause between two looks at a lease that somebody else has.
    pub look: Duration,
}

impl Timing {
    /// On one server: 10 s, renewed every 3 s, given up after 7 s.
    pub const SINGLE: Self = Self {
        ttl: Duration::from_secs(10),
        renew: Duration::from_secs(3),
        give_up: Duration::from_secs(7),
        answer: Duration::from_secs(2),
        look: Duration::from_millis(500),
    };

    /// On several: a cluster that loses its leader is silent for five to eight seconds, which no lease may end by. 20 s,
    /// renewed every 5 s, given up after 14 s.
    pub const REPLICATED: Self = Self {
        ttl: Duration::from_secs(20),
        renew: Duration::from_secs(5),
        give_up: Duration::from_secs(14),
        answer: Duration::from_secs(2),
        look: Duration::from_millis(500),
    };

    /// That of a cluster that keeps so many copies.
    pub const fn of(replicas: u32) -> Self {
        if replicas > 1 { Self::REPLICATED } else { Self::SINGLE }
    }

    /// Whether a leader has given up before its lease can have ended, with room for a renewal that fails once.
    pub fn holds(&self) -> bool {
        self.give_up + self.answer < self.ttl
            && self.renew + self.answer < self.give_up
            && self.look < self.renew
    }
}

const _: () = assert!(
    Timing::SINGLE.give_up.as_secs() + Timing::SINGLE.answer.as_secs()
        < Timing::SINGLE.ttl.as_secs(),
    "a leader gives up before its lease can have ended elsewhere"
);

const _: () = assert!(
    Timing::REPLICATED.give_up.as_secs() - Timing::REPLICATED.renew.as_secs() > 8,
    "a cluster that elects a leader for eight seconds costs nobody the lease"
);

/// What a lease says of its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The publisher's id.
    pub publisher: String,
}

impl Holder {
    /// As it is written.
    pub fn write(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// As it was written; `None` for what nobody of us wrote.
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}

/// How long a lease that somebody else has was seen not to change.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    revision: Option<u64>,
    unchanged: Duration,
}

/// What somebody who would lead does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// Writes the lease over this revision.
    Claim(u64),
    /// Looks again later.
    Wait,
}

impl Watched {
    /// Nothing was seen for so long: a time that has passed at the least.
    pub fn slept(&mut self, pause: Duration) {
        self.unchanged = self.unchanged.saturating_add(pause);
    }

    /// What to do about `lease`. It is free where the cluster says so; and where it did not change for a whole time to
    /// live as it was watched here: the cluster's clock may have been set back, and its holder be long gone. Should
    /// the holder renew it at this moment, one of the two writes is refused. A lease of one's own is that of a claim
    /// whose answer was lost.
    pub fn look(&mut self, lease: &Lease, me: &str, ttl: Duration) -> Candidate {
        if self.revision != Some(lease.revision) {
            *self = Self { revision: Some(lease.revision), unchanged: Duration::ZERO };
        }
        match lease.value {
            None => Candidate::Claim(lease.revision),
            Some(_) if matches!(found(lease, me), Found::Mine(_)) => {
                Candidate::Claim(lease.revision)
            }
            Some(_) if self.unchanged >= ttl => Candidate::Claim(lease.revision),
            Some(_) => Candidate::Wait,
        }
    }
}

/// What a leader whose renewal was refused, or not answered, finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its own lease, perhaps by a renewal whose answer was lost: renew it from this revision.
    Mine(u64),
    /// Somebody else's, or none: the leadership is over.
    Lost,
}

/// What `lease` is to the publisher `me`.
pub fn found(lease: &Lease, me: &str) -> Found {
    let holder = lease.value.as_deref().and_then(Holder::read);
    match holder {
        Some(holder) if holder.publisher == me => Found::Mine(lease.revision),
        _ => Found::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn held(revision: u64, by: &str) -> Lease {
        let value = Some(Holder { publisher: by.into() }.write());
        Lease { revision, value }
    }

    #[test]
    fn every_leader_gives_up_before_its_lease_can_have_ended() {
        for timing in [Timing::of(1), Timing::of(3), Timing::of(5)] {
            assert!(timing.holds(), "{timing:?}");
        }
        let late = Timing { give_up: Timing::SINGLE.ttl, ..Timing::SINGLE };
        assert!(!late.holds());
    }

    #[test]
    fn a_free_lease_is_claimed_over_the_marker_that_the_last_one_left() {
        let mut watched = Watched::default();
        let ttl = 10 * SECOND;
        assert_eq!(
            watched.look(&Lease { revision: 0, value: None }, "me", ttl),
            Candidate::Claim(0)
        );
        assert_eq!(
            watched.look(&Lease { revision: 41, value: None }, "me", ttl),
            Candidate::Claim(41)
        );
    }

    #[test]
    fn a_lease_that_is_renewed_is_never_claimed_and_one_that_stands_still_is() {
        let mut watched = Watched::default();
        let ttl = 10 * SECOND;
        for revision in 1..50 {
            assert_eq!(watched.look(&held(revision, "a"), "me", ttl), Candidate::Wait);
            watched.slept(3 * SECOND);
        }
        for waited in (3..10).step_by(3) {
            assert_eq!(watched.look(&held(49, "a"), "me", ttl), Candidate::Wait, "{waited} s");
            watched.slept(3 * SECOND);
        }
        assert_eq!(watched.look(&held(49, "a"), "me", ttl), Candidate::Claim(49));
        assert_eq!(Watched::default().look(&held(50, "me"), "me", ttl), Candidate::Claim(50));
    }

    #[test]
    fn a_leader_finds_its_own_renewal_and_nobody_elses() {
        assert_eq!(found(&held(7, "me"), "me"), Found::Mine(7));
        let made_up = Lease { revision: 7, value: Some(Bytes::from_static(b"me")) };
        for other in [held(7, "you"), Lease { revision: 7, value: None }, made_up] {
            assert_eq!(found(&other, "me"), Found::Lost, "{other:?}");
        }
    }
}
