//! B47. One side acknowledged a block that the other side had only accepted, and after a crash the
//! block was lost. A response that meant "still working on it" was taken for success.
//!
//! Here there are two acknowledgements. `Accepted` lets the next events follow and moves nothing that
//! survives a restart; only `Durable` moves the position. Anything else is a failure, and the same
//! events are delivered again.

use crate::support::{Sink, crash, grow, hand_over, open, secs, simulate};
use commonware_runtime::{Clock as _, Runner as _, deterministic};
use tidewatch_core::{Ack, Fault, FaultKind, Positions as _, Record};
use tidewatch_store::Reader;
use tidewatch_stream::delivery::Config;
use tidewatch_testkit::chain::{Chain, TestBlock};

/// The sequences delivered to a consumer that returns `ack`, and its position afterwards.
async fn given(
    context: &deterministic::Context,
    store: &Reader<deterministic::Context, TestBlock>,
    ack: impl FnMut(&[Record]) -> Result<Ack, Fault> + Send + 'static,
) -> (Vec<u64>, Option<u64>) {
    let sink = Sink::with("bridge", ack);
    let (taken, _, _) = hand_over(context, store.clone(), sink, (), Config::default());
    context.sleep(secs(60)).await;
    let position = store.load("bridge").await.unwrap();
    (taken.sequences(), position.map(|cursor| cursor.handled()))
}

#[test]
fn what_was_accepted_when_it_crashed_is_delivered_again_and_what_was_durable_is_not() {
    let chain = Chain::new('a', 6);
    let chain_info = chain.chain_info();
    let (_, disk) = crash(|context| async move {
        let mut store = open(&context, &chain.chain_info()).await.unwrap();
        grow(&mut store, &chain, 1..=3).await;
        let accepted = given(&context, &store, |_| Ok(Ack::Accepted)).await;
        assert_eq!(accepted, (vec![0, 1, 2], None));
    });
    let of = chain_info.clone();
    let (_, disk) = deterministic::Runner::from(disk).start_and_recover(|context| async move {
        let mut store = open(&context, &of).await.unwrap();
        let durable = given(&context, &store, |_| Ok(Ack::Durable)).await;
        assert_eq!(durable, (vec![0, 1, 2], Some(3)), "again, and now it stays");
        grow(&mut store, &Chain::new('a', 6), 4..=6).await;
    });
    deterministic::Runner::from(disk).start(|context| async move {
        let store = open(&context, &chain_info).await.unwrap();
        let rest = given(&context, &store, |_| Ok(Ack::Durable)).await;
        assert_eq!(rest, (vec![3, 4, 5], Some(6)));
    });
}

#[test]
fn an_answer_that_is_neither_is_a_failure_and_moves_nothing() {
    simulate(|context| async move {
        let chain = Chain::new('a', 3);
        let mut store = open(&context, &chain.chain_info()).await.unwrap();
        grow(&mut store, &chain, 1..=3).await;
        let syncing = |_: &[Record]| Err(FaultKind::Consumer.fault("engine", "still syncing"));
        assert_eq!(given(&context, &store, syncing).await, (Vec::new(), None));
    });
}
