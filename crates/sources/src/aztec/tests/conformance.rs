//! The suite for sources.

use super::*;
use serde_json::Value;
use tidewatch_conformance::{self as conformance, Verdict, source_checks as name};

/// What a chain without proofs, and a node without pushes, cannot show.
const NOT_SHOWN: [&str; 3] = [name::PROOF, name::DOORBELL, name::BELLS];

fn examine(length: u64, batch_max: usize, prepare: impl FnOnce(&Node) + Send + 'static) {
    run(move |context| async move {
        let mut node = Node::new(length);
        prepare(&node);
        let source = Arc::new(with_batches(&context, node.clone(), batch_max));
        let report = conformance::source(context.child("suite"), source, &mut node).await;
        report.assert();
        for check in report.checks() {
            let shown = !NOT_SHOWN.contains(&check.name);
            assert_eq!(check.verdict == Verdict::Held, shown, "{report}");
        }
    });
}

#[test]
fn the_source_conforms() {
    examine(20, 100, |node| node.settle([16, 12, 4]));
}

#[test]
fn the_source_of_a_chain_of_genesis_alone_conforms() {
    examine(0, 100, |_| {});
}

#[test]
fn the_source_of_a_node_that_gives_three_blocks_at_once_conforms() {
    examine(20, 100, |node| {
        node.settle([16, 12, 4]);
        node.world.lock().limit = 3;
    });
}

#[test]
fn the_source_of_a_node_whose_blocks_are_so_large_that_each_is_an_answer_conforms() {
    examine(20, 100, |node| {
        node.settle([16, 12, 4]);
        node.world.lock().oversized_above = Some(1);
    });
}

#[test]
fn the_source_of_a_node_that_takes_no_batches_conforms() {
    examine(20, 1, |node| node.settle([16, 12, 4]));
}

#[test]
fn the_source_of_a_node_that_gives_fewer_blocks_than_were_asked_for_conforms() {
    for few in [1, 3] {
        examine(20, 100, move |node| {
            node.settle([16, 12, 4]);
            let few =
                move |_: &[_], blocks: &mut Value| blocks.as_array_mut().unwrap().truncate(few);
            node.edit("node_getBlocks", few);
        });
    }
}
