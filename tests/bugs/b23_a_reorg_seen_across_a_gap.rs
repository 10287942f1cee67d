//! B23. After a gap in the backfill the next live block was compared with the last one before the gap.
//! The two did not link, which was treated as a reorg, and caches were wiped.
//!
//! Here only a digest that differs at one height establishes a reorg, never a block that cannot be
//! linked because blocks in between are missing. Until the gap is filled nothing moves.

use crate::{
    certified::{Endpoint, Followed, push},
    support::{SKIP, Steps, millis, secs, simulate},
};
use commonware_runtime::Clock as _;
use tidewatch_certified::Key;
use tidewatch_core::{Event, FaultKind, Ladder};
use tidewatch_stream::driver;
use tidewatch_testkit::{
    chain::Chain,
    source::{Answer, Kind},
};

/// A view at 10, of a source at 21.
fn at_ten() -> (Chain, Steps) {
    let chain = Chain::new('a', 21);
    let steps = Steps::synced(&chain, [10, 0, 0, 0]);
    steps.source.change(|world| world.blocks_max = 20);
    steps.source.stand(&chain, [21, 0, 0, 0]);
    (chain, steps)
}

#[test]
fn a_gap_that_is_not_filled_yet_moves_nothing_and_drops_nothing() {
    let (chain, mut steps) = at_ten();
    let answers =
        [(Vec::new(), FaultKind::Missing), (chain.range(21, 21), FaultKind::WrongPosition)];
    for (answer, kind) in answers {
        steps.source.answer(Kind::Blocks, 1, Answer::Blocks(answer));
        let pass = steps.pass();
        assert_eq!((pass.fault(), pass.events.len()), (Some(kind), 0));
        assert_eq!(steps.stands(), "10a: 10a - - -");
    }
    assert_eq!(steps.pass().events, ["blocks 11a-21a", "proposed 21a"]);
}

#[test]
fn however_far_the_gap_is_filled_the_tip_waits_for_the_rest() {
    for filled in 11..=20 {
        let (chain, mut steps) = at_ten();
        steps.source.answer(Kind::Blocks, 1, Answer::Blocks(chain.range(11, filled)));
        steps.source.answer(Kind::Blocks, 2, Answer::Blocks(Vec::new()));
        let pass = steps.pass();
        assert_eq!(pass.fault(), Some(FaultKind::Missing));
        assert_eq!(pass.events, [format!("blocks 11a-{filled}a")]);
        let rest = [format!("blocks {}a-21a", filled + 1), "proposed 21a".into()];
        assert_eq!(steps.pass().events, rest);
    }
}

/// A deliberate gap: blocks below finality were skipped. The blocks after it are compared with the known
/// ones, which are not taken for a fork because they are below the gap.
#[test]
fn a_gap_of_skipped_blocks_is_no_reorg() {
    let chain = Chain::new('a', 60);
    let mut steps = Steps::on(Ladder::Rollup, SKIP, &chain, [10, 0, 0, 5]);
    steps.settle();
    steps.source.stand(&chain, [41, 0, 0, 40]);
    let pass = steps.pass();
    assert_eq!(pass.events, ["blocks 40a-41a", "proposed 41a", "finalized 40a/40"]);
}

#[test]
fn a_live_certificate_above_a_gap_waits_until_the_endpoint_has_what_lies_between() {
    simulate(|context| async move {
        let chain = Chain::new('a', 21);
        let endpoint = Endpoint::new(&context, &chain, 10);
        let followed = Followed::start(&context, endpoint.clone(), driver::Config::default()).await;
        context.sleep(secs(5)).await;
        let before = followed.view.words();
        endpoint.trouble(|key| {
            matches!(key, Key::Height(_) | Key::Digest(_)).then_some(FaultKind::Unavailable)
        });
        endpoint.stand(&chain, 21);
        endpoint.push(&Ok(push(&chain, 21)));
        context.sleep(secs(10)).await;
        assert_eq!(followed.view.words(), before, "no event across the gap");
        endpoint.trouble(|_| None);
        context.sleep(secs(30) + millis(500)).await;
        let came = ["blocks 11a-21a", "proposed 21a", "finalized 21a"];
        assert_eq!(followed.view.words()[before.len()..], came);
        assert!(!followed.view.events().iter().any(|e| matches!(e, Event::Pruned { .. })));
        followed.mailbox.stop();
        followed.driver.await.unwrap().unwrap();
        followed.upstream.abort();
    });
}
