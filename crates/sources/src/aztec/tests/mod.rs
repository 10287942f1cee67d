//! Tests over a scripted node, and over what a real one answered.

mod conformance;
mod cost;
mod hostile;
mod names;
mod node;
mod recorded;
mod values;

use super::*;
use crate::rpc::Rpc;
use commonware_runtime::{Runner as _, Spawner as _, Supervisor as _, deterministic};
use node::Node;
use std::{future::Future, num::NonZeroUsize, time::Duration};
use tidewatch_core::{BlockRef, ChainId, Height, Source as _, Tier};

fn run<F: Future<Output = ()>>(test: impl FnOnce(deterministic::Context) -> F) {
    deterministic::Runner::timed(Duration::from_secs(3_600)).start(test);
}

/// A source over one node.
fn source<R: Rpc>(
    context: &deterministic::Context,
    node: R,
) -> AztecSource<deterministic::Context, R> {
    with_batches(context, node, Config::default().batch_max.get())
}

/// A source over one node, which is sent `batch_max` calls at once at the most.
fn with_batches<R: Rpc>(
    context: &deterministic::Context,
    node: R,
    batch_max: usize,
) -> AztecSource<deterministic::Context, R> {
    let config = Config { batch_max: NonZeroUsize::new(batch_max).unwrap(), ..Config::default() };
    AztecSource::new(context.child("source"), vec![node], Arc::new(()), &config).unwrap()
}

/// A source of the scripted node that has taken a snapshot.
async fn ready(
    context: &deterministic::Context,
    node: &Node,
) -> (AztecSource<deterministic::Context, Node>, BlockRef) {
    let source = source(context, node.clone());
    let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
    assert_eq!(tip, node.tip());
    (source, tip)
}

#[test]
fn an_address_is_of_a_node_over_http_and_is_shown_without_its_secrets() {
    let known = endpoint("aztec+https://alice:hunter2@node.example:8080/4711").unwrap();
    assert_eq!(known.to_string(), "aztec+https://node.example:8080");
    for text in ["http://host:1", "aztec+ws://host:1", "eth+http://host:1", "aztec+http://"] {
        assert!(endpoint(text).is_err(), "{text}");
    }
}

#[test]
fn every_block_is_given_however_little_is_to_be_remembered() {
    run(|context| async move {
        let node = Node::new(170);
        let config = Config { recent_max: NonZeroUsize::MIN, ..Config::default() };
        let source = AztecSource::new(context.child("source"), vec![node], Arc::new(()), &config);
        let source = source.unwrap();
        let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
        // The second time, as much is remembered of the chain as there is room for.
        for round in 1..=2 {
            let mut from = Height::new(1);
            while from <= tip.height {
                let blocks = source.blocks(tip, from).await.unwrap();
                assert!(!blocks.is_empty(), "round {round} at {from}");
                from = Height::new(from.get() + blocks.len() as u64);
            }
        }
    });
}
