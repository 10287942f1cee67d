//! Checks of single answers: chain info, snapshots and digests.

use super::exam::{Exam, Look, digest_words, lowest, tip, tips_words};
use crate::report::Flaw;
use commonware_runtime::Clock;
use tidewatch_core::{Height, Source, Tier};

/// Snapshots that are compared with each other.
const SNAPSHOTS: usize = 5;

/// Digests that are asked for at once, at the most, whatever the source's limit is.
const DIGESTS: usize = 1024;

impl<E: Clock, S: Source> Exam<'_, E, S> {
    pub(super) async fn identity_stays(&self) -> Look {
        let first = self.chain_info().await?;
        let again = self.chain_info().await?;
        if first != again {
            return Err(Flaw::broken(format_args!("{first:?} at first, then {again:?}")));
        }
        Ok(())
    }

    pub(super) async fn genesis_is_at_0(&self) -> Look {
        let genesis = self.chain_info().await?.genesis;
        if genesis.height != Height::zero() {
            return Err(Flaw::broken(format_args!("its genesis is {genesis}")));
        }
        self.steady(async |snapshot| {
            let Some(tip) = snapshot.tips.block(Tier::Proposed) else {
                return Err(Flaw::not_shown("the source knows no proposed tip"));
            };
            match self.digests(tip, &[0]).await?.first().copied().flatten() {
                Some(digest) if digest == genesis.digest => Ok(()),
                Some(digest) => Err(Flaw::broken(format_args!(
                    "its genesis is {genesis}, at 0 it has {digest}"
                ))),
                None => Err(Flaw::not_shown("it does not know its block at height 0")),
            }
        })
        .await
    }

    pub(super) async fn ladder_is_kept(&self) -> Look {
        let snapshot = self.snapshot().await?;
        snapshot.tips.check(self.source.ladder()).map_err(Flaw::broken)
    }

    pub(super) async fn proofs_are_of_tips(&self) -> Look {
        let snapshot = self.snapshot().await?;
        let mut proofs = 0;
        for tier in Tier::ALL {
            let Some(proof) = snapshot.proofs.get(tier) else { continue };
            proofs += 1;
            if Some(proof.block) != snapshot.tips.block(tier) {
                let (proves, tips) = (proof.block, tips_words(&snapshot.tips));
                return Err(Flaw::broken(format_args!(
                    "its {tier} proof proves {proves} in a snapshot of {tips}"
                )));
            }
        }
        if proofs == 0 { Err(Flaw::not_shown("its snapshots have no proof")) } else { Ok(()) }
    }

    pub(super) async fn snapshots_are_same(&self) -> Look {
        let first = self.snapshot().await?;
        for _ in 1..SNAPSHOTS {
            let again = self.snapshot().await?;
            if first.tips.same_blocks(&again.tips) {
                continue;
            }
            if !self.still {
                return Err(Flaw::not_shown("the chain does not stand still"));
            }
            let (first, again) = (tips_words(&first.tips), tips_words(&again.tips));
            return Err(Flaw::broken(format_args!("{first} at first, then {again}")));
        }
        Ok(())
    }

    pub(super) async fn tiers_are_on_chain(&self) -> Look {
        self.steady(async |snapshot| {
            let tips: Vec<_> = Tier::ALL
                .into_iter()
                .filter_map(|tier| Some((tier, snapshot.tips.block(tier)?)))
                .collect();
            if tips.is_empty() {
                return Err(Flaw::not_shown("the source knows no tier"));
            }
            let Some(proposed) = snapshot.tips.block(Tier::Proposed) else {
                return Err(Flaw::not_shown("the source knows no proposed tip"));
            };
            let heights: Vec<_> = tips.iter().map(|(_, tip)| tip.height.get()).collect();
            let digests = self.digests_of(proposed, &heights).await?;
            for ((tier, tip), digest) in tips.into_iter().zip(digests) {
                if digest != Some(tip.digest) {
                    let found = digest_words(digest);
                    return Err(Flaw::broken(format_args!(
                        "its {tier} tip is {tip}, on its chain there is {found}"
                    )));
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn digests_are_in_order(&self) -> Look {
        self.steady(async |snapshot| {
            let tip = tip(snapshot)?;
            let (top, low) = (tip.height.get(), lowest(tip));
            let mut heights = vec![low, top, (low + top) / 2, top, low, top - 1];
            heights.truncate(self.source.limits().digests_max.get());
            let together = self.digests(tip, &heights).await?;
            for (height, digest) in heights.iter().zip(together) {
                let alone = self.digests(tip, &[*height]).await?[0];
                if alone != digest {
                    let (there, alone) = (digest_words(digest), digest_words(alone));
                    return Err(Flaw::broken(format_args!(
                        "asked for {heights:?}, it has {there} at {height}; asked for that alone, \
                         {alone}"
                    )));
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn digests_up_to_limit(&self) -> Look {
        let max = self.source.limits().digests_max.get();
        self.steady(async |snapshot| {
            let tip = tip(snapshot)?;
            let below = (lowest(tip)..=tip.height.get()).rev().cycle();
            let heights: Vec<_> = below.take(max.min(DIGESTS)).collect();
            let digests = self.digests(tip, &heights).await?;
            if digests[0] == Some(tip.digest) {
                return Ok(());
            }
            let first = digest_words(digests[0]);
            Err(Flaw::broken(format_args!(
                "of {} digests, the one at the tip {tip} is {first}",
                heights.len()
            )))
        })
        .await
    }

    pub(super) async fn nothing_is_above(&self) -> Look {
        self.steady(async |snapshot| {
            let tip = tip(snapshot)?;
            let top = tip.height.get();
            for height in [top + 1, top + 1000, u64::MAX] {
                if let Some(digest) = self.digests(tip, &[height]).await?[0] {
                    return Err(Flaw::broken(format_args!(
                        "its tip is {tip}, and it has {digest} at {height}"
                    )));
                }
                // A fault says as clearly that there is no block.
                let blocks = self.source.blocks(tip, Height::new(height)).await;
                if blocks.is_ok_and(|blocks| !blocks.is_empty()) {
                    return Err(Flaw::broken(format_args!(
                        "its tip is {tip}, and it has blocks from {height}"
                    )));
                }
            }
            Ok(())
        })
        .await
    }
}
