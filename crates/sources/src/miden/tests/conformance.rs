//! The suite for sources.

use super::*;
use tidewatch_conformance::{self as conformance, Verdict, source_checks as name};

/// What a chain without reorgs cannot show, and a stage that does not say when a doorbell rings.
const NOT_SHOWN: [&str; 6] =
    [name::REORGANISED, name::REPLACED, name::SHORTER, name::LEFT, name::DOORBELL, name::BELLS];

fn examine(finalized: Finalized, length: u64, prepare: impl FnOnce(&Node) + Send + 'static) {
    run(move |context| async move {
        let mut node = Node::new(length);
        prepare(&node);
        let proves = finalized == Finalized::Proven;
        node.0.lock().proves_to_finalize = proves;
        let source = Arc::new(source(&context, node.clone(), finalized));
        let report = conformance::source(context.child("suite"), source, &mut node).await;
        report.assert();
        for check in report.checks() {
            let word = check.name == name::PROOF && finalized != Finalized::Committed;
            let finality = check.name == name::FINALITY && !proves;
            let shown = !NOT_SHOWN.contains(&check.name) && !word && !finality;
            assert_eq!(check.verdict == Verdict::Held, shown, "{report}");
        }
    });
}

#[test]
fn the_source_conforms_whatever_is_taken_for_final() {
    for finalized in [Finalized::Unknown, Finalized::Committed, Finalized::Proven] {
        examine(finalized, 20, |node| node.prove(4));
    }
}

#[test]
fn the_source_of_a_chain_of_genesis_alone_conforms() {
    examine(Finalized::Proven, 0, |_| {});
}

#[test]
fn the_source_of_a_node_that_gives_no_streams_conforms() {
    examine(Finalized::Proven, 20, |node| node.0.lock().streams = false);
}

#[test]
fn the_source_of_a_node_that_gives_fewer_blocks_than_were_asked_for_conforms() {
    for few in [1, 3] {
        examine(Finalized::Proven, 20, move |node| node.0.lock().few = few);
    }
}

#[test]
fn the_source_of_a_node_whose_ranges_are_too_large_an_answer_conforms() {
    examine(Finalized::Proven, 20, |node| node.0.lock().oversized_above = 3);
}
