//! B29. Near the tip two blocks alternated many times a second; every change was passed on, and in the
//! end the follower reported that it had to be restarted.
//!
//! Here passes poll the source at their own pace, and changes between two passes are not observed. After
//! three returns to a block that was dropped the view stays where it is and says `flapping`; where the
//! source settles is taken in a while later.

use crate::support::{Live, millis, secs, simulate};
use tidewatch_core::{Event, FaultKind, Tier};
use tidewatch_stream::driver;
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

#[test]
fn a_tip_that_flaps_a_hundred_times_a_second_makes_one_reorg_an_interval() {
    simulate(|context| async move {
        let (a, b) = (Chain::new('a', 10), Chain::new('a', 10).fork(10, 'b', 10));
        let source = ScriptedSource::new(&a, [10, 0, 0, 8]);
        let config = driver::Config { pace: secs(1), ..driver::Config::default() };
        let live = Live::new(&context, &source, config);
        live.sleep(millis(100)).await;
        for turn in 0..1_000 {
            source.stand(if turn % 2 == 0 { &b } else { &a }, [10, 0, 0, 8]);
            source.ring();
            let _ = live.mailbox.ring();
            live.sleep(millis(10)).await;
        }
        let prunes =
            live.view.events().iter().filter(|e| matches!(e, Event::Pruned { .. })).count();
        assert!((1..=4).contains(&prunes), "{prunes} in ten seconds");
        assert!(live.passes() <= 12, "{} passes in ten seconds", live.passes());
        source.stand(&b, [10, 0, 0, 8]);
        live.sleep(secs(80)).await;
        assert_eq!(live.view.stands().tips.block(Tier::Proposed), Some(b.at(10)));
        assert!(live.recorder.kinds().iter().all(|kind| *kind == FaultKind::Flapping));
        live.stop().await;
    });
}

#[test]
fn what_is_told_of_it_does_not_grow() {
    simulate(|context| async move {
        let (a, b) = (Chain::new('a', 10), Chain::new('a', 10).fork(10, 'b', 10));
        let source = ScriptedSource::new(&a, [10, 0, 0, 8]);
        let config = driver::Config { pace: millis(10), ..driver::Config::default() };
        let live = Live::new(&context, &source, config);
        live.sleep(millis(100)).await;
        for turn in 0..2_000 {
            source.stand(if turn % 2 == 0 { &b } else { &a }, [10, 0, 0, 8]);
            source.ring();
            live.sleep(millis(11)).await;
        }
        assert!(live.view.events().len() <= 16, "{:?}", live.view.words());
        assert!(live.recorder.kinds().contains(&FaultKind::Flapping));
        live.stop().await;
    });
}
