//! A checker has failed once: with one rule switched off, the right one objects.
//!
//! `cargo test -p tidewatch-prover --features mutants --lib mutants`

use crate::{
    disk::tests::crash::a_crash_between_any_two_changes_that_loses_what_was_not_synced_is_recovered as crash,
    epochs::{
        manager::tests::crashes::a_crash_at_any_change_of_the_disk_loses_no_proof_and_publishes_nothing_twice as lives,
        tests::{pieces, publishing, walk},
    },
    plan::tests::{failures, order},
    proven::tests::proven_does_not_pass_the_tier_above_it as bound,
    scheduler::tests::worlds::the_invariants_hold_in_random_worlds as worlds,
};
use std::panic::catch_unwind;
use tidewatch_core::Rule;

#[test]
fn with_one_rule_switched_off_its_checker_objects() {
    let rules: [(Rule, fn()); 13] = [
        (Rule::VerifiedFirst, worlds),
        (Rule::InOrder, worlds),
        (Rule::HeadFirst, order::attempts_start_at_the_lowest_block_and_fill_the_slots),
        (Rule::Fenced, failures::a_report_of_an_attempt_that_is_over_changes_nothing),
        (Rule::InputsFirst, crash),
        (Rule::ProofFirst, crash),
        (Rule::ProvenBound, bound),
        (
            Rule::WholeEpochs,
            walk::epochs_that_are_proven_or_past_their_deadline_are_skipped_as_a_whole,
        ),
        (
            Rule::PruneClamp,
            walk::a_prune_takes_the_cursor_to_before_its_checkpoint_or_changes_nothing,
        ),
        (
            Rule::Ticker,
            walk::the_ticker_sweeps_on_time_when_nothing_else_happens_and_after_the_clock_jumped,
        ),
        (Rule::Superseded, publishing::a_range_is_superseded_only_once_the_longer_one_has_landed),
        (
            Rule::Gapless,
            pieces::ranges_are_joined_only_without_a_gap_and_an_overlap_is_seen_at_both_edges,
        ),
        (Rule::LookedUp, lives),
    ];
    let mut silent = Vec::new();
    for (rule, checker) in &rules {
        let _off = rule.off();
        if catch_unwind(checker).is_ok() {
            silent.push(*rule);
        }
    }
    assert_eq!(silent, [], "switched off, and nobody objects");
}
