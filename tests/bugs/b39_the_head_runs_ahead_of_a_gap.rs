//! B39. A live block moved the head while the blocks below it were still being fetched, and a query for
//! the available height returned that head.
//!
//! Here these are two values: the source's tip is in the status, with the lag; the delivered head and
//! every announced tier stay where there is no gap below.

use crate::support::{Live, secs, simulate};
use tidewatch_core::{Height, State, Tier};
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{
    chain::Chain,
    source::{Kind, ScriptedSource},
};

#[test]
fn with_a_gap_of_50_to_90_below_the_head_49_is_contiguous_until_it_is_filled() {
    simulate(|context| async move {
        let chain = Chain::new('a', 91);
        let source = ScriptedSource::new(&chain, [49, 0, 0, 0]);
        let live = Live::new(&context, &source, Config::default());
        live.sleep(secs(2)).await;
        assert_eq!(live.view.words().last().unwrap(), "proposed 49a");

        // The head arrives at once, the ranges of ten blocks below it one by one.
        let gates: Vec<_> = (1..=5).map(|nth| source.hold(Kind::Blocks, nth)).collect();
        source.stand(&chain, [91, 0, 0, 0]);
        source.ring();
        for (gate, contiguous) in gates.iter().zip([49, 59, 69, 79, 89]) {
            gate.entered().await;
            live.settle().await;
            let watermarks = live.view.stands();
            let status = live.recorder.status().unwrap();
            assert_eq!(watermarks.delivered, Some(chain.at(contiguous)));
            assert_eq!(watermarks.tips.block(Tier::Proposed), Some(chain.at(49)), "as announced");
            assert_eq!(status.source_height, Some(Height::new(91)));
            assert_eq!(status.lag, 91 - contiguous);
            // By the thresholds, a lag of two blocks is still live.
            assert_eq!(status.state == State::Live, status.lag <= 2, "{status:?}");
            gate.open();
        }
        live.settle().await;
        let watermarks = live.view.stands();
        assert_eq!(watermarks.delivered, Some(chain.at(91)));
        assert_eq!(watermarks.tips.block(Tier::Proposed), Some(chain.at(91)));
        assert_eq!(live.recorder.status().unwrap().lag, 0);
        live.stop().await;
    });
}
