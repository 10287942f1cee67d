//! A follower of a rollup that has its epochs proven: from what a driver announces to what lands.

use super::*;
use tidewatch_core::{Block as _, Height, Running as Started, Tier};
use tidewatch_node::{Attachment, Follower, supervisor::Member};
use tidewatch_store::Memory;
use tidewatch_testkit::{chain::Chain as Blocks, source::ScriptedSource};

/// The checkpoints of `chain` up to height `last`: one for each block, in the slot before its height.
fn checkpoints(chain: &Blocks, last: u64) -> Vec<Content> {
    let content = |number: u64| {
        let block = chain.range(number, number).remove(0);
        let (reference, parent) = (block.reference(), block.parent());
        let inputs = scripted::inputs(parent, reference);
        let id = CheckpointId { number, slot: number - 1, root: reference.digest };
        Content { id, blocks: vec![NewBlock { block: reference, parent, inputs }] }
    };
    (1..=last).map(content).collect()
}

#[test]
fn what_a_driver_announces_is_proven_and_lands_across_a_reorg_and_a_restart() {
    simulate(|context| async move {
        let chain = Blocks::new('a', 8);
        let fork = chain.fork(5, 'b', 9);
        let rollup = Rollup::new(&context, 0);
        let stands = |chain: &Blocks, last: u64| {
            rollup.set(|state| {
                (state.checkpoints, state.slot) = (checkpoints(chain, last), Some(last));
            });
        };
        stands(&chain, 5);
        let prover = Scripted::honest(&context, 4, 5);
        let source = ScriptedSource::new(&chain, [5, 5, 0, 0]);
        let (view, log) = Memory::new(chain.chain_info());
        let config_of_node = tidewatch_node::Config {
            source: Arc::new(source.clone()),
            view,
            log,
            monitor: (),
            driver: Default::default(),
            supervisor: Default::default(),
        };
        let follower = Follower::start(context.child("follower"), config_of_node);
        let opened = open(context.child("manager"), &rollup, &prover, config()).await;
        let (manager, mailbox) = opened.unwrap();
        follower.supervise(Member::critical(Started::start(manager)));
        follower.attach(Attachment::new(Thin::new(mailbox.clone())));
        let lands = async |ranges: &[(u64, u64)]| {
            for _ in 0..200 {
                if rollup.landed() == ranges {
                    return;
                }
                context.sleep(secs(1)).await;
            }
            panic!("{:?} landed: {:?}", rollup.landed(), mailbox.status().await);
        };
        lands(&[(1, 2), (3, 4)]).await;
        // The epoch of block 5 is not complete, and goes another way.
        stands(&fork, 8);
        source.stand(&fork, [8, 8, 0, 0]);
        lands(&[(1, 2), (3, 4), (5, 6), (7, 8)]).await;
        let head = follower.heads().reached(Tier::Checkpointed, Height::new(8)).await.unwrap();
        follower.stop(secs(5)).await.unwrap();
        // A manager that starts beside a view which has said all of that goes on from the head.
        stands(&fork, 9);
        rollup.set(|state| (state.proven, state.slot) = (6, Some(10)));
        rollup.set(|state| state.landed.truncate(3));
        let asked = prover.submitted().len();
        let running = Running::start(&context, &rollup, &prover, config()).await;
        Thin::new(running.mailbox.clone()).begin(&head).await.unwrap();
        running.lands(&[(1, 2), (3, 4), (5, 6), (7, 8)]).await;
        assert_eq!(prover.submitted().len(), asked, "all of it was there");
        running.stop().await;
    });
}
