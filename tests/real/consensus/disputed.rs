//! A consensus client of another chain.

use super::{finalized_above, settings, with_chains};
use std::time::Duration;
use tidewatch_core::{FaultKind, Tier};
use tidewatch_tests::{
    EthereumNode, EthereumSettings, Seen,
    consensus::{Chain, FINALITY, SLOT},
};

#[test]
#[ignore = "takes some two minutes"]
fn a_consensus_client_that_contradicts_holds_back_what_is_final_and_nothing_else() {
    with_chains(SLOT, async |context, [chain, other]: [Chain; 2]| {
        let node = EthereumNode::start(&context, &settings(&chain, &other)).await;
        let disputed = |seen: &Seen| seen.count(FaultKind::Disputed) > 0;
        let seen = node.recorder.within(FINALITY, disputed).await;
        let seen = seen.unwrap_or_else(|seen| panic!("{seen:?}\n{}", chain.shown()));
        let fault = seen.faults.iter().find(|fault| fault.kind == FaultKind::Disputed);
        println!("{}", fault.expect("it is there"));
        // Until the chain itself has finality, and a while longer.
        let there = async {
            while chain.tips().await.finalized() == 0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(FINALITY, there).await.expect("the chain has finality");
        let height = chain.tips().await.latest.height;
        let on = |seen: &Seen| seen.delivered() > Some(height);
        let seen = node.recorder.until("blocks go on", on).await;
        let finalized = seen.watermarks.tips.block(Tier::Finalized);
        assert!(finalized.is_none_or(|block| block.height.get() == 0), "{finalized:?}");
        node.stop().await;

        // The same without a second opinion.
        let alone = EthereumSettings::at(&format!("eth+http://{}", chain.address()));
        let node = EthereumNode::start(&context, &alone).await;
        finalized_above(&node, &chain, 0).await;
        node.stop().await;
    });
}
