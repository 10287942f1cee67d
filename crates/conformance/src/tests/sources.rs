//! Correct and flawed sources.

use super::{
    flawed::{Flawed, Wrong},
    simulate,
};
use crate::{Report, Still, Verdict, source, source_checks as name, told::Told};
use commonware_runtime::{Clock as _, Supervisor as _};
use futures::{
    future::{Either, select},
    pin_mut,
};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{FaultKind, Ladder};

/// A chain of 20 blocks, with every tier at a different height.
fn told(ladder: Ladder) -> Told {
    let mut told = Told::new(ladder);
    told.append(20);
    told.settle(match ladder {
        Ladder::Rollup => [16, 12, 4],
        Ladder::Certified => [3, 2, 4],
    });
    told
}

fn examine(seed: u64, ladder: Ladder, wrong: Wrong) -> Report {
    simulate(seed, |context| async move {
        let mut told = told(ladder);
        told.source.change(|world| world.careless = wrong == Wrong::Careless);
        let flawed = Flawed::new(&context, &told.source, wrong);
        source(context, flawed, &mut told).await
    })
}

#[test]
fn a_right_source_of_either_ladder_holds_in_every_check() {
    for ladder in [Ladder::Rollup, Ladder::Certified] {
        let report = examine(0, ladder, Wrong::Nothing);
        for check in report.checks() {
            assert_eq!(check.verdict, Verdict::Held, "{ladder:?}\n{report}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let examine = || examine(7, Ladder::Rollup, Wrong::Nothing);
    assert_eq!(examine(), examine());
}

#[test]
fn each_check_is_broken_by_a_source_that_is_wrong_in_what_it_is_about() {
    let table = [
        (Wrong::OtherIdentity, name::IDENTITY, "at first, then ChainInfo"),
        (Wrong::OtherGenesis, name::GENESIS, "its genesis is 0:7841ee78, at 0 it has 679abd39"),
        (
            Wrong::LadderBroken,
            name::LADDER,
            "finalized tip 21:07070707 is not below or at proven tip 12:",
        ),
        (
            Wrong::ProofOfAnother,
            name::PROOF,
            "its finalized proof proves 20:615dd740 in a snapshot of",
        ),
        (Wrong::Flickers, name::QUIET, "finalized 4:61005182 at first, then proposed 20:615dd740"),
        (
            Wrong::TierOffChain,
            name::TIERS,
            "its checkpointed tip is 1:07070707, on its chain there is 612e83bf",
        ),
        (Wrong::SortsDigests, name::ORDER, "it has 612e83bf at 20; asked for that alone, 615dd740"),
        (Wrong::OneDigestAtOnce, name::LIMIT, "it answered with a fault: flawed: one at a time"),
        (Wrong::DigestsAboveTip, name::ABOVE, "its tip is 20:615dd740, and it has 07070707 at 21"),
        (Wrong::BlocksAboveTip, name::ABOVE, "its tip is 20:615dd740, and it has blocks from 21"),
        (Wrong::SkipsABlock, name::LINKED, "block 3:617a25c3 where height 2 was asked for"),
        (
            Wrong::BlocksOfAnotherFork,
            name::AGREE,
            "its block is 1:786efb98, its digest there is 612e83bf",
        ),
        (Wrong::TooManyBlocks, name::AT_MOST, "20 blocks from 1, of 10 at the most"),
        (
            Wrong::StopsBelowTip,
            name::REACH,
            "its blocks end at 19:61297d27, its tip is 20:615dd740",
        ),
        (Wrong::Careless, name::OTHER, "which is none of its own, it gave 1:612e83bf"),
        (Wrong::StaysBusy, name::DROPPED, "it answered with a fault: flawed: still busy"),
        (Wrong::OneAtATime, name::TOGETHER, "it answered with a fault: flawed: one at a time"),
        (Wrong::DeafAfterOne, name::DOORBELL, "the next one heard nothing of a new block in 60s"),
        (Wrong::StealsRings, name::BELLS, "the second of two heard nothing of a new block in 60s"),
        (Wrong::NoBlocks, name::FOLLOWED, "the last pass ended with flawed: no block at 1"),
        (Wrong::Frozen, name::GROWTH, "Grow(1) of a chain at proposed 20:"),
        (Wrong::FinalityFrozen, name::FINALITY, "Finalize(1) of a chain at proposed 46:"),
        (Wrong::DigestsCached, name::REORGANISED, "Reorg(3, 5) of a chain at proposed 47:"),
        (Wrong::TipCachedByHeight, name::REPLACED, "Reorg(1, 1) of a chain at proposed 46:"),
        (Wrong::NeverShorter, name::SHORTER, "Reorg(2, 0) of a chain at proposed 49:"),
        (Wrong::FailsWhenTorn, name::MOVED, "before call 2 of a pass: the driver refused it"),
        (Wrong::ForgetsDigests, name::TIPS_ONLY, "no digest at 168, below its own tip 192:"),
        (Wrong::TierSways, name::BACK, "proven regressed to 4:"),
        (
            Wrong::OtherDigest,
            name::DELIVERED,
            "2:614de6fa was delivered, its chain now has 07070707 there",
        ),
        (Wrong::LadderSways, name::LAWFUL, "is not below or at"),
        (Wrong::AsksNeverQuiet, name::CHEAP, "of a chain that did not move"),
        (Wrong::Careless, name::LEFT, "which it left, it has"),
        (Wrong::Hangs, name::ENDS, "blocks from 21 under 20:615dd740: no answer in 60s"),
        (Wrong::Panics, name::PANICS, "panicked: as told"),
    ];
    for (wrong, check, seen) in table {
        let report = examine(0, Ladder::Rollup, wrong);
        match report.verdict(check) {
            Some(Verdict::Broken(detail)) if detail.contains(seen) => {}
            _ => panic!("{wrong:?}: {check}: not {seen:?}\n{report}"),
        }
    }
    let missing: Vec<_> = name::ALL
        .into_iter()
        .filter(|name| table.iter().all(|(_, check, _)| check != name))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_scripted_source_holds_in_every_check_that_needs_no_waiting() {
    let report = simulate(0, |context| async move {
        let mut told = told(Ladder::Rollup);
        source(context, Arc::new(told.source.clone()), &mut told).await
    });
    report.assert();
    let not_shown = report.checks().iter().filter(|check| check.verdict != Verdict::Held);
    let not_shown: Vec<_> = not_shown.map(|check| check.name).collect();
    // The scripted source has no proofs and returns immediately, so neither check can be shown.
    assert_eq!(not_shown, [name::PROOF, name::DROPPED], "{report}");
}

#[test]
fn a_chain_that_nobody_moves_is_examined_as_far_as_it_can_be() {
    let report = simulate(0, |context| async move {
        let told = told(Ladder::Rollup);
        source(context, Arc::new(told.source.clone()), &mut Still).await
    });
    report.assert();
    let not_shown = |name| matches!(report.verdict(name), Some(Verdict::NotShown(_)));
    for check in [name::GROWTH, name::REORGANISED, name::MOVED, name::DOORBELL, name::DROPPED] {
        assert!(not_shown(check), "{check}\n{report}");
    }
    for check in [name::FOLLOWED, name::DELIVERED, name::CHEAP, name::REACH] {
        assert_eq!(report.verdict(check), Some(&Verdict::Held), "{report}");
    }
}

#[test]
fn a_chain_that_moves_by_itself_is_not_blamed_for_it() {
    let report = simulate(0, |context| async move {
        let mut told = told(Ladder::Rollup);
        let flawed = Flawed::new(&context, &told.source, Wrong::Nothing);
        let clock = context.child("mover");
        let mover = async move {
            loop {
                clock.sleep(Duration::from_millis(17)).await;
                told.append(1);
            }
        };
        let mut nobody = ();
        let examined = source(context, flawed, &mut nobody);
        pin_mut!(examined, mover);
        match select(examined, mover).await {
            Either::Left((report, _)) => report,
            Either::Right(_) => unreachable!(),
        }
    });
    report.assert();
    assert_eq!(report.verdict(name::FOLLOWED), Some(&Verdict::Held), "{report}");
}

#[test]
fn a_source_that_only_ever_fails_is_reported() {
    let report = simulate(0, |context| async move {
        let told = told(Ladder::Rollup);
        told.source.chaos(Some(Box::new(|_, _| Some(FaultKind::Unreachable))));
        source(context, Arc::new(told.source.clone()), &mut Still).await
    });
    assert!(report.broken().count() > 10, "{report}");
}
