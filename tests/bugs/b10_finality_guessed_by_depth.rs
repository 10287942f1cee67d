//! B10. Several clients call a block final once enough blocks are on top of it, and do not distinguish
//! that from a finality that a source has stated.
//!
//! Here a tier that the source does not report is unknown, and stays unknown however far the head is
//! above it. No setting turns a depth into a tier: all settings are listed below without a wildcard, so
//! that a new one does not compile until it has been reviewed here.

use crate::support::{ALL, SKIP, Steps, from};
use tidewatch_core::{Ladder, Tier};
use tidewatch_stream::{Mode, Start, driver};
use tidewatch_testkit::chain::Chain;

#[test]
fn without_a_statement_finalized_is_unknown_however_deep_a_block_lies() {
    let chain = Chain::new('a', 2_000);
    let tip = Mode::Blocks { start: Start::Tip, skip_finalized: true };
    for ladder in [Ladder::Rollup, Ladder::Certified] {
        for mode in [ALL, SKIP, from(900), tip, Mode::TipsOnly] {
            let mut steps = Steps::on(ladder, mode, &chain, [1_000, 0, 0, 0]);
            steps.source.change(|world| world.blocks_max = 1_000);
            steps.settle();
            for head in [1_001, 1_064, 2_000] {
                steps.source.stand(&chain, [head, 0, 0, 0]);
                steps.settle();
                let tips = steps.view.stands().tips;
                assert_eq!(tips.block(Tier::Proposed), Some(chain.at(head)), "{mode:?}");
                for tier in [Tier::Checkpointed, Tier::Proven, Tier::Finalized] {
                    assert_eq!(tips.get(tier), None, "{tier} in {mode:?}");
                }
            }
            assert!(!steps.view.words().iter().any(|event| event.contains("finalized")));
        }
    }
}

#[test]
fn no_setting_of_a_driver_speaks_of_depth() {
    let driver::Config {
        mode,
        poll: _,
        pace: _,
        backoff_max: _,
        deadline: _,
        // The lag at which the status changes; no tier depends on it.
        thresholds: _,
        mailbox_size: _,
    } = driver::Config::default();
    match mode {
        Mode::TipsOnly => {}
        // The start of block delivery; tiers are announced as the source reports them, regardless.
        Mode::Blocks { start, skip_finalized: true | false } => match start {
            Start::Genesis | Start::Height(_) | Start::Tip => {}
        },
    }
}
