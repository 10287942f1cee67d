//! How long a start takes with many blocks that are not proven: `cargo bench -p tidewatch-prover --bench recovery`.
//!
//! 100,000 blocks with inputs of 200 bytes on a real disk, added in batches of 1,000; then the scheduler is opened
//! on them, three times. Then what a job costs from the block to the proven tip, with a prover that needs no time.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_types, reason = "a benchmark measures real time")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on must end")]

use bytes::Bytes;
use commonware_runtime::{Runner as _, Supervisor as _, tokio};
use commonware_utils::NZUsize;
use std::{sync::Arc, time::Instant};
use tidewatch_core::{BlockRef, ChainId, Digest, Height};
use tidewatch_prover::{
    Key, Pool, Program, Prove, Prover, Released, Scheduler,
    disk::{self, Subject},
    scheduler::{Config, NewBlock, Parts},
};

const BLOCKS: u64 = 100_000;
const PROVEN: u64 = 2_000;

struct Any;

impl Program for Any {
    fn id(&self) -> Digest {
        Digest([1; 32])
    }

    fn check(&self, _: BlockRef, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn verify(&self, _: Digest, _: BlockRef, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

impl Prove for Any {
    fn prove(&self, key: &Key, _: &[u8], _: &Released) -> Result<Bytes, String> {
        Ok(Bytes::copy_from_slice(&key.block.digest.0))
    }
}

fn block(height: u64) -> BlockRef {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&height.to_be_bytes());
    BlockRef::new(Height::new(height), Digest(digest))
}

fn parts(provers: Vec<Arc<dyn Prover>>) -> Parts<Any> {
    let chain = ChainId::new("bench").expect("a chain id");
    let subject = Subject { chain, program: Any.id(), start: block(0) };
    Parts { program: Arc::new(Any), provers, subject }
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = tokio::Config::new().with_storage_directory(directory.path());
    tokio::Runner::new(config).start(|context| async move {
        let config = || Config::new(disk::Config::new("many"));
        let opened = Scheduler::open(context.child("fill"), parts(vec![]), config()).await;
        let (scheduler, mailbox) = opened.expect("opens");
        let handle = scheduler.start();
        let began = Instant::now();
        for first in (1..=BLOCKS).step_by(1_000) {
            let new = |height| NewBlock {
                block: block(height),
                parent: block(height - 1).digest,
                inputs: vec![7; 200].into(),
            };
            mailbox.add((first..first + 1_000).map(new).collect()).await.expect("adds");
        }
        println!("{BLOCKS} blocks added in {:.1} s", began.elapsed().as_secs_f64());
        mailbox.stop();
        handle.await.expect("joins").expect("ends");
        for _ in 0..3 {
            let began = Instant::now();
            let opened = Scheduler::open(context.child("again"), parts(vec![]), config()).await;
            let (_, mailbox) = opened.expect("opens");
            println!(
                "opened on {} blocks that are not proven in {:.0} ms",
                mailbox.proven().current().committed.height,
                began.elapsed().as_secs_f64() * 1e3
            );
        }
        let pool: Arc<dyn Prover> =
            Arc::new(Pool::new(context.child("pool"), "pool", Any, NZUsize!(8)));
        let config = Config::new(disk::Config::new("few"));
        let opened = Scheduler::open(context.child("few"), parts(vec![pool]), config).await;
        let (scheduler, mailbox) = opened.expect("opens");
        let handle = scheduler.start();
        let began = Instant::now();
        let new = |height| NewBlock {
            block: block(height),
            parent: block(height - 1).digest,
            inputs: vec![7; 200].into(),
        };
        mailbox.add((1..=PROVEN).map(new).collect()).await.expect("adds");
        let all = |proven: &tidewatch_prover::scheduler::Proven| proven.tip == block(PROVEN);
        mailbox.proven().until(all).await.expect("is proven");
        let each = began.elapsed().as_secs_f64() * 1e6 / PROVEN as f64;
        println!(
            "{each:.0} µs a job from the block to the proven tip, durably, with a prover of no time"
        );
        mailbox.stop();
        handle.await.expect("joins").expect("ends");
    });
}
