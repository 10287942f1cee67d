//! B29. Near the tip two blocks alternated many times a second; every change was passed on, and in the
//! end the follower reported that it had to be restarted.
//!
//! Here passes poll the source at their own pace. Changes between two passes are not observed, the
//! final state is correct, and the retained history is bounded.

use crate::support::{Both, Live, millis, secs, simulate};
use commonware_utils::{NZU64, NZUsize};
use tidewatch_core::{Event, EventLog as _, LogError, Tier};
use tidewatch_sim::scripted::{chain::Chain, source::ScriptedSource};
use tidewatch_store::Memory;
use tidewatch_stream::driver;

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
        assert!((1..=11).contains(&prunes), "{prunes} in ten seconds");
        assert!(live.passes() <= 12, "{} passes in ten seconds", live.passes());
        source.stand(&b, [10, 0, 0, 8]);
        live.sleep(secs(2)).await;
        assert_eq!(live.view.stands().tips.block(Tier::Proposed), Some(b.at(10)));
        assert!(live.recorder.kinds().is_empty(), "nothing had to be restarted");
        live.stop().await;
    });
}

#[test]
fn what_is_kept_of_it_does_not_grow() {
    simulate(|context| async move {
        let (a, b) = (Chain::new('a', 10), Chain::new('a', 10).fork(10, 'b', 10));
        let source = ScriptedSource::new(&a, [10, 0, 0, 8]);
        let store = Both::from(Memory::with_retention(a.chain_info(), NZU64!(64)));
        let log = store.clone();
        let config = driver::Config { pace: millis(10), ..driver::Config::default() };
        let live = Live::on(&context, &source, store, config);
        for turn in 0..2_000 {
            source.stand(if turn % 2 == 0 { &b } else { &a }, [10, 0, 0, 8]);
            source.ring();
            live.sleep(millis(11)).await;
        }
        let Err(LogError::TooOld { oldest, .. }) = log.read(0, NZUsize!(1)).await else {
            panic!("everything was kept");
        };
        let kept = log.read(oldest, NZUsize!(1_000)).await.unwrap();
        assert!(oldest > 3_000 && kept.len() <= 64, "{} of {oldest}", kept.len());
        let watermarks = log.watermarks().unwrap();
        assert_eq!(watermarks.tips.block(Tier::Proposed), Some(a.at(10)), "the last turn was a's");
        live.stop().await;
    });
}
