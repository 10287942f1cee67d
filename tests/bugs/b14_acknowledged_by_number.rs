//! B14. A consumer's position was stored as a number. After a reorg the blocks of the new chain had
//! numbers at or below it, and were considered done.
//!
//! Here a position is a cursor, which identifies blocks by height and digest. New blocks at old heights
//! are new blocks, both to a running consumer and to one that resumes from its cursor.

use crate::support::{ALL, Live, Sink, hand_over, memory, pass, secs, simulate};
use commonware_utils::NZUsize;
use tidewatch_core::{EventLog as _, History as _, Positions as _, Record, Resume};
use tidewatch_stream::{delivery, driver};
use tidewatch_testkit::{chain::Chain, source::ScriptedSource, words::word};

#[test]
fn blocks_of_a_new_chain_come_although_their_heights_were_acknowledged() {
    simulate(|context| async move {
        let chain = Chain::new('a', 10);
        let source = ScriptedSource::new(&chain, [10, 0, 0, 0]);
        let live = Live::new(&context, &source, driver::Config::default());
        let log = live.view.log().clone();
        let (taken, stopper, delivery) =
            hand_over(&context, log.clone(), Sink::new("sink"), (), delivery::Config::default());
        live.sleep(secs(2)).await;
        let position = log.load("sink").await.unwrap().unwrap();
        assert_eq!(position.head().map(word), Some("10a".into()));
        source.stand(&chain.fork(9, 'b', 11), [11, 0, 0, 0]);
        live.sleep(secs(2)).await;
        let came = ["prune 8a: 2 dropped, 8a - - -", "blocks 9b-11b", "proposed 11b"];
        assert_eq!(taken.words()[2..], came);
        stopper.stop();
        delivery.await.unwrap().unwrap();
        live.stop().await;
    });
}

/// The consumer resumes from a log that has never had the old chain. Every depth, every length.
#[test]
fn a_cursor_of_the_old_chain_is_led_to_the_new_one_block_by_block() {
    simulate(|_| async move {
        let old = Chain::new('a', 10);
        let chain_info = old.chain_info();
        let mut seen = memory(chain_info.clone());
        let source = ScriptedSource::new(&old, [10, 0, 0, 0]);
        pass(&source, &mut seen, &chain_info, ALL).await.unwrap();
        let last: Vec<Record> = seen.read(1, NZUsize!(9)).await.unwrap();
        let cursor = &last.last().unwrap().cursor;
        for fork in 1..=10 {
            for tip in 10..=12 {
                let new = old.fork(fork, 'b', tip);
                let mut other = memory(chain_info.clone());
                let source = ScriptedSource::new(&new, [tip, 0, 0, 0]);
                source.change(|world| world.blocks_max = 100);
                pass(&source, &mut other, &chain_info, ALL).await.unwrap();
                let resumed = other.resume(cursor).await.unwrap();
                let Resume::Forked { ancestor, bridge, next } = resumed else {
                    panic!("{resumed:?} for a cursor of another chain");
                };
                // The locators of a cursor are sparse: the ancestor may be deeper, never higher.
                assert!(old.has(ancestor) && ancestor.height.get() < fork, "{ancestor}");
                let mut watermarks = last.last().unwrap().watermarks;
                for record in &bridge {
                    watermarks.apply(&record.event);
                }
                assert_eq!(
                    watermarks.delivered,
                    Some(new.at(tip)),
                    "the bridge leads to the new chain"
                );
                assert_eq!(next, 2, "and then the log goes on");
            }
        }
    });
}
