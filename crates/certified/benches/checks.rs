//! What it costs to have certificates checked: `cargo bench -p tidewatch-certified`.
//!
//! Inline is how it was before there was a checker: each certificate verified by itself, on the thread
//! of the caller. The checker adds a hop to its own thread and back, and verifies together what waits
//! at the same time.
//!
//! | measured | target |
//! |---|---|
//! | one certificate, as of a live push | at most 100 µs more than inline |
//! | 2 to 32 certificates at once | less than inline |

#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]
#![allow(clippy::disallowed_types, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on must end")]

use bytes::Bytes;
use commonware_codec::{Encode as _, ReadExt as _};
use commonware_consensus::{
    simplex::types::Finalization,
    types::{Epoch, Round, View},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use futures::future::join_all;
use rand::{SeedableRng as _, rngs::StdRng};
use std::{sync::Arc, time::Instant};
use tidewatch_certified::{CertificateKind, Check, Checker, Metrics, OneEpoch, Verifier, checker};
use tidewatch_core::{Block as _, Digest};
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    committee::{Committee, Scheme},
};

const ROUNDS: u64 = 64;
const SIZES: [u64; 4] = [1, 2, 8, 32];

/// Finalizations with their blocks, as they go over the wire.
fn answers(committee: &Committee, chain: &Chain) -> Vec<Bytes> {
    let blocks = chain.blocks().iter().zip(0_u64..).skip(1);
    let answers = blocks.map(|(block, height)| {
        let round = Round::new(Epoch::zero(), View::new(height));
        let proof = committee.finalization(round, block.reference().digest);
        [proof, block.encode()].concat().into()
    });
    answers.collect()
}

/// Microseconds that one of `size * ROUNDS` certificates took.
fn each(start: Instant, size: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / (size * ROUNDS) as f64
}

fn inline(scheme: &Scheme, answers: &[Bytes], size: u64) -> f64 {
    let mut rng = StdRng::seed_from_u64(1);
    let start = Instant::now();
    for answer in answers {
        let read = Finalization::<Scheme, Digest>::read(&mut answer.clone());
        assert!(read.unwrap().verify(&mut rng, scheme, &Sequential));
    }
    each(start, size)
}

fn checked(scheme: &Scheme, chain: &Chain, answers: Vec<Bytes>, size: u64) -> (f64, u64) {
    let genesis = chain.blocks()[0].clone();
    let epochs = OneEpoch::new(Epoch::zero(), scheme.clone());
    tokio::Runner::default().start(|context| async move {
        let metrics = Metrics::new(&context, "bench", Arc::new(()));
        let (checker, mailbox) = Checker::new(context.child("checker"), checker::Config::default());
        checker.start();
        let verifier = Verifier::<_, TestBlock>::new(epochs, genesis, (), metrics.clone(), mailbox);
        let start = Instant::now();
        for answers in answers.chunks(size as usize) {
            let checks = answers.iter().map(|answer| {
                let claim = verifier.claim(CertificateKind::Finalized, answer.clone());
                verifier.check(claim.unwrap(), Check::Digest)
            });
            assert!(join_all(checks).await.iter().all(Result::is_ok));
        }
        (each(start, size), metrics.work().batches)
    })
}

fn main() {
    let committee = Committee::new(7, 4);
    let scheme = committee.verifier();
    println!("at once   inline   checker   (microseconds for each certificate; batches)");
    for size in SIZES {
        let chain = Chain::new('a', size * ROUNDS);
        let answers = answers(&committee, &chain);
        let alone = inline(&scheme, &answers, size);
        let (batched, batches) = checked(&scheme, &chain, answers, size);
        println!("{size:>7} {alone:>8.0} {batched:>9.0}   {batches}");
    }
}
