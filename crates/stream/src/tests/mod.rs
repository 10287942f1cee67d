//! The pass, situation by situation.
//!
//! # Overview
//!
//! | file | holds |
//! |---|---|
//! | `chain`, `invariants`, `source`, `view`, `words` of `tidewatch_testkit`, and `follower` | the doubles: chains that link, a source that can be told what to do, a view that checks every event, events in words |
//! | `blocks`, `tips_only` | the published cases of a stream with and without blocks (`BS-*`) |
//! | `conflicts` | what contradicts finality, tiers that became unknown, sources that go to and fro |
//! | `gaps`, `situations` | the seven gaps, the extra cases (`X-*`), and sources that fail or lie |
//! | `small_worlds` | every decision in every small world |
//! | `interleavings` | every path through a small world of passes, and through one of a delivery: sources, commits, consumers and processes that move, fail and die between any two steps |
//!
//! The cases of the loop (`ED-*`, `RP-*`) are in the tests of the driver.
//!
//! # Situations
//!
//! Where each row of the field's situation table is proved:
//!
//! | situation | test |
//! |---|---|
//! | nothing changed | `blocks::a_quiet_pass_costs_one_call_and_says_nothing` |
//! | fresh store, source at N | `blocks::a_fresh_view_is_given_every_block_and_then_the_proposed_tip` |
//! | genesis differs | `situations::a_first_block_on_another_genesis_is_the_wrong_chain` |
//! | nothing for block 0 at the source | `situations::a_source_without_an_answer_for_genesis_is_not_another_network` |
//! | genesis differs, finalized above 0 | `gaps::gap_e_another_network_is_refused_whatever_is_finalized` |
//! | source shorter, same chain | `blocks::a_shorter_source_of_the_same_chain_is_pruned_to_without_a_search` |
//! | same height, other digest | `blocks::a_reorg_prunes_first_and_the_prune_says_where_all_tiers_stand` |
//! | digest unknown locally | `blocks::a_digest_that_the_view_lost_is_passed_over_never_taken_for_agreement` |
//! | digest unknown on both sides | `gaps::gap_g_a_source_below_everything_that_the_view_knows_is_pruned_to` |
//! | digest unknown at the source, below its tip | `gaps::gap_g_a_digest_missing_at_the_source_prunes_nothing` |
//! | a source read fails | `situations::a_call_that_fails_ends_the_pass_and_the_next_one_makes_up_for_it` |
//! | divergence below finalized | `gaps::gap_e_the_finalized_block_keeps_its_digest_and_every_pass_says_why` |
//! | proposed is finalized, and does not match | `gaps::gap_d_nothing_is_appended_to_a_finalized_block_that_the_source_contradicts` |
//! | source moves away during the download | `situations::what_arrived_before_the_source_moved_away_is_pruned_by_the_next_pass` |
//! | short range | `situations::a_short_range_is_accepted_and_the_next_one_starts_after_it` |
//! | tip swapped at its height during the download | `blocks::blocks_that_do_not_lead_to_the_tip_move_no_tier` |
//! | first block does not stand on the ancestor | `situations::digests_under_a_tip_that_the_source_left_are_refused_by_it_or_found_out_by_the_first_block` |
//! | a tip so high that nothing could follow it | `situations::a_tip_that_nothing_could_follow_is_refused` |
//! | tips shift during the search | `blocks::after_a_divergence_only_the_second_snapshot_counts` |
//! | proposed drops below the agreed height | `situations::whatever_the_second_snapshot_says_counts` |
//! | no header for the tip (here: no digest) | `tips_only::nothing_is_announced_while_the_source_cannot_say_which_chain_it_is_on` |
//! | handler throws | `blocks::a_view_that_fails_ends_the_pass_and_the_next_one_delivers_everything` |
//! | stopped in the middle | `driver::tests::ends::a_stop_in_the_middle_of_a_commit_completes_it_and_drops_the_rest` |
//! | a tier behind ours, no reorg | `situations::finalized_behind_ours_is_an_old_answer_and_other_tiers_move_back` |
//! | start above the source's tip | `blocks::a_start_above_the_source_gives_tiers_and_no_blocks` |
//! | start, and blocks were delivered before | `blocks::a_view_that_was_pruned_below_its_start_goes_on_from_the_prune` |
//! | skip finalized, a local digest is missing | `gaps::gap_g_a_view_with_holes_recovers_from_a_reorg_by_itself` |

mod blocks;
mod conflicts;
pub(crate) mod follower;
mod gaps;
mod interleavings;
mod situations;
mod small_worlds;
mod tips_only;

use tidewatch_store::{MemoryReader, MemoryWriter};
pub(crate) use tidewatch_testkit::{chain, invariants, source, words};

/// The store in memory, watched.
pub(crate) type Watched = tidewatch_testkit::view::Watched<
    MemoryWriter<chain::TestBlock>,
    MemoryReader<chain::TestBlock>,
>;
