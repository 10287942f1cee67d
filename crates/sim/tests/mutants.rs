//! Proves that every checker can fail: with one part of the follower wrong, a checker reports a violation, which must
//! be the checker of that flaw, and it alone.
//!
//! The worlds are determined by their seeds, so each of these tests is deterministic.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test prints the seed, and fails if no checker detects the flaw"
)]

use std::{collections::BTreeSet, time::Duration};
use tidewatch_core::Ladder;
use tidewatch_sim::{
    flaw::Flaw,
    watch::{Rules, all},
    world::{run, run_flawed},
};
use tidewatch_stream::Thresholds;

/// Number of worlds within which a flaw must be detected.
const SEEDS: u64 = 100;

/// Runs worlds with `flaw` until a checker reports a violation.
fn is_seen(flaw: Flaw, by: &str) {
    for seed in 0..SEEDS {
        if let Some(violation) = run_flawed(seed, flaw).violation {
            println!("{flaw:?}: {} at seed {seed}: {}", violation.checker, violation.detail);
            assert_eq!(violation.checker, by, "{flaw:?} at seed {seed}: {violation:#?}");
            assert!(violation.also.is_empty(), "{flaw:?} at seed {seed}: {violation:#?}");
            return;
        }
    }
    panic!("no checker detected {flaw:?} within {SEEDS} worlds");
}

/// One test for each flaw, and the checker that detects it. A flaw without a line does not compile.
macro_rules! mutants {
    ($($test:ident: $flaw:ident => $by:literal,)*) => {
        $(#[test]
        fn $test() {
            is_seen(Flaw::$flaw, $by);
        })*

        const SEEN_BY: &[&str] = &[$($by),*];

        const _: fn(Flaw) -> &'static str = |flaw| match flaw {
            $(Flaw::$flaw => $by,)*
        };
    };
}

mutants! {
    a_view_that_is_not_where_its_events_lead_is_seen: ForgottenTip => "replay",
    what_a_crash_loses_is_seen: LostSync => "durability",
    an_event_that_is_another_later_is_seen: OtherEvent => "durability",
    tiers_out_of_order_are_seen: OrderOfTiers => "ladder",
    a_tier_of_another_chain_is_seen: OtherChain => "ancestry",
    finalized_that_moves_back_is_seen: FinalizedBack => "finality",
    a_tier_that_moves_back_in_silence_is_seen: NoRegress => "regressions",
    a_commit_of_nothing_is_seen: EmptyCommit => "given",
    a_prune_after_one_look_is_seen: OneLook => "looks",
    a_view_that_goes_to_and_fro_is_seen: BackAndForth => "flapping",
    a_prune_that_hides_where_proposed_stands_is_seen: SilentPrune => "announced",
    a_block_that_nobody_sent_is_seen: MadeUpBlock => "linked",
    a_history_with_a_hole_is_seen: SkippedEvent => "delivery",
    a_position_that_nobody_said_is_durable_is_seen: AcceptedIsDurable => "acknowledged",
    a_position_that_a_restart_loses_is_seen: PositionInMemory => "acknowledged",
    a_bridge_with_a_step_that_breaks_the_ladder_is_seen: BridgeInReverse => "bridges",
    a_question_that_is_too_long_is_seen: LongQuestion => "budget",
    a_certificate_that_nobody_sent_is_seen: MadeUpCertificate => "certificates",
    a_call_that_is_not_given_up_is_seen: CallWithoutEnd => "deadlines",
    a_follower_that_always_calls_itself_live_is_seen: AlwaysLive => "status",
    a_failure_that_is_called_a_bug_is_seen: OurFault => "faults",
    a_follower_that_takes_nothing_in_is_seen: NoBlocks => "liveness",
    a_doorbell_that_nobody_hears_is_seen: Deaf => "wakes",
    a_question_that_is_not_needed_is_seen: NeedlessQuestion => "cost",
    a_second_finalization_that_is_not_told_is_seen: Discreet => "contradiction",
    a_task_that_does_not_end_is_seen: LeftTask => "leaks",
}

/// Rules that only the runner of the world can check.
const BY_THE_WORLD: [&str; 5] = ["liveness", "wakes", "cost", "contradiction", "leaks"];

#[test]
fn every_checker_is_seen_to_fail() {
    let rules = Rules {
        ladder: Ladder::Rollup,
        blocks: true,
        certified: false,
        digests_max: 1,
        deadline: Duration::ZERO,
        wait: Duration::ZERO,
        thresholds: Thresholds::default(),
        steady: true,
    };
    let checkers = all(rules);
    let names = checkers.iter().map(|checker| checker.name()).chain(BY_THE_WORLD);
    let seen: BTreeSet<_> = SEEN_BY.iter().copied().collect();
    assert_eq!(seen, names.collect());
}

#[test]
fn without_a_flaw_nobody_objects() {
    for seed in 0..20 {
        let violation = run(seed, false).violation;
        assert!(violation.is_none(), "seed {seed}: {violation:#?}");
    }
}
