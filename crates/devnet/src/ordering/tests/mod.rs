//! The network over rounds that the test certifies, and over those of real validators; on real sockets.

mod hostile;
mod live;
mod orders;
mod whole;

use super::{
    config::{Config, Limits},
    network::Holders,
};
use crate::{Committee, Rounds};
use alto_types::{EPOCH, Seed};
use commonware_consensus::types::{Round, View};
use commonware_runtime::{
    Runner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use rand::{SeedableRng as _, rngs::StdRng};
use std::{future::Future, sync::Arc, time::Duration};
use tempfile::TempDir;
use tidewatch_core::{BlockRef, Digest, Height};
use tidewatch_sequencer::{
    Content, Item, Ordering as _, Preblock, Proposal, Sender, Transaction,
    remote::{Limits as ClientLimits, Remote},
};

/// Far longer than any step takes, even on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(30);

const fn round(view: u64) -> Round {
    Round::new(EPOCH, View::new(view))
}

fn embed<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    let directory = TempDir::new().unwrap();
    Runner::new(RuntimeConfig::default().with_storage_directory(directory.path())).start(test);
}

/// What is proposed under `number`.
fn proposal(number: u64, transactions: Vec<Transaction>) -> Proposal {
    let parent = BlockRef::new(Height::new(number - 1), Digest([3; 32]));
    Proposal::new(parent, Content { time_ms: 5, transactions })
}

/// The key holders of a real committee, whose rounds the test certifies.
struct World {
    committee: Arc<Committee>,
    rounds: Rounds,
    holders: Holders,
    remote: Remote,
}

impl World {
    async fn start(context: &Context, limits: Limits) -> Self {
        let committee = Arc::new(Committee::deal(5, 4).unwrap());
        let rounds = Rounds::new();
        let config = Config { limits, ..Config::default() };
        let context = context.child("world");
        let holders =
            Holders::start(&context, committee.clone(), rounds.clone(), &config).await.unwrap();
        let remote =
            Remote::new(&holders.url(), holders.keys.clone(), ClientLimits::default()).unwrap();
        Self { committee, rounds, holders, remote }
    }

    /// Stopped at once, and started on the same storage. What was certified has to be certified again.
    async fn restart(self, context: &Context) -> Self {
        self.holders.stop().await;
        Self::start(context, Limits::default()).await
    }

    fn certify(&self, view: u64) {
        self.rounds.certified(&Seed::new(round(view), self.committee.seed_of(round(view))));
    }

    /// Waits until the holders have seen that `view` is certified.
    async fn sees(&self, view: u64) {
        let seen =
            async { while self.remote.health().await.ok().and_then(|it| it.view) != Some(view) {} };
        tokio::time::timeout(DEADLINE, seen).await.expect("the round is seen");
    }

    fn sealed(&self, by: u8, nonce: u64, view: u64, clear: &[u8]) -> Transaction {
        let (sender, rng) = (Sender([by; 32]), &mut StdRng::seed_from_u64(1));
        let payload = self.holders.keys.seal(rng, round(view), (sender, nonce), clear).unwrap();
        Transaction { sender, nonce, payload }
    }

    /// The first preblock from `number` on, verified.
    async fn preblock(&self, number: u64) -> Preblock {
        first(&self.remote, number).await
    }

    /// Whether there is none yet.
    async fn has_none(&self, number: u64) -> bool {
        let mut stream = self.remote.preblocks(Height::new(number)).await.unwrap();
        stream.next().await.unwrap() == Item::Alive
    }
}

async fn first(remote: &Remote, number: u64) -> Preblock {
    let read = async {
        let mut stream = remote.preblocks(Height::new(number)).await.unwrap();
        loop {
            if let Item::Preblock(preblock) = stream.next().await.unwrap() {
                return *preblock;
            }
        }
    };
    let preblock = tokio::time::timeout(DEADLINE, read).await.expect("a preblock comes");
    remote.verify(&preblock).unwrap();
    assert_eq!(preblock.identity.number, Height::new(number));
    preblock
}
