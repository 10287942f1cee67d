//! B67. Of two upstreams one was a block behind, and a comparison of their tips made the honest one
//! look like an attacker.
//!
//! Here a response that is older than the verified state is outdated: it is counted, and is not a
//! fault. Only two valid certificates over two different blocks of one height are a conflict, and then
//! both blocks are reported.

use crate::{
    certified::{Endpoint, source},
    support::{secs, simulate},
};
use commonware_runtime::Clock as _;
use tidewatch_certified::{Config, Failover};
use tidewatch_core::{Conflict, FaultKind, Source as _, Tier};
use tidewatch_testkit::chain::Chain;

#[test]
fn an_upstream_that_is_one_to_three_blocks_behind_is_no_fault_and_moves_nothing_back() {
    for behind in 1..=3 {
        simulate(|context| async move {
            let chain = Chain::new('a', 60);
            let ahead = Endpoint::named(&context, "ahead", &chain, 20);
            let laggard = Endpoint::named(&context, "laggard", &chain, 20 - behind);
            let both = Failover::new(ahead.clone(), vec![laggard.clone()]);
            let (source, _, refused) = source(&context, both, Config::default());
            let mut newest = 0;
            for tip in 20..=60 {
                ahead.stand(&chain, tip);
                laggard.stand(&chain, tip - behind);
                // Consecutive snapshots use different endpoints.
                for _ in 0..2 {
                    let tips = source.snapshot().await.unwrap().tips;
                    let finalized = tips.block(Tier::Finalized).unwrap();
                    assert!(chain.has(finalized));
                    assert!(finalized.height.get() >= newest, "it moved back");
                    newest = finalized.height.get();
                    context.sleep(secs(1)).await;
                }
                assert_eq!(newest, tip, "within the two questions");
            }
            assert!(laggard.fetched().len() >= 40, "it was asked all the same");
            assert!(source.work().stale >= 20, "{:?}", source.work());
            assert!(source.work().refusals.is_empty(), "{:?}", source.work());
            assert!(refused.kinds().is_empty());
        });
    }
}

#[test]
fn two_valid_certificates_over_two_blocks_of_one_height_are_a_conflict() {
    simulate(|context| async move {
        let chain = Chain::new('a', 20);
        let fork = chain.fork(15, 'b', 20);
        let one = Endpoint::named(&context, "one", &chain, 20);
        let other = Endpoint::named(&context, "other", &fork, 20);
        let both = Failover::new(one, vec![other]);
        let (source, _, _) = source(&context, both, Config::default());
        let tips = source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(chain.at(20)));
        let fault = source.snapshot().await.unwrap_err();
        let sides = Conflict { ours: chain.at(20), theirs: fork.at(20) };
        assert_eq!((fault.kind, fault.conflict), (FaultKind::FinalityConflict, Some(sides)));
        let tips = source.snapshot().await.unwrap().tips;
        assert_eq!(tips.block(Tier::Finalized), Some(chain.at(20)), "the first one stays");
    });
}
