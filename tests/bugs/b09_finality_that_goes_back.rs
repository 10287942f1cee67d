//! B09. One follower stopped permanently when an upstream's finalized height was lower than before;
//! another one stopped moving without any report.
//!
//! Here a lower finalized tip of the same chain is an outdated response and is ignored. A different
//! digest at a finalized height is a `FinalityConflict` with both blocks, kept as evidence; finalized
//! does not move, the other tiers continue, and the status is `Conflicted` until the source agrees
//! again.

use crate::{
    certified::{Endpoint, source},
    support::{Live, Steps, secs, simulate},
};
use tidewatch_core::{Conflict, FaultKind, Source as _, State, Tier};
use tidewatch_stream::driver;
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

#[test]
fn a_lower_finalized_tip_of_the_same_chain_is_an_old_answer() {
    let chain = Chain::new('a', 120);
    let mut steps = Steps::synced(&chain, [110, 0, 0, 100]);
    for height in (1..100).rev() {
        steps.source.stand(&chain, [110, 0, 0, height]);
        let pass = steps.pass();
        assert_eq!((pass.events.len(), pass.faults().len()), (0, 0), "finalized {height}");
    }
    steps.source.stand(&chain, [112, 0, 0, 98]);
    assert_eq!(steps.pass().events, ["blocks 111a-112a", "proposed 112a"], "and it goes on");
    steps.source.stand(&chain, [112, 0, 0, 101]);
    assert_eq!(steps.pass().events, ["finalized 101a/101"]);
}

/// A source that can detect the outdated response also counts it.
#[test]
fn a_certified_source_ignores_and_counts_an_older_finalization() {
    simulate(|context| async move {
        let chain = Chain::new('a', 100);
        let endpoint = Endpoint::new(&context, &chain, 100);
        let (source, _, _) = source(&context, endpoint.clone(), Default::default());
        let before = source.snapshot().await.unwrap().tips;
        assert_eq!(before.block(Tier::Finalized), Some(chain.at(100)));
        endpoint.stand(&chain, 98);
        assert_eq!(source.snapshot().await.unwrap().tips, before);
        assert_eq!(source.work().stale, 1);
    });
}

#[test]
fn another_digest_at_the_finalized_height_is_kept_with_both_sides_and_the_others_go_on() {
    let chain = Chain::new('a', 120);
    let foreign = chain.fork(100, 'b', 100);
    let mut steps = Steps::synced(&chain, [110, 0, 0, 100]);
    let tips = chain.tips([112, 111, 105, 0]).with(Tier::Finalized, foreign.checkpoint(100));
    steps.source.change(|world| world.tips = tips);
    let conflict = Conflict { ours: chain.at(100), theirs: foreign.at(100) };
    // Two blocks at one height would break the ladder and reject the snapshot; these tips do not.
    let pass = steps.pass();
    assert_eq!(pass.faults(), [FaultKind::FinalityConflict]);
    let fault = &pass.result.as_ref().unwrap().faults[0];
    assert_eq!(fault.conflict, Some(conflict));
    for side in [conflict.ours, conflict.theirs] {
        assert!(fault.to_string().contains(&side.to_string()), "{fault}");
    }
    assert_eq!(steps.view.evidence(), [conflict]);
    let went_on = ["blocks 111a-112a", "proposed 112a", "checkpointed 111a/111", "proven 105a/105"];
    assert_eq!(pass.events, went_on);
    assert_eq!(steps.view.stands().tips.block(Tier::Finalized), Some(chain.at(100)));
}

#[test]
fn a_follower_that_is_contradicted_says_so_and_is_neither_stopped_nor_silent() {
    simulate(|context| async move {
        let chain = Chain::new('a', 120);
        let source = ScriptedSource::new(&chain, [110, 0, 0, 100]);
        let live = Live::new(&context, &source, driver::Config::default());
        live.sleep(secs(3)).await;
        assert_eq!(live.recorder.state(), Some(State::Live));
        source.stand(&chain.fork(100, 'b', 112), [112, 0, 0, 100]);
        live.sleep(secs(10)).await;
        assert_eq!(live.recorder.state(), Some(State::Conflicted));
        assert!(live.recorder.kinds().len() >= 9, "said on every pass");
        assert_eq!(live.view.stands().tips.block(Tier::Finalized), Some(chain.at(100)));
        source.stand(&chain, [115, 0, 0, 105]);
        live.sleep(secs(3)).await;
        assert_eq!(live.recorder.state(), Some(State::Live));
        assert_eq!(live.view.stands().tips.block(Tier::Finalized), Some(chain.at(105)));
        live.stop().await;
    });
}
