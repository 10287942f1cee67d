//! A statement that takes a while to prove: the last of many hashes. Whoever proves it prints each block that it begins.

mod process;

use bytes::Bytes;
use commonware_cryptography::{Hasher as _, Sha256};
pub(crate) use process::Process;
use std::{io::Write as _, sync::Arc, time::Duration};
use tidewatch_core::{BlockRef, ChainId, Digest, Height};
use tidewatch_prover::{
    Key, Program, Prove, Prover, Released,
    disk::{self, Subject},
    plan,
    scheduler::{Config, Parts},
};

#[derive(Clone, Copy)]
pub(crate) struct Chained {
    pub(crate) program: Digest,
    /// How many hashes.
    pub(crate) rounds: u32,
}

pub(crate) fn block(height: u64) -> BlockRef {
    BlockRef::new(Height::new(height), Sha256::hash(&[&height.to_be_bytes()]))
}

/// One line, at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the test listens");
}

/// A scheduler's configuration that gives jobs up after `lease`, and calls after `call`.
pub(crate) fn config(lease: Duration, call: Duration) -> Config {
    let millis = Duration::from_millis;
    let plan = plan::Config {
        backoff: millis(20),
        backoff_max: millis(200),
        lease,
        hedge: None,
        ..plan::Config::default()
    };
    Config {
        plan,
        call,
        patience: millis(1_000),
        offers: millis(100),
        ..Config::new(disk::Config::new("prover"))
    }
}

/// What schedules the proofs of `statement` at `provers`.
pub(crate) fn parts(statement: Chained, provers: Vec<Arc<dyn Prover>>) -> Parts<Chained> {
    let chain = ChainId::new("test:chained").expect("a chain id");
    let subject = Subject { chain, program: statement.program, start: block(0) };
    Parts { program: Arc::new(statement), provers, subject }
}

impl Chained {
    fn expected(&self, parent: Digest, block: BlockRef) -> Digest {
        (0..self.rounds).fold(parent, |digest, _| Sha256::hash(&[&digest.0, &block.digest.0]))
    }
}

impl Program for Chained {
    fn id(&self) -> Digest {
        self.program
    }

    fn check(&self, _: BlockRef, inputs: &[u8]) -> Result<(), String> {
        if inputs.len() == 32 { Ok(()) } else { Err("no digest".into()) }
    }

    fn verify(&self, parent: Digest, block: BlockRef, proof: &[u8]) -> Result<(), String> {
        let right = proof == self.expected(parent, block).0;
        right.then_some(()).ok_or_else(|| "another digest".into())
    }
}

impl Prove for Chained {
    fn prove(&self, key: &Key, inputs: &[u8], _: &Released) -> Result<Bytes, String> {
        say(&format!("start {}", key.block.height));
        let parent = Digest(inputs.try_into().map_err(|_| "no digest")?);
        Ok(Bytes::copy_from_slice(&self.expected(parent, key.block).0))
    }
}
