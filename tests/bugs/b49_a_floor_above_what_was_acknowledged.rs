//! B49. A floor was raised too early. Blocks below it that had not been delivered were dropped
//! permanently, and no restart could repair that.
//!
//! Here the floor is a consumer's durable position. Only the consumer's own acknowledgement moves it,
//! up to the end of the acknowledged batch, and a position beyond the end of the history is rejected.

use crate::support::{Sink, grow, hand_over, memory, secs, simulate};
use commonware_runtime::Clock as _;
use commonware_utils::NZUsize;
use tidewatch_core::{Ack, Cursor, FaultKind, Positions as _, Record, TipSet, Watermarks};
use tidewatch_stream::delivery::Config;
use tidewatch_testkit::chain::Chain;

#[test]
fn a_position_above_the_history_is_refused_and_the_old_one_stays() {
    simulate(|_| async move {
        let chain = Chain::new('a', 20);
        let mut log = memory(chain.chain_info());
        grow(&mut log, &chain, 1..=4).await;
        let watermarks = Watermarks { delivered: Some(chain.at(20)), tips: TipSet::unknown() };
        let above = Cursor::new(&chain.chain_info().id, 20, &watermarks, &[]);
        let refused = log.store("bridge", &above).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::Bug);
        assert_eq!(log.load("bridge").await.unwrap(), None);
    });
}

#[test]
fn the_floor_is_never_above_the_lowest_event_that_was_not_acknowledged() {
    simulate(|context| async move {
        let chain = Chain::new('a', 200);
        let mut log = memory(chain.chain_info());
        grow(&mut log, &chain, 1..=10).await;
        let config = || Config { batch_max: NZUsize!(2), ..Config::default() };
        // It handles events 0 to 5, and fails to handle 6 and 7.
        let picky = |records: &[Record]| match records[0].sequence() {
            0..6 => Ok(Ack::Durable),
            _ => Err(FaultKind::Consumer.fault("picky", "cannot")),
        };
        let sink = Sink::with("bridge", picky);
        let (taken, stopper, handle) = hand_over(&context, log.clone(), sink, (), config());
        for height in 11..=200 {
            grow(&mut log, &chain, height..=height).await;
            context.sleep(secs(1)).await;
            let floor = log.load("bridge").await.unwrap().unwrap();
            assert_eq!(floor.handled(), 6, "although there are {height} events");
        }
        assert_eq!(taken.sequences(), [0, 1, 2, 3, 4, 5]);
        stopper.stop();
        handle.await.unwrap().unwrap();

        let (taken, _, _) = hand_over(&context, log.clone(), Sink::new("bridge"), (), config());
        context.sleep(secs(1)).await;
        assert_eq!(taken.sequences(), (6..200).collect::<Vec<_>>(), "nothing was dropped");
    });
}
