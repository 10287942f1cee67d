//! An actor of your own under the supervisor: a mailbox, blocks from the archive, acknowledgements out of
//! order, and a head to await.
//!
//! The consumer only passes batches on. The actor, an *auditor*, reads the blocks of each batch and works on
//! the newest batch first; the durable position follows over the contiguous prefix of what is done.
#![allow(clippy::print_stdout, reason = "it is what the program does")]

use commonware_actor::mailbox::{self, Policy, Receiver, Sender};
use commonware_macros::select_loop;
use commonware_runtime::{Handle, Runner as _, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, acknowledgement::Acknowledgement as _};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tidewatch_core::{
    Ack, Acknowledgement, Actor, Archive as _, Consumer, Event, Fault, Height, Record, Running,
    Stopper, Stopping, Tier,
};
use tidewatch_node::{Attachment, Config, Follower, Member};
use tidewatch_store::{Memory, MemoryReader};
use tidewatch_stream::delivery;
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::ScriptedSource,
};

/// A batch of events, and what acknowledges it.
struct Batch(Vec<Record>, Acknowledgement);

impl Policy for Batch {
    type Overflow = VecDeque<Self>;

    /// The delivery leaves no more than `in_flight_max` batches out, so this stays short.
    fn handle(overflow: &mut VecDeque<Self>, batch: Self) {
        overflow.push_back(batch);
    }
}

/// The consumer: it hands batches to the auditor.
struct Desk(Sender<Batch>);

impl Consumer for Desk {
    fn name(&self) -> &str {
        "auditor"
    }

    async fn handle(&mut self, records: &[Record]) -> Result<Ack, Fault> {
        let (acknowledgement, later) = Ack::later();
        // If the auditor has gone, the batch is dropped, and comes again once there is another one.
        let _ = self.0.enqueue(Batch(records.to_vec(), acknowledgement));
        Ok(later)
    }
}

/// The actor.
struct Auditor {
    context: deterministic::Context,
    inbox: Receiver<Batch>,
    archive: MemoryReader<TestBlock>,
    stopper: Stopper,
    stopping: Stopping,
}

impl Actor for Auditor {
    fn name(&self) -> String {
        "auditor".into()
    }

    fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    fn start(mut self) -> Handle<Result<(), Fault>> {
        let context = self.context.child("loop");
        context.spawn(|context| async move {
            select_loop! {
                context,
                on_stopped => {},
                () = self.stopping.stopped() => break,
                Some(batch) = self.inbox.recv() else break => {
                    let mut batches = vec![batch];
                    batches.extend(std::iter::from_fn(|| self.inbox.try_recv().ok()));
                    // The newest first: an acknowledgement may come in any order.
                    while let Some(Batch(records, acknowledgement)) = batches.pop() {
                        self.audit(&records).await;
                        acknowledgement.acknowledge();
                    }
                },
            }
            Ok(())
        })
    }
}

impl Auditor {
    fn new(
        context: deterministic::Context,
        archive: MemoryReader<TestBlock>,
    ) -> (Self, Sender<Batch>) {
        let (sender, inbox) = mailbox::new(context.child("mailbox"), NZUsize!(4));
        let (stopper, stopping) = Stopper::new();
        (Self { context, inbox, archive, stopper, stopping }, sender)
    }

    /// Reads every block that was delivered in `records`.
    async fn audit(&self, records: &[Record]) {
        for record in records {
            let Event::Blocks { from, to } = record.event else { continue };
            match self.archive.range(from, to, NZUsize!(1_000)).await {
                Ok(blocks) => println!("audited {} blocks from {from} to {to}", blocks.len()),
                // A reorg has replaced them meanwhile; a later event says so.
                Err(error) => println!("skipped {from} to {to}: {error}"),
            }
        }
    }
}

fn main() -> eyre::Result<()> {
    deterministic::Runner::default().start(|context| async move {
        let chain = Chain::new('a', 100);
        let (view, log) = Memory::new(chain.chain_info());
        let config = Config {
            source: Arc::new(ScriptedSource::new(&chain, [100, 0, 0, 90])),
            view,
            log: log.clone(),
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(context.child("follower"), config);
        let (auditor, inbox) = Auditor::new(context.child("auditor"), log);
        // Started before its consumer, so that it is stopped after it.
        follower.supervise(Member::critical(Running::start(auditor)));
        let config = delivery::Config { batch_max: NZUsize!(3), ..Default::default() };
        let attached = follower.attach(Attachment { config, ..Attachment::new(Desk(inbox)) });

        let head = follower.heads().reached(Tier::Finalized, Height::new(90)).await?;
        println!("{} is finalized, the follower is {}", Height::new(90), head.status.state);
        let durable = attached.delivery.durable(10).await?;
        println!("{durable} events are audited, without a gap");
        let report = follower.stop(Duration::from_secs(1)).await?;
        println!("{report}");
        Ok(())
    })
}
