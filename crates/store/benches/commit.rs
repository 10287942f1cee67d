//! What a durable commit costs: `cargo bench -p tidewatch-store --bench commit`.
//!
//! The store writes real files, so most of the time goes to the disk: a commit waits for two rounds of
//! syncs, one for blocks and proofs and one for events, or for the second alone if it holds no blocks.
//! The three sizes alternate, so that a disk that slows down affects all of them. Prints the median of
//! each, in nanoseconds.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_types, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on must end")]

mod common;

use common::{Chain, Writing, advance, open, print};
use std::time::{Duration, Instant};
use tidewatch_core::{Change, LocalView as _, Tier};

const ROUNDS: usize = 200;
/// Commits that are not counted: the first ones create files.
const WARM_UP: usize = 10;

async fn commit(store: &mut Writing, changes: Vec<Change<common::Linked>>) -> Duration {
    let start = Instant::now();
    store.commit(changes).await.unwrap();
    start.elapsed()
}

fn main() {
    common::run(|context| async move {
        let mut chain = Chain::new();
        let (mut store, _) = open(&context, &chain).await;
        let (mut tier, mut one, mut hundred) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..WARM_UP + ROUNDS {
            one.push(commit(&mut store, chain.grow(1)).await);
            hundred.push(commit(&mut store, chain.grow(100)).await);
            let checkpointed = vec![advance(Tier::Checkpointed, chain.tip(), None)];
            tier.push(commit(&mut store, checkpointed).await);
        }
        print("commit/tier", &mut tier[WARM_UP..], 50);
        print("commit/1_block", &mut one[WARM_UP..], 50);
        print("commit/100_blocks", &mut hundred[WARM_UP..], 50);
    });
}
