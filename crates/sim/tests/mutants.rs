//! Proves that every checker can fail: with one rule of the follower disabled, worlds run until a
//! checker reports a violation, which must be the checker of that rule.
//!
//! The worlds are determined by their seeds, so each of these tests is deterministic.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test prints the seed, and fails if no checker detects the disabled rule"
)]

use std::{collections::BTreeSet, time::Duration};
use tidewatch_core::{Ladder, Rule};
use tidewatch_sim::{
    watch::{Rules, all},
    world::run,
};
use tidewatch_stream::Thresholds;

/// Number of worlds within which a disabled rule must be detected.
const SEEDS: u64 = 500;

/// Runs worlds without `rule` until a checker reports a violation.
fn is_seen(rule: Rule, by: &str) {
    let _off = rule.off();
    for seed in 0..SEEDS {
        if let Some(violation) = run(seed, false).violation {
            println!("{rule:?}: {} at seed {seed}: {}", violation.checker, violation.detail);
            assert_eq!(violation.checker, by, "{rule:?} at seed {seed}: {violation:#?}");
            return;
        }
    }
    panic!("no checker detected within {SEEDS} worlds that {rule:?} is disabled");
}

/// Rules of parts that no world has: a test of their own crate detects each.
const BY_A_TEST: &str = "the tests of its crate";

/// One test for each rule, and the checker that detects it. A rule without a line does not compile.
macro_rules! mutants {
    ($($test:ident: $rule:ident => $by:literal,)*) => {
        $(#[test]
        fn $test() {
            is_seen(Rule::$rule, $by);
        })*

        const SEEN_BY: &[&str] = &[$($by),*];

        const _: fn(Rule) -> &'static str = |rule| match rule {
            $(Rule::$rule => $by,)*
            // `tidewatch-certified`, around a marshal.
            Rule::TrustAge | Rule::BoundaryFirst | Rule::NoSkip | Rule::Durable => BY_A_TEST,
            // `tidewatch-execution`.
            Rule::PutAside | Rule::LayerFloor => BY_A_TEST,
            // `tidewatch-prover`.
            Rule::HeadFirst
            | Rule::Fenced
            | Rule::VerifiedFirst
            | Rule::InOrder
            | Rule::InputsFirst
            | Rule::ProofFirst
            | Rule::ProvenBound
            | Rule::WholeEpochs
            | Rule::PruneClamp
            | Rule::Ticker
            | Rule::Superseded
            | Rule::Gapless
            | Rule::LookedUp => BY_A_TEST,
        };
    };
}

mutants! {
    blocks_that_do_not_link_are_seen: ParentLink => "linked",
    a_tier_of_another_chain_is_seen: OwnChain => "liveness",
    a_tier_above_a_prune_is_seen: Clamp => "given",
    a_prune_after_one_look_is_seen: SecondLook => "looks",
    evidence_of_one_answer_is_seen: Confirm => "looks",
    a_source_that_is_followed_to_and_fro_is_seen: Flapping => "flapping",
    a_node_that_knows_nothing_yet_is_seen: NoTip => "status",
    a_tier_that_waits_for_an_unknown_one_is_seen: Unknown => "liveness",
    a_tip_from_the_future_that_is_called_fresh_is_seen: TipAhead => "status",
    an_upstream_that_is_of_no_use_and_kept_is_seen: Judged => "liveness",
    a_commit_that_hangs_while_it_is_live_is_seen: Awaited => "status",
    a_fork_that_is_taken_for_our_chain_is_seen: Digest => "liveness",
    a_prune_on_a_missing_answer_is_seen: Missing => "faults",
    a_prune_below_what_is_finalized_is_seen: Floor => "given",
    a_follower_that_believes_what_cannot_be_is_seen: Order => "status",
    tiers_out_of_order_are_seen: Ladder => "ladder",
    finalized_that_moves_back_is_seen: Finality => "finality",
    a_tier_that_moves_back_in_silence_is_seen: Back => "regressions",
    a_prune_that_hides_where_proposed_stands_is_seen: Baseline => "announced",
    a_certificate_that_does_not_verify_is_seen: Certificate => "ancestry",
    an_epoch_that_nobody_fetches_is_seen: Walk => "liveness",
    a_second_finalization_that_is_not_told_is_seen: Contradiction => "contradiction",
    a_certificate_that_is_checked_again_is_seen: CheckedOnce => "certificates",
    a_follower_that_one_lie_ends_is_seen: OtherGenesis => "faults",
    a_search_for_what_is_known_is_seen: ParentTells => "cost",
    a_question_that_is_too_long_is_seen: Question => "budget",
    a_doorbell_that_nobody_hears_is_seen: Doorbell => "wakes",
    an_answer_from_before_the_question_is_seen: Requery => "wakes",
    a_follower_that_waits_for_a_reason_is_seen: Poll => "wakes",
    a_call_that_lasts_for_ever_is_seen: Deadline => "deadlines",
    a_follower_that_calls_itself_live_while_it_lags_is_seen: Lag => "status",
    a_conflict_that_is_not_told_is_seen: Conflicted => "status",
    an_actor_that_does_not_end_is_seen: Stop => "leaks",
    a_position_that_nobody_said_is_durable_is_seen: DurableAck => "acknowledged",
    events_that_a_consumer_never_took_in_are_seen: Again => "delivery",
    a_history_with_a_hole_is_seen: NoHole => "delivery",
    a_position_that_is_judged_by_its_count_is_seen: ByBlocks => "bridges",
    a_bridge_with_a_step_that_breaks_the_ladder_is_seen: Steps => "bridges",
    a_bridge_over_blocks_that_are_gone_is_seen: Held => "bridges",
    a_position_that_does_not_wait_is_seen: Ahead => "faults",
    a_position_that_a_crash_loses_is_seen: PositionSynced => "acknowledged",
    events_that_a_crash_loses_are_seen: EventsSynced => "durability",
    blocks_that_a_crash_loses_are_seen: PayloadFirst => "durability",
    a_restart_that_begins_elsewhere_is_seen: LastEvent => "replay",
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
fn with_every_rule_on_nobody_objects() {
    for seed in 0..20 {
        let violation = run(seed, false).violation;
        assert!(violation.is_none(), "seed {seed}: {violation:#?}");
    }
}
