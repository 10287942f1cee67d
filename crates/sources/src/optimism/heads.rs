//! Which head of a rollup node stands for which tier.

use super::wire::{L2Ref, SyncStatus};
use std::str::FromStr;
use tidewatch_core::{BlockRef, CheckpointRef, Digest, Height, Tier, Tip, TipSet};

/// The head that is the proposed tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proposed {
    /// The newest block that the node was sent.
    #[default]
    Unsafe,
    /// The newest one whose messages from other chains are known to have been sent.
    CrossUnsafe,
}

/// The head that is the checkpointed tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checkpointed {
    /// The newest block that is derived from L1, with everything that it depends on.
    #[default]
    Safe,
    /// The newest one that is derived from L1.
    LocalSafe,
}

/// Which head of a rollup node stands for which tier. Finalized is always finalized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// The head that is the proposed tier.
    pub proposed: Proposed,
    /// The head that is the checkpointed tier.
    pub checkpointed: Checkpointed,
}

impl Proposed {
    /// What may be chosen, in words.
    pub(super) const CHOICE: &str = "unsafe (the default) or cross-unsafe";
}

impl Checkpointed {
    /// What may be chosen, in words.
    pub(super) const CHOICE: &str = "safe (the default) or local-safe";
}

impl FromStr for Proposed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "unsafe" => Ok(Self::Unsafe),
            "cross-unsafe" => Ok(Self::CrossUnsafe),
            _ => Err(()),
        }
    }
}

impl FromStr for Checkpointed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "safe" => Ok(Self::Safe),
            "local-safe" => Ok(Self::LocalSafe),
            _ => Err(()),
        }
    }
}

impl Heads {
    /// The head that is the proposed tier, if the node knows it.
    pub(super) fn proposed(self, status: &SyncStatus) -> Option<&L2Ref> {
        known(match self.proposed {
            Proposed::Unsafe => &status.unsafe_l2,
            Proposed::CrossUnsafe => &status.cross_unsafe_l2,
        })
    }

    /// The tiers of `status`, each from its own head and from no other.
    pub(super) fn tips(self, status: &SyncStatus) -> TipSet {
        let checkpointed = known(match self.checkpointed {
            Checkpointed::Safe => &status.safe_l2,
            Checkpointed::LocalSafe => &status.local_safe_l2,
        });
        let mut tips = TipSet::unknown();
        tips.set(Tier::Proposed, self.proposed(status).map(|head| head.block().into()));
        tips.set(Tier::Checkpointed, checkpointed.map(L2Ref::tip));
        tips.set(Tier::Finalized, known(&status.finalized_l2).map(L2Ref::tip));
        tips
    }
}

/// A reference that names a block: one whose hash is zero is what a node has yet to find out about.
fn known(head: &Option<L2Ref>) -> Option<&L2Ref> {
    head.as_ref().filter(|head| !head.hash.is_zero())
}

impl L2Ref {
    pub(super) fn block(&self) -> BlockRef {
        BlockRef::new(Height::new(self.number), Digest(self.hash.0))
    }

    /// The block with the L1 block that it was derived from.
    fn tip(&self) -> Tip {
        let origin = &self.l1origin;
        let checkpoint = (!origin.hash.is_zero())
            .then_some(CheckpointRef { number: origin.number, digest: Digest(origin.hash.0) });
        Tip { block: self.block(), checkpoint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimism::wire::L1Id;
    use alloy_primitives::B256;

    fn head(number: u64) -> Option<L2Ref> {
        let hash = |fill| B256::repeat_byte(fill);
        Some(L2Ref {
            hash: hash(number as u8 + 1),
            number,
            parent_hash: hash(number as u8),
            timestamp: 1_700_000_000 + number,
            l1origin: L1Id { hash: hash(200), number: number / 2 },
        })
    }

    fn status() -> SyncStatus {
        SyncStatus {
            unsafe_l2: head(90),
            cross_unsafe_l2: head(80),
            local_safe_l2: head(70),
            safe_l2: head(60),
            finalized_l2: head(50),
        }
    }

    const PROPOSED: [Proposed; 2] = [Proposed::Unsafe, Proposed::CrossUnsafe];
    const CHECKPOINTED: [Checkpointed; 2] = [Checkpointed::Safe, Checkpointed::LocalSafe];

    fn choices() -> impl Iterator<Item = Heads> {
        PROPOSED.into_iter().flat_map(|proposed| {
            CHECKPOINTED.into_iter().map(move |checkpointed| Heads { proposed, checkpointed })
        })
    }

    /// Every tier moves with its own head and with no other, whichever is moved, missing or zero.
    #[test]
    fn each_tier_is_its_own_head_whatever_becomes_of_the_others() {
        type Slot = fn(&mut SyncStatus) -> &mut Option<L2Ref>;
        type Stands = fn(Heads) -> Option<Tier>;
        let slots: [(Slot, Stands); 5] = [
            (|s| &mut s.unsafe_l2, |h| (h.proposed == PROPOSED[0]).then_some(Tier::Proposed)),
            (|s| &mut s.cross_unsafe_l2, |h| (h.proposed == PROPOSED[1]).then_some(Tier::Proposed)),
            (
                |s| &mut s.safe_l2,
                |h| (h.checkpointed == CHECKPOINTED[0]).then_some(Tier::Checkpointed),
            ),
            (
                |s| &mut s.local_safe_l2,
                |h| (h.checkpointed == CHECKPOINTED[1]).then_some(Tier::Checkpointed),
            ),
            (|s| &mut s.finalized_l2, |_| Some(Tier::Finalized)),
        ];
        let zero = Some(L2Ref::default());
        for heads in choices() {
            let before = heads.tips(&status());
            for (slot, tier) in slots {
                for value in [head(3), None, zero.clone()] {
                    let mut status = status();
                    slot(&mut status).clone_from(&value);
                    let after = heads.tips(&status);
                    for other in Tier::ALL {
                        if Some(other) == tier(heads) {
                            let want = value.as_ref().filter(|head| head.number == 3);
                            assert_eq!(after.block(other), want.map(L2Ref::block));
                        } else {
                            assert_eq!(after.get(other), before.get(other), "{heads:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn genesis_is_a_block_and_zero_is_none() {
        let genesis = L2Ref { hash: B256::repeat_byte(9), ..L2Ref::default() };
        let status = SyncStatus {
            unsafe_l2: Some(genesis.clone()),
            safe_l2: Some(L2Ref::default()),
            finalized_l2: Some(genesis.clone()),
            ..SyncStatus::default()
        };
        let tips = Heads::default().tips(&status);
        assert_eq!(tips.block(Tier::Proposed), Some(genesis.block()));
        assert_eq!(tips.get(Tier::Checkpointed), None);
        assert_eq!(tips.get(Tier::Finalized), Some(genesis.block().into()), "no origin is known");
    }

    #[test]
    fn the_checkpoint_is_the_block_of_l1() {
        let tips = Heads::default().tips(&status());
        let checkpoint = |tier| tips.get(tier).unwrap().checkpoint;
        let origin = |number| CheckpointRef { number, digest: Digest([200; 32]) };
        assert_eq!(checkpoint(Tier::Proposed), None);
        assert_eq!(checkpoint(Tier::Checkpointed), Some(origin(30)));
        assert_eq!(checkpoint(Tier::Finalized), Some(origin(25)));
        assert_eq!(tips.get(Tier::Proven), None);
    }
}
