//! With one rule disabled at a time, the test of that rule fails.
//!
//! The simulator's worlds have no marshal: what they cannot see is seen by tests of this crate, which are
//! deterministic too.

use super::{crashes, driver, start};
use crate::epochs::tests::{durable, pin};
use std::panic::catch_unwind;
use tidewatch_core::Rule;

fn is_seen(rule: Rule, by: fn()) {
    by();
    let _off = rule.off();
    assert!(catch_unwind(by).is_err(), "the test passes without {rule:?}");
}

fn lives() {
    (0..24).for_each(|seed| crashes::killed(seed, false));
}

#[test]
fn a_boundary_that_is_acknowledged_before_it_is_durable_is_seen_by_a_crash() {
    is_seen(Rule::BoundaryFirst, lives);
}

#[test]
fn a_boundary_that_nobody_keeps_and_that_is_acknowledged_is_seen() {
    is_seen(Rule::BoundaryFirst, driver::a_boundary_that_is_not_durable_is_never_acknowledged);
}

#[test]
fn a_floor_that_skips_what_nobody_else_brings_is_seen() {
    is_seen(Rule::NoSkip, driver::a_fresh_follower_delivers_everything_over_every_epoch);
}

#[test]
fn blocks_that_were_lost_and_not_delivered_again_are_seen() {
    is_seen(Rule::Durable, start::what_is_lost_between_two_lives_is_healed);
}

#[test]
fn lost_blocks_are_seen_by_a_crash_too() {
    is_seen(Rule::Durable, lives);
}

#[test]
fn trust_that_does_not_age_is_seen() {
    is_seen(Rule::TrustAge, durable::what_was_known_too_long_ago_is_refused_with_its_age);
}

#[test]
fn a_pin_that_does_not_age_is_seen() {
    is_seen(Rule::TrustAge, pin::a_pinned_block_is_as_old_as_its_own_time_says);
}
