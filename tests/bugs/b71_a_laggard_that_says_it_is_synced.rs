//! B71. A follower that was 200 blocks behind reported that it was synced, because the number that it
//! compared with moved only when it imported a block itself. It went on to build on an old head.
//!
//! Here lag is measured against the newest tip that the source has reported, and `Live` also requires
//! recent contact: without it the state is `Blind`, whatever the last state was.

use crate::support::{Live, secs, simulate};
use tidewatch_core::{FaultKind, Height, State, Status};
use tidewatch_stream::driver::Config;
use tidewatch_testkit::{
    chain::Chain,
    source::{Answer, Kind, ScriptedSource},
};

#[test]
fn with_1000_seen_and_800_applied_the_lag_is_200_and_the_state_is_not_live() {
    simulate(|context| async move {
        let chain = Chain::new('a', 1_000);
        let source = ScriptedSource::new(&chain, [800, 0, 0, 0]);
        let live = Live::new(&context, &source, Config::default());
        live.sleep(secs(2)).await;
        assert_eq!(live.recorder.state(), Some(State::Live));

        source.stand(&chain, [1_000, 0, 0, 0]);
        source.answer(Kind::Blocks, 1, Answer::Hang);
        live.sleep(secs(10)).await;
        let status = live.recorder.status().unwrap();
        assert_eq!((status.lag, status.source_height), (200, Some(Height::new(1_000))));
        assert_eq!(status.state, State::CatchingUp);

        // The state stays the same until the blocks are delivered, although passes fail meanwhile.
        live.sleep(secs(49)).await;
        let wrong = |status: &Status| status.state == State::Live && status.lag > 2;
        let told = live.recorder.statuses();
        assert!(told.iter().all(|(_, status)| !wrong(status)), "{told:?}");
        assert_ne!(live.recorder.state(), Some(State::Live));
        live.sleep(secs(10)).await;
        assert_eq!(live.recorder.state(), Some(State::Live), "at last");
        assert_eq!(live.recorder.status().unwrap().lag, 0);
        live.stop().await;
    });
}

#[test]
fn without_contact_it_is_blind_and_never_live() {
    simulate(|context| async move {
        let chain = Chain::new('a', 10);
        let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
        let config = Config::default();
        let limit = config.thresholds.contact;
        let live = Live::new(&context, &source, config);
        live.sleep(secs(2)).await;
        assert_eq!(live.recorder.state(), Some(State::Live));
        source.chaos(Some(Box::new(|_, _| Some(FaultKind::Unreachable))));
        live.sleep(limit + secs(1)).await;
        let from = live.recorder.statuses().len();
        for _ in 0..60 {
            live.sleep(secs(10)).await;
            assert_eq!(live.recorder.state(), Some(State::Blind));
        }
        let told = live.recorder.statuses().split_off(from);
        assert!(told.iter().all(|(_, status)| status.state == State::Blind));
        live.stop().await;
    });
}
