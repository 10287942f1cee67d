//! A reader that stalls for longer than the log is kept by default, over a real pipe, with the real store.

use super::{Events, Reached};
use crate::output::Printer;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use commonware_utils::NZUsize;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, PipeReader, pipe},
    num::NonZeroUsize,
    thread,
};
use tidewatch_core::{Change, LocalView, Tier, Tip};
use tidewatch_store::{Config, Store};
use tidewatch_stream::{
    Delivery,
    delivery::{self, Parts},
};
use tidewatch_testkit::chain::{Chain, TestBlock};

/// Events that are kept by default.
const KEPT: u64 = 65_536;

/// Blocks whose events are in the pipe, or on their way there, when it is full.
const FIRST: u64 = 1_000;

/// Events that are printed at once: few enough to find room in a pipe.
const BATCH: NonZeroUsize = NZUsize!(16);

/// Blocks of one commit.
const COMMIT: u64 = 1_000;

/// Every block of its own: it is delivered, and the proposed tip moves to it.
async fn commit(view: &mut impl LocalView<Block = TestBlock>, chain: &Chain, from: u64, to: u64) {
    for from in (from..=to).step_by(COMMIT as usize) {
        let changes = (from..=to.min(from + COMMIT - 1)).flat_map(|height| {
            let tip = Tip::from(chain.at(height));
            let moved = Change::Advanced { tier: Tier::Proposed, tip, proof: None };
            [Change::Blocks(chain.range(height, height)), moved]
        });
        view.commit(changes.collect()).await.unwrap();
    }
}

/// Every line up to the one that leads to `top`: the height of the first block that is missing, if one is,
/// and how many blocks were announced.
fn read(pipe: PipeReader, top: u64) -> (Option<u64>, u64) {
    let (mut head, mut announced) = (0, 0);
    for line in BufReader::new(pipe).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match line["event"].as_str().unwrap() {
            "blocks" => {
                let [from, to] = ["from", "to"].map(|end| line[end]["height"].as_u64().unwrap());
                if from != head + 1 {
                    return (Some(head + 1), announced);
                }
                (head, announced) = (to, announced + to + 1 - from);
            }
            "pruned" => head = line["to"]["height"].as_u64().unwrap(),
            _ if head == top => break,
            _ => {}
        }
    }
    ((head < top).then_some(head + 1), announced)
}

#[test]
fn a_reader_that_stalls_for_more_events_than_are_kept_by_default_is_announced_every_block() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::Config::new().with_storage_directory(folder.path());
    tokio::Runner::new(runtime).start(|context| async move {
        let top = FIRST + KEPT / 2 + 2 * COMMIT;
        let chain = Chain::new('a', top);
        let config = Config::new(chain.chain_info(), ());
        let (mut view, log) = Store::open(context.child("store"), config).await.unwrap();
        let (reader, writer) = pipe().unwrap();
        let consumer =
            Events::new(Printer::start(writer).unwrap(), Reached::new(None, Tier::Finalized, true));
        let parts = Parts { log: log.clone(), consumer, monitor: () };
        let config = delivery::Config { batch_max: BATCH, ..delivery::Config::default() };
        let (delivery, mailbox) = Delivery::new(context.child("delivery"), parts, config);
        commit(&mut view, &chain, 1, FIRST).await;
        let running = delivery.start();
        // Nobody reads: the pipe is full after a part of these, and the printer waits.
        mailbox.durable(1).await.unwrap();
        commit(&mut view, &chain, FIRST + 1, top).await;
        let oldest = log.retention().await.unwrap().oldest_event;
        assert!(oldest > 2 * FIRST, "what comes next was dropped: {oldest}");

        let reading = thread::spawn(move || read(reader, top));
        mailbox.durable(2 * top).await.unwrap();
        let (missing, announced) = reading.join().unwrap();
        assert_eq!((missing, announced), (None, top), "all are announced, each once");
        mailbox.stop();
        running.await.unwrap().unwrap();
    });
}
