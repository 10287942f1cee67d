//! B74. Readiness was reported before the promised data was in the cache, and the first request after
//! it failed.
//!
//! Here a request for a pass is completed when that pass has ended, which is after its commit. The
//! results can be read at once, without a call to the source.

use crate::support::{Live, open, simulate};
use futures::FutureExt as _;
use tidewatch_core::{Archive as _, Block as _, Tier};
use tidewatch_stream::{Ended, driver::Config};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

#[test]
fn once_a_request_is_answered_the_tip_and_its_block_are_there() {
    simulate(|context| async move {
        let chain = Chain::new('a', 250);
        let source = ScriptedSource::new(&chain, [1, 0, 0, 0]);
        let opened = open(&context, &chain.chain_info()).await.unwrap();
        let store = opened.clone();
        let live = Live::on(&context, &source, opened, Config::default());
        live.settle().await;
        for tip in (10..=250).step_by(24) {
            source.stand(&chain, [tip, 0, 0, tip - 5]);
            assert_eq!(live.mailbox.sync().await.unwrap(), Ended::Complete);
            let calls = source.calls().len();
            let watermarks = store.watermarks().unwrap();
            assert_eq!(watermarks.tips.block(Tier::Proposed), Some(chain.at(tip)));
            assert_eq!(watermarks.tips.block(Tier::Finalized), Some(chain.at(tip - 5)));
            for wanted in [chain.at(tip), chain.at(tip - 5)] {
                let block = store.block(wanted).now_or_never().expect("at once").unwrap();
                assert_eq!(block.reference(), wanted);
            }
            assert_eq!(source.calls().len(), calls);
        }
        live.stop().await;
    });
}
