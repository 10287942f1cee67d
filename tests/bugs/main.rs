//! Regression tests for bugs that other followers had, one file for each.
//!
//! `README.md` lists the entries and their coverage. Tests that need sockets are in `network.rs`.
// The futures of a certified follower, a driver in it and a pass in that nest deep.
#![recursion_limit = "256"]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod certified;
mod support;

mod b01_a_tier_copied_into_another;
mod b02_a_tier_for_a_block_not_given;
mod b03_tiers_of_two_moments;
mod b05_only_finality_moved;
mod b06_a_queue_that_lost_the_middle;
mod b07_a_prune_that_left_a_tier_above;
mod b09_finality_that_goes_back;
mod b10_finality_guessed_by_depth;
mod b11_zero_taken_for_unknown;
mod b13_a_field_that_goes_back_in_silence;
mod b14_acknowledged_by_number;
mod b15_a_swap_at_one_height;
mod b17_parts_of_two_chains;
mod b18_a_body_of_another_block;
mod b19_a_view_taken_for_a_height;
mod b21_stuck_on_a_block_that_is_gone;
mod b22_a_lagging_node_taken_for_a_reorg;
mod b23_a_reorg_seen_across_a_gap;
mod b25_a_prune_below_the_start;
mod b26_another_genesis;
mod b27_a_checkpoint_lost_by_a_prune;
mod b29_a_tip_that_flaps;
mod b30_a_cached_tip;
mod b31_waiting_for_a_block_that_is_gone;
mod b33_a_chain_that_became_shorter;
mod b34_a_fork_deeper_than_the_window;
mod b35_a_block_lost_between_catch_up_and_subscription;
mod b37_only_the_last_head_of_a_batch_is_announced;
mod b38_messages_that_come_out_of_order;
mod b39_the_head_runs_ahead_of_a_gap;
mod b41_a_slow_subscriber_is_skipped_in_silence;
mod b42_one_bad_frame_costs_the_connection;
mod b43_a_subscription_that_hangs_without_an_error;
mod b45_two_readers_steal_from_each_other;
mod b46_a_replay_after_a_reconnection;
mod b47_acknowledged_before_it_was_durable;
mod b49_a_floor_above_what_was_acknowledged;
mod b50_an_anchor_that_was_superseded;
mod b51_off_by_one_at_the_floor;
mod b53_a_malformed_archive;
mod b54_a_restart_that_the_saved_head_made_impossible;
mod b55_position_and_data_saved_apart;
mod b57_a_store_of_another_chain_or_state;
mod b58_a_missed_wake_up;
mod b59_the_start_overwrote_what_was_stored;
mod b61_a_quorum_chosen_by_the_certificate;
mod b63_a_boundary_that_is_not_there;
mod b65_an_invalid_frame_panics_the_process;
mod b67_an_honest_laggard_looks_like_an_attacker;
mod b71_a_laggard_that_says_it_is_synced;
mod b73_a_failed_sync_counted_as_done;
mod b74_ready_before_the_data_is_there;
mod b75_a_dropped_handle_and_a_long_catch_up;
mod b77_a_request_without_a_deadline;
mod b78_a_load_balancer_in_front_of_nodes_at_different_heights;
mod b79_an_error_stored_as_an_empty_answer;
mod b81_all_followers_come_back_at_once;
mod b82_gives_up_for_ever_or_never;
mod b83_every_bad_cursor_gets_the_same_answer;
mod b85_nobody_checks_that_a_stream_is_whole;
mod b86_one_failed_request_ends_the_actor;
mod b87_sending_to_somebody_who_left;
mod b89_a_slow_disk_and_backfill_delay_the_tip;
mod b90_a_callback_that_panics;
mod b91_a_task_or_a_socket_leaks_per_bad_frame;
