//! The chain that comes out, followed.

use crate::rig::*;
use commonware_runtime::Supervisor as _;
use std::sync::Arc;
use tidewatch_conformance::{self as conformance, Stage as Stages};
use tidewatch_core::{BlockRef, ChainId, ChainInfo, Digest, Height, Source as _, Tier};
use tidewatch_sequencer::{
    Applier, Sequenced,
    coordinator::{Answer, Config},
};

fn info() -> ChainInfo {
    let genesis = BlockRef::new(Height::zero(), Digest([7; 32]));
    ChainInfo { id: ChainId::new("test:1").unwrap(), genesis }
}

/// Blocks are made because the test asks for them.
struct Asks<'a>(&'a Rig);

impl Stages for Asks<'_> {
    fn is_still(&self) -> bool {
        true
    }

    fn rings(&self) -> bool {
        true
    }

    async fn grow(&mut self, blocks: u64) -> bool {
        for _ in 0..blocks {
            let nonce = self.0.pool.nonce(&transaction(1, 0).sender);
            self.0.insert(vec![transaction(1, nonce)]).await;
            loop {
                match self.0.asks(true).await.unwrap() {
                    Answer::Produced { .. } => break,
                    Answer::Busy(_) => self.0.sleep(ms(20)).await,
                    other => panic!("{other:?}"),
                }
            }
        }
        self.0.until("published", |rig| rig.board.blocks().len() as u64 == rig.head()).await;
        true
    }
}

/// It holds in every check that a source has to, over the chain that a sequencer makes.
#[test]
fn the_chain_of_a_sequencer_is_a_source_like_any_other() {
    simulate(|context| async move {
        let rig = Rig::start(&context, on_demand()).await;
        rig.until("idle", |rig| rig.status().stage == crate::rig::Stage::Idle).await;
        let (applier, board) = (rig.applier.clone(), Arc::new(rig.board.clone()));
        let source = Arc::new(Sequenced::new(info(), applier, board, rig.mailbox.status()));
        let report = conformance::source(context.child("suite"), source, &mut Asks(&rig)).await;
        report.assert();
        rig.stop().await;
    });
}

/// What was applied is proposed, what was published is checkpointed, and a tip of elsewhere is none of its own.
#[test]
fn what_was_applied_is_proposed_and_what_was_published_is_checkpointed() {
    simulate(|context| async move {
        let config = Config { interval: Some(secs(1)), ..timed() };
        let rig = Rig::start(&context, config).await;
        rig.reaches(2).await;
        rig.board.fails(usize::MAX);
        rig.reaches(5).await;
        let (applier, board) = (rig.applier.clone(), Arc::new(rig.board.clone()));
        let source = Sequenced::new(info(), applier, board, rig.mailbox.status());
        let tips = source.snapshot().await.unwrap().tips;
        let height = |tier| tips.block(tier).map(|block| block.height.get());
        assert_eq!(height(Tier::Checkpointed), Some(rig.board.blocks().len() as u64));
        assert_eq!(height(Tier::Proposed), Some(rig.applier.head().block.height.get()));
        assert!(height(Tier::Checkpointed) < height(Tier::Proposed));
        assert_eq!((height(Tier::Proven), height(Tier::Finalized)), (None, None));
        let elsewhere = BlockRef::new(Height::new(2), Digest([9; 32]));
        assert_eq!(source.blocks(elsewhere, Height::new(1)).await.unwrap(), Vec::new());
        assert!(source.digests(elsewhere, &[Height::zero()]).await.is_err());
        rig.stop().await;
    });
}
