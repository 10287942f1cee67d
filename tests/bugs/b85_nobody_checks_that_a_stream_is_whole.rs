//! B85. Clients accepted messages without checking that each continued where the last one had ended,
//! and there were no statistics on the usual depth of reorgs.
//!
//! Here a record carries the position after it, which counts events: a client that keeps the last
//! position can check that the next record follows it. The library that does so for a remote client
//! comes with the server; here an in-process consumer is checked over a series of reorgs, whose depths
//! are counted in a histogram.

use crate::support::{Live, Sink, hand_over, secs, simulate};
use commonware_runtime::Metrics as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidewatch_core::{Ack, Cursor, Event, Watermarks};
use tidewatch_stream::{delivery, driver::Config};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource};

#[test]
fn every_record_goes_on_where_the_one_before_it_ended_and_depths_are_counted() {
    for seed in 0..5 {
        simulate(|context| async move {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut chain = Chain::new('a', 20);
            let source = ScriptedSource::new(&chain, [20, 0, 0, 5]);
            let live = Live::new(&context, &source, Config::default());
            let (mut last, mut watermarks) = (0, Watermarks::none());
            let sink = Sink::with("client", move |records| {
                for record in records {
                    // What any client can check with the text of a cursor.
                    let cursor: Cursor = record.cursor.to_string().parse().unwrap();
                    assert_eq!(cursor.handled(), last + 1, "the one before it is missing");
                    watermarks.apply(&record.event);
                    assert!(cursor.stands_at(&watermarks), "the replay law");
                    last = cursor.handled();
                }
                Ok(Ack::Durable)
            });
            let log = live.view.log().clone();
            let (taken, _, _) =
                hand_over(&context, log, sink, live.recorder.clone(), delivery::Config::default());
            for nth in 0..200_u64 {
                let at = chain.tip() + 1 - rng.random_range(0..10).min(chain.tip() - 6);
                chain = chain.fork(at, char::from(b'b' + (nth % 20) as u8), at + 5);
                source.stand(&chain, [chain.tip(), 0, 0, 5]);
                live.sleep(secs(2)).await;
            }
            assert!(live.recorder.kinds().is_empty(), "{:?}", live.recorder.faults());
            assert_eq!(taken.records().len(), live.view.events().len());
            let depths: Vec<_> = live
                .view
                .events()
                .iter()
                .filter_map(|event| match event {
                    Event::Pruned { depth, .. } => Some(*depth),
                    _ => None,
                })
                .collect();
            assert!(depths.len() > 100);
            let text = context.encode();
            let shallow = depths.iter().filter(|depth| **depth <= 4).count();
            for line in [
                format!("driver_prune_depth_blocks_count {}", depths.len()),
                format!("driver_prune_depth_blocks_sum {}.0", depths.iter().sum::<u64>()),
                format!("driver_prune_depth_blocks_bucket{{le=\"4.0\"}} {shallow}"),
            ] {
                assert!(text.contains(&line), "{line} is not in\n{text}");
            }
            live.stop().await;
        });
    }
}
