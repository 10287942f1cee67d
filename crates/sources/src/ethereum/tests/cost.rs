//! What following costs, in requests.

use super::{Follower, scripted, simulate};
use crate::rpc::{Call, Config, Unanswered};
use commonware_runtime::Clock as _;
use commonware_utils::NZUsize;
use serde_json::value::RawValue;
use std::time::Duration;
use tidewatch_core::{FaultKind, Source as _};

#[test]
fn a_quiet_pass_is_one_request_and_so_is_a_new_block() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 40, &Config::default());
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        follower.assert_at(&node).await;
        assert_eq!(follower.pass().await, 1);
        for _ in 0..5 {
            node.change(|world| world.extend(1));
            assert_eq!(follower.pass().await, 1, "the snapshot brings the header");
            follower.assert_at(&node).await;
        }
        node.change(|world| world.extend(2));
        assert_eq!(follower.pass().await, 2);
        node.change(|world| (world.safe, world.finalized) = (Some(30), Some(20)));
        assert_eq!(follower.pass().await, 1);
        follower.assert_at(&node).await;
    });
}

#[test]
fn a_reorg_costs_no_more_than_a_search_for_where_it_began() {
    for depth in [1, 2, 3, 7, 40, 63, 64, 100, 1_000] {
        for blocks in [depth, depth + 1] {
            simulate(depth, |context| async move {
                let (node, source) = scripted(&context, 1_200, &Config::default());
                let batch = source.limits().blocks_max.get() as u64;
                let mut follower = Follower::start(source).await;
                follower.pass().await;
                node.change(|world| {
                    world.requests.clear();
                    world.reorg(depth, blocks);
                });
                let cost = follower.pass().await;
                follower.assert_at(&node).await;
                // Blocks that the search did not bring are caught up on.
                let search = u64::from(depth.next_power_of_two().ilog2()) + 3;
                let caught_up = if depth < 64 { 0 } else { blocks.div_ceil(batch) };
                assert!(
                    cost <= search + caught_up,
                    "{depth}, {blocks}: {:?}",
                    node.take_requests()
                );
            });
        }
    }
}

#[test]
fn catching_up_is_as_many_requests_as_batches_and_two() {
    for (blocks, batch_max) in [(1, 100), (99, 100), (1_000, 100), (1_000, 21), (300, 2)] {
        simulate(blocks, |context| async move {
            let batch_max = NZUsize!(batch_max);
            let config = Config { batch_max, ..Config::default() };
            let (node, source) = scripted(&context, blocks, &config);
            let (batch, lanes) = (batch_max.get() as u64, config.lanes.get() as u64);
            let range = source.limits().blocks_max.get() as u64;
            assert_eq!(range, batch - 1, "one call binds the others to the tip");
            let mut follower = Follower::start(source).await;
            let cost = follower.pass().await;
            follower.assert_at(&node).await;
            // Ranges of one batch, of two, and then of at least as many as may be on their way at once.
            let ranges = blocks.div_ceil(batch * lanes - 1) + 2;
            let requests = (blocks + ranges).div_ceil(batch) + 2;
            assert!(cost <= requests, "{blocks} by {batch}: {cost} requests");
        });
    }
}

#[test]
fn the_size_of_a_batch_is_learned_from_what_the_node_refuses() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 1_000, &Config::default());
        node.change(|world| world.batch_max = 30);
        let mut follower = Follower::start(source).await;
        let cost = follower.pass().await;
        follower.assert_at(&node).await;
        let batch = node.change(|world| world.batch_max as u64);
        let size = follower.source.limits().blocks_max.get();
        assert_eq!(size, 25 * 16 - 1, "100, 50, 25, four times four of them, less one");
        let sizes: Vec<_> = node.take_requests().iter().map(Vec::len).collect();
        let refused = sizes.iter().filter(|size| **size as u64 > batch).count();
        assert!(refused <= 8, "those that were on their way together: {sizes:?}");
        assert!(cost <= 1_000_u64.div_ceil(24) + 2 + refused as u64, "{cost} requests");
    });
}

#[test]
fn a_limit_that_was_raised_is_found_again() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 200, &Config::default());
        node.change(|world| world.batch_max = 60);
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        assert_eq!(follower.source.limits().blocks_max.get(), 50 * 16 - 1);
        node.change(|world| {
            world.batch_max = usize::MAX;
            world.extend(10_000);
        });
        follower.pass().await;
        assert_eq!(follower.source.limits().blocks_max.get(), 100 * 16 - 1);
    });
}

#[test]
fn a_node_without_old_blocks_is_asked_for_them_again_with_a_back_off_until_it_has_them() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 400, &Config::default());
        node.tamper(|calls, answers| {
            let missing = |call: &Call| {
                let height = call.params.first()?.as_str()?.strip_prefix("0x")?;
                u64::from_str_radix(height, 16).ok().filter(|height| (1..300).contains(height))
            };
            let answers = calls.iter().zip(answers).map(|(call, answer)| match missing(call) {
                Some(_) => Ok(RawValue::NULL.to_owned()),
                None => answer,
            });
            Ok(answers.collect())
        });
        let mut follower = Follower::start(source).await;
        let fault = follower.refused().await;
        let (found, mut looks) = (node.requests(), 0);
        for _ in 0..600 {
            context.sleep(Duration::from_secs(1)).await;
            assert_eq!(follower.refused().await, fault);
            looks += 1;
        }
        // After 5, 10, 20, ... seconds, one request each time.
        assert_eq!(node.requests(), found + looks + 6);
        node.change(|world| world.tamper = None);
        context.sleep(Duration::from_secs(300)).await;
        follower.pass().await;
        follower.assert_at(&node).await;
    });
}

#[test]
fn the_batches_of_a_range_are_on_their_way_at_once() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 1_000, &Config::default());
        node.change(|world| world.latency = Duration::from_secs(1));
        let began = context.current();
        let mut follower = Follower::start(source).await;
        assert_eq!(follower.pass().await, 12, "and one for the chain it is of");
        // That one, the tips, and ranges of 99, 199 and 702 blocks: one batch, two at once, and eight by four.
        let took = context.current().duration_since(began).unwrap();
        assert!(took < Duration::from_secs(7), "{took:?}");
    });
}

/// What follows is asked for once it is known how much the node takes, and how often.
#[test]
fn whoever_refuses_a_request_is_not_sent_the_rest_of_the_range() {
    simulate(0, |context| async move {
        let (node, source) = scripted(&context, 2_000, &Config::default());
        let mut follower = Follower::start(source).await;
        follower.pass().await;
        node.change(|world| {
            world.extend(1_600);
            world.latency = Duration::from_secs(1);
        });
        let asked = node.requests();
        node.tamper(|calls, tips| match calls.len() {
            0..=3 => Ok(tips),
            _ => {
                let fault = Box::new(FaultKind::Unavailable.fault("node", "slow down"));
                Err(Unanswered::Busy { fault, after: Some(Duration::from_secs(60)) })
            }
        });
        follower.refused().await;
        let lanes = Config::default().lanes.get();
        assert_eq!(node.requests(), asked + 1 + lanes, "the tips, and what was on its way at once");
    });
}
