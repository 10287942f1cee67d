//! Tests over a scripted node, in memory and over sockets, and over what a real one answered.

mod conformance;
mod cost;
mod hostile;
mod node;
mod pushed;
mod recorded;
mod served;

use super::*;
use crate::rpc::Streams;
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use node::Node;
use std::{future::Future, time::Duration};
use tidewatch_core::{BlockRef, Height, Source as _, Tier};

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(3_600)).start(test);
}

/// A source over one node.
fn source<R: Streams>(
    context: &deterministic::Context,
    node: R,
    finalized: Finalized,
) -> MidenSource<deterministic::Context, R> {
    let (context, config) = (context.child("source"), Config::default());
    MidenSource::new(context, vec![node], finalized, Arc::new(()), &config).unwrap()
}

#[test]
fn the_tiers_are_what_the_node_calls_committed_and_proven_and_the_address_final() {
    run(|context| async move {
        let node = Node::new(9);
        node.prove(4);
        let table = [
            (Finalized::Unknown, None),
            (Finalized::Committed, Some(9)),
            (Finalized::Proven, Some(4)),
        ];
        for (finalized, height) in table {
            let source = source(&context, node.clone(), finalized);
            let snapshot = source.snapshot().await.unwrap();
            assert_eq!(snapshot.tips.block(Tier::Proposed), Some(node.at(9)));
            assert_eq!(snapshot.tips.block(Tier::Checkpointed), None);
            assert_eq!(snapshot.tips.block(Tier::Proven), Some(node.at(4)));
            let finalized = height.map(|height| node.at(height));
            assert_eq!(snapshot.tips.block(Tier::Finalized), finalized);
            // What the validator signed has a proof; what is proven is the node's word.
            let proven = [Tier::Proven, Tier::Finalized].map(|tier| snapshot.proofs.get(tier));
            assert_eq!(proven[0], None);
            assert_eq!(proven[1].is_some(), height == Some(9));
            assert_eq!(snapshot.time_ms, Some((recorded::TIME + 9 * 3) * 1_000));
            assert!(source.name().contains("proven is the node's word"), "{}", source.name());
        }
    });
}

#[test]
fn addresses_of_one_chain_say_the_same_about_what_is_final() {
    run(|context| async move {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let open = |addresses: &[Address]| {
            super::open(context.child("x"), addresses, Arc::new(()), &Config::default()).map(drop)
        };
        let ours = address("miden+http://127.0.0.1:1?finalized=proven");
        open(&[ours.clone(), address("miden+http://127.0.0.1:2?finalized=proven")]).unwrap();
        let fault = open(&[ours, address("miden+http://127.0.0.1:2")]).unwrap_err();
        assert_eq!(fault.kind, tidewatch_core::FaultKind::InvalidConfig);
    });
}

#[test]
fn every_block_is_given_and_none_is_above_the_tip() {
    run(|context| async move {
        let node = Node::new(600);
        let source = source(&context, node.clone(), Finalized::Unknown);
        let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
        let mut from = Height::new(1);
        while from <= tip.height {
            let blocks = source.blocks(tip, from).await.unwrap();
            assert!(!blocks.is_empty(), "{from}");
            for block in blocks {
                assert_eq!(tidewatch_core::Block::reference(&block), node.at(from.get()));
                from = from.next();
            }
        }
        assert_eq!(source.blocks(tip, from).await.unwrap(), []);
        let never = BlockRef::new(Height::new(u64::MAX - 2), tidewatch_core::Digest([9; 32]));
        assert_eq!(source.blocks(never, Height::new(u64::MAX - 3)).await.unwrap(), []);
    });
}
