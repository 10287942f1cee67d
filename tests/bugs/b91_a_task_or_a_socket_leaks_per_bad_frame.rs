//! B91. A task that read pushes outlived its owner, and every frame that did not decode leaked a
//! socket.
//!
//! Here one actor owns at most one connection, and drops it before it opens the next. After an hour
//! with a bad frame every second there is one task and one socket, as in the first minute.

use crate::{
    certified::{Endpoint, Followed, finalization},
    support::{millis, secs, simulate},
};
use commonware_runtime::{Clock as _, telemetry::metrics::count_running_tasks};
use tidewatch_certified::Push;
use tidewatch_core::FaultKind;
use tidewatch_stream::driver::Config;
use tidewatch_testkit::chain::Chain;

#[test]
fn an_undecodable_frame_every_second_for_an_hour_leaks_nothing() {
    simulate(|context| async move {
        let chain = Chain::new('a', 9);
        let endpoint = Endpoint::new(&context, &chain, 9);
        let followed = Followed::start(&context, endpoint.clone(), Config::default()).await;
        context.sleep(secs(1)).await;
        let labels = ["certified", "driver"];
        let running = || labels.map(|label| count_running_tasks(&context, label));
        let before = running();
        assert!(before.iter().all(|tasks| *tasks > 0));
        let frame = Push::Finalization(finalization(&chain, 9).slice(1..));
        for _ in 0..3_600 {
            endpoint.push(&Ok(frame.clone()));
            context.sleep(secs(1)).await;
            assert!(endpoint.open().0 <= 1);
            assert_eq!(running(), before);
        }
        assert_eq!(endpoint.open().1, 1, "never two at once");
        let work = followed.source.work();
        assert!(work.refusals[FaultKind::Malformed.as_str()] > 1_000, "{work:?}");
        // A connection that delivers only bad frames is closed, and the next one backs off.
        assert!(endpoint.listened().len() < 400, "{} connections", endpoint.listened().len());
        assert_eq!(followed.delivered(), Some(9));

        followed.upstream.abort();
        followed.mailbox.stop();
        drop(followed.source);
        context.sleep(millis(10)).await;
        assert_eq!((running(), endpoint.open().0), ([0, 0], 0), "and nothing outlives them");
    });
}
