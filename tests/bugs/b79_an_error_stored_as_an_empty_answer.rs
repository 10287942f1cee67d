//! B79. A `null` or an error in the middle of a batch was stored as an empty response.
//!
//! Here three outcomes are distinct, and none of them is a block: data that an upstream does not have
//! (`None`, or an empty range), a request that failed (a fault), and an invalid response (a fault of
//! another kind). A range with one invalid block is rejected as a whole.

use crate::{
    certified::{Endpoint, source},
    support::{Steps, secs, simulate},
};
use commonware_runtime::Clock as _;
use tidewatch_certified::{Config, Key};
use tidewatch_core::{Block as _, FaultKind, Height, Source as _};
use tidewatch_testkit::{
    chain::Chain,
    source::{Answer, Kind},
};

#[test]
fn absent_empty_and_error_are_three_answers() {
    use FaultKind::{Malformed, Missing, NotLinked, Unavailable, WrongPosition};
    let chain = Chain::new('a', 20);
    let other = chain.fork(15, 'b', 20);
    let without = |height: u64| {
        let blocks = chain.range(11, 20).into_iter();
        blocks.filter(|b| b.reference().height.get() != height).collect()
    };
    let table = [
        ("nothing", Answer::Blocks(Vec::new()), Missing),
        ("an error", Answer::Fault(Unavailable), Unavailable),
        ("what does not decode", Answer::Fault(Malformed), Malformed),
        ("a range without its third block", Answer::Blocks(without(13)), WrongPosition),
        ("a range without its first block", Answer::Blocks(without(11)), WrongPosition),
        (
            "a range with the blocks of a fork at its end",
            Answer::Blocks([chain.range(11, 15), other.range(16, 20)].concat()),
            NotLinked,
        ),
    ];
    for (case, answer, kind) in table {
        let mut steps = Steps::synced(&chain, [10, 0, 0, 0]);
        steps.source.stand(&chain, [20, 0, 0, 0]);
        steps.source.answer(Kind::Blocks, 1, answer);
        let pass = steps.pass();
        assert_eq!((pass.fault(), pass.events.len()), (Some(kind), 0), "{case}");
        assert_eq!(steps.settle(), ["blocks 11a-20a", "proposed 20a"], "{case}");
    }
}

#[test]
fn a_batch_of_requests_of_which_one_fails_ends_below_it() {
    simulate(|context| async move {
        let chain = Chain::new('a', 100);
        let endpoint = Endpoint::new(&context, &chain, 100);
        let (source, _, _) = source(&context, endpoint.clone(), Config::default());
        source.snapshot().await.unwrap();
        let digest = chain.at(50).digest;
        endpoint.trouble(move |key| {
            let asked = key == Key::Height(Height::new(50)) || key == Key::Digest(digest);
            asked.then_some(FaultKind::Unavailable)
        });
        let tip = chain.at(100);
        let blocks = source.blocks(tip, Height::new(1)).await.unwrap();
        assert_eq!(blocks, chain.range(1, 49), "those below it, and not one beyond");
        let fault = source.blocks(tip, Height::new(50)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable, "an error, and not an absence");

        endpoint.trouble(|_| None);
        context.sleep(secs(1)).await;
        let blocks = source.blocks(tip, Height::new(50)).await.unwrap();
        assert_eq!(blocks, chain.range(50, 100));
    });
}
