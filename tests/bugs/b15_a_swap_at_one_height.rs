//! B15. A block that replaced another one at the same height was not detected, because only heights
//! were compared.
//!
//! Here two tips are equal only if their digests are. A swap at one height is a reorg of depth one, and
//! the next pass detects it.

use crate::support::{Live, Steps, millis, secs, simulate};
use tidewatch_stream::{Mode, driver};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

#[test]
fn a_swap_at_the_tip_is_a_reorg_of_one_block_within_one_poll() {
    simulate(|context| async move {
        let chain = Chain::new('a', 10);
        let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
        let config = driver::Config::default();
        let poll = config.poll;
        let live = Live::new(&context, &source, config);
        live.sleep(secs(5)).await;
        let before = live.view.words().len();
        source.stand(&chain.fork(10, 'b', 10), [10, 0, 0, 0]); // No doorbell rings.
        live.sleep(poll + millis(10)).await;
        let swap = ["prune 9a: 1 dropped, 9a - - -", "blocks 10b-10b", "proposed 10b"];
        assert_eq!(live.view.words()[before..], swap);
        live.stop().await;
    });
}

#[test]
fn a_swap_is_seen_without_blocks_too() {
    let chain = Chain::new('a', 10);
    let mut steps = Steps::on(tidewatch_core::Ladder::Rollup, Mode::TipsOnly, &chain, [9, 0, 0, 0]);
    steps.settle();
    steps.source.stand(&chain, [10, 0, 0, 0]);
    steps.settle();
    steps.source.stand(&chain.fork(10, 'b', 10), [10, 0, 0, 0]);
    let events = ["prune 9a: 0 dropped, 9a - - -", "proposed 10b"];
    assert_eq!(steps.pass().events, events);
}
