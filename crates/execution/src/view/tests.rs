//! Lives of a view: a source that grows and reorgs, a client that writes behind, and crashes of either at any
//! call, drawn from a seed.

use super::View;
use crate::{Durably, Executor, client::Client, executor::Config as ExecutorConfig};
use commonware_runtime::{Clock as _, Handle, Runner as _, Supervisor as _, deterministic};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tidewatch_core::{
    Block, BlockRef, ChainInfo, Change, Conflict, Fault, Height, LocalView, Watermarks,
};
use tidewatch_stream::{Driver, driver};
use tidewatch_testkit::monitor::Faults;
use tidewatch_testkit::{
    chain::{Chain, TestBlock},
    source::ScriptedSource,
};

const TICK: Duration = Duration::from_millis(10);

/// A view whose word is compared with what the client has.
struct Checked {
    view: View<Client>,
    client: Client,
}

impl LocalView for Checked {
    type Block = TestBlock;

    fn chain_info(&self) -> &ChainInfo {
        self.view.chain_info()
    }

    async fn watermarks(&self) -> Result<Watermarks, Fault> {
        self.view.watermarks().await
    }

    async fn locate(&self, heights: &[Height]) -> Result<Vec<Option<BlockRef>>, Fault> {
        self.view.locate(heights).await
    }

    async fn commit(&mut self, changes: Vec<Change<TestBlock>>) -> Result<(), Fault> {
        let blocks = changes.iter().rev().find_map(|change| match change {
            Change::Blocks(blocks) => blocks.last().map(Block::reference),
            _ => None,
        });
        let crashes = self.client.state.lock().crashes;
        self.view.commit(changes).await?;
        let state = self.client.state.lock();
        if let Some(last) = blocks.filter(|_| state.crashes == crashes) {
            assert_eq!(state.memory.at.head, last, "it was acknowledged");
        }
        Ok(())
    }

    async fn keep_evidence(&mut self, conflict: Conflict) -> Result<(), Fault> {
        self.view.keep_evidence(conflict).await
    }
}

/// One life of the view's process.
struct Life {
    driver: Handle<Result<(), Fault>>,
    executor: Handle<Result<(), Fault>>,
    last: Faults,
}

impl Life {
    fn begin(context: &deterministic::Context, source: &ScriptedSource, client: &Client) -> Self {
        let last = Faults::default();
        let config = ExecutorConfig {
            retry: TICK,
            heartbeat: 10 * TICK,
            deadline: Duration::from_secs(1),
            ..ExecutorConfig::default()
        };
        let execution = Arc::new(client.clone());
        let (executor, mailbox) =
            Executor::new(context.child("executor"), execution.clone(), config);
        let floor = mailbox.floor();
        client.state.lock().floor = Some(mailbox.floor());
        client.state.lock().source = Some(source.clone());
        let chain_info = Chain::new('a', 1).chain_info();
        let view = View::new(execution, mailbox, chain_info, None);
        let source = Durably::new(Arc::new(source.clone()), floor);
        let parts = driver::Parts {
            source: Arc::new(source),
            view: Checked { view, client: client.clone() },
            monitor: last.clone(),
        };
        let config = driver::Config { poll: TICK, backoff_max: 5 * TICK, ..Default::default() };
        let (driver, _) = Driver::new(context.child("driver"), parts, config);
        Self { driver: driver.start(), executor: executor.start(), last }
    }

    fn kill(self) {
        self.driver.abort();
        self.executor.abort();
    }
}

/// `chain` up to `last`, then blocks of `fork` up to `tip`.
fn fork(chain: &Chain, last: u64, fork: u8, tip: u64) -> Chain {
    chain.fork(last + 1, (b'a' + fork) as char, tip)
}

/// Where the source goes next: its chain, and the heights of its tiers.
fn next(rng: &mut StdRng, chain: &Chain, tiers: [u64; 4], forks: &mut u8) -> (Chain, [u64; 4]) {
    let [tip, _, _, finalized] = tiers;
    let (chain, tip) = match rng.random_range(0..4) {
        0 | 1 => {
            let to = tip + rng.random_range(1..40);
            (fork(chain, tip, *forks, to), to)
        }
        2 => {
            *forks += 1;
            let at = rng.random_range(finalized..=tip);
            let to = at + rng.random_range(1..10);
            (fork(chain, at, *forks, to), to)
        }
        _ => {
            let to = rng.random_range(finalized.max(1)..=tip);
            (fork(chain, to, *forks, to), to)
        }
    };
    let finalized = rng.random_range(finalized..=tip);
    let safe = rng.random_range(finalized..=tip);
    (chain, [tip, safe, rng.random_range(finalized..=safe), finalized])
}

fn lives(seed: u64) {
    let config =
        deterministic::Config::new().with_seed(seed).with_timeout(Some(Duration::from_secs(3_600)));
    deterministic::Runner::new(config).start(|context| async move {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(31));
        let (mut chain, mut tiers, mut forks) = (Chain::new('a', 3), [3, 2, 1, 1], 0);
        let source = ScriptedSource::new(&chain, tiers);
        let client = Client::new(context.child("client"), &chain, seed);
        let mut life = Life::begin(&context.child("first"), &source, &client);
        for _ in 0..12 {
            client.state.lock().left = 4;
            source.stand(&chain, tiers);
            let tips = chain.tips(tiers);
            let wanted = [0, 1, 3].map(|tier| tips.block(tidewatch_core::Tier::ALL[tier]));
            let mut ticks = 0;
            loop {
                context.sleep(TICK).await;
                let (at, killed) = {
                    let mut state = client.state.lock();
                    (state.memory.at, std::mem::take(&mut state.killed))
                };
                if killed {
                    life.kill();
                    life = Life::begin(&context.child("next"), &source, &client);
                }
                if [Some(at.head), at.safe, at.finalized] == wanted && !killed {
                    break;
                }
                ticks += 1;
                let last = life.last.all().pop();
                assert!(ticks < 1_000, "seed {seed}: {at} never becomes {wanted:?}: {last:?}");
            }
            (chain, tiers) = next(&mut rng, &chain, tiers, &mut forks);
        }
        life.kill();
    });
}

#[test]
fn whatever_crashes_at_whatever_call_the_client_ends_where_the_source_is() {
    (0..200).for_each(lives);
}
