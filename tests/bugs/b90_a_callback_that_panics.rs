//! B90. A user's callback panicked, and took the whole process with it.
//!
//! Here a consumer's panic is a failure of that consumer: it is counted and reported, and the same
//! events are delivered again. Other consumers are not affected.

use crate::support::{Live, Sink, hand_over, secs, simulate};
use commonware_runtime::Metrics as _;
use futures::FutureExt as _;
use tidewatch_core::{Ack, FaultKind};
use tidewatch_stream::{delivery, driver::Config};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

#[test]
fn a_consumer_that_panics_once_is_given_the_same_events_again_and_others_are_unaffected() {
    simulate(|context| async move {
        let chain = Chain::new('a', 30);
        let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
        let mut live = Live::new(&context, &source, Config::default());
        let mut panicked = false;
        let panics = Sink::with("panics", move |records| {
            let last = records.last().unwrap().watermarks.delivered.unwrap();
            if last.height.get() == 15 && !std::mem::replace(&mut panicked, true) {
                panic!("as told");
            }
            Ok(Ack::Durable)
        });
        let log = live.view.log().clone();
        let config = delivery::Config::default;
        let one = hand_over(&context, log.clone(), panics, live.recorder.clone(), config());
        let other = hand_over(&context, log, Sink::new("other"), (), config());
        for height in 11..=30 {
            source.stand(&chain, [height, 0, 0, 0]);
            live.sleep(secs(2)).await;
            assert_eq!(other.0.records().len(), live.view.events().len(), "at {height}");
        }
        assert_eq!(live.recorder.kinds(), [FaultKind::Consumer]);
        assert_eq!(one.0.words(), live.view.words(), "everything, once");
        let offered = one.0.offered();
        let again = offered.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(again, 1, "the batch that it panicked over came twice");
        let failures: Vec<_> = context
            .encode()
            .lines()
            .filter(|line| line.starts_with("delivery_failures_total"))
            .map(|line| (line.contains("panics"), line.ends_with(" 1")))
            .collect();
        assert_eq!(failures.len(), 2);
        assert!(failures.iter().all(|(panics, counted)| panics == counted), "{failures:?}");
        assert!((&mut live.handle).now_or_never().is_none());
        assert!(one.2.now_or_never().is_none() && other.2.now_or_never().is_none());
        live.stop().await;
    });
}
