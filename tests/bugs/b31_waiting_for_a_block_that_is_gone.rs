//! B31. A follower waited for a block whose parent had been reorged out. No node would ever send it,
//! nothing ended the wait, and only a restart helped.
//!
//! Here a pass waits for a range below the tip of that pass, and no longer than the deadline. The next
//! pass plans from the current tip, with no state left over.

use crate::support::{ALL, Live, millis, secs, simulate};
use tidewatch_core::{FaultKind, State};
use tidewatch_stream::driver;
use tidewatch_testkit::{
    chain::Chain,
    source::{Answer, Kind, ScriptedSource},
    words::watermarks_words,
};

fn config() -> driver::Config {
    driver::Config { mode: ALL, deadline: secs(5), ..driver::Config::default() }
}

#[test]
fn a_wait_for_a_block_that_is_gone_ends_by_the_deadline_and_is_planned_anew() {
    simulate(|context| async move {
        let chain = Chain::new('a', 11);
        let source = ScriptedSource::new(&chain, [11, 0, 0, 0]);
        let live = Live::new(&context, &source, config());
        live.sleep(secs(2)).await;
        // The parent of block 12 is 11a; during the request 11 is replaced, and no response arrives.
        source.stand(&chain.fork(12, 'a', 12), [12, 0, 0, 0]);
        source.answer(Kind::Blocks, 1, Answer::Hang);
        source.ring();
        live.sleep(millis(100)).await;
        source.stand(&chain.fork(11, 'b', 13), [13, 0, 0, 0]);
        live.sleep(config().deadline + config().poll + millis(100)).await;
        assert_eq!(live.recorder.kinds(), [FaultKind::Timeout]);
        assert_eq!(watermarks_words(&live.view.stands()), "13b: 13b - - -");
        assert_eq!(live.recorder.state(), Some(State::Live));
        live.stop().await;
    });
}

/// Whatever the driver was doing when the chain moved, and however often: once the source is stable, the
/// driver converges within a poll interval and a back-off.
#[test]
fn however_often_the_ground_moves_it_arrives_once_the_source_rests() {
    simulate(|context| async move {
        for kind in [Kind::Snapshot, Kind::Digests, Kind::Blocks] {
            let chain = Chain::new('a', 11);
            let source = ScriptedSource::new(&chain, [11, 0, 0, 5]);
            let live = Live::new(&context, &source, config());
            live.sleep(secs(2)).await;
            for (turn, fork) in ('b'..='k').enumerate() {
                let at = 7 + turn as u64 % 5;
                let next = chain.fork(at, fork, 12 + turn as u64 % 3);
                let tip = next.tip();
                source.stand(&next, [tip, 0, 0, 5]);
                source.answer(
                    kind,
                    1,
                    if turn % 2 == 0 { Answer::Hang } else { Answer::Fault(FaultKind::Missing) },
                );
                source.ring();
                live.sleep(millis(1_700)).await;
            }
            let last = chain.fork(9, 'z', 12);
            source.stand(&last, [12, 0, 0, 6]);
            live.sleep(config().deadline + secs(60)).await;
            assert_eq!(watermarks_words(&live.view.stands()), "12z: 12z - - 6a/6", "{kind:?}");
            assert_eq!(live.recorder.state(), Some(State::Live));
            live.stop().await;
        }
    });
}
