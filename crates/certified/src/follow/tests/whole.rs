//! Whole followers: from nothing, from what another one left, and from another one.

use super::world::{Act, Executed, Node, Setup, endpoint, launch, run};
use crate::{
    CertificateKind, Key, Known, Push,
    epochs::tests::world::Epoched,
    follow::Marshal as _,
    mocks::{Answer, Scripted},
};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::types::Epoch;
use commonware_runtime::{Clock as _, Runner as _, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidewatch_core::{Block as _, Digest, Height};

const SECOND: Duration = Duration::from_secs(1);

/// A chain of which the endpoint has no more than is there yet.
struct Growing {
    chain: Epoched,
    height: Arc<AtomicU64>,
}

impl Growing {
    fn new(chain: &Epoched, height: u64) -> Self {
        Self { chain: chain.clone(), height: Arc::new(AtomicU64::new(height)) }
    }

    fn endpoint(&self, context: &deterministic::Context) -> Arc<Scripted> {
        let (chain, now) = (self.chain.clone(), self.height.clone());
        let mut answers = chain.answers();
        endpoint(context, move |key| {
            let now = now.load(Ordering::Relaxed);
            match key {
                Key::LatestFinalization => answers(Key::Height(Height::new(now))),
                Key::Height(height) if height.get() > now => Answer::Missing,
                key => answers(key),
            }
        })
    }

    async fn grow(&self, node: &Node) {
        let height = self.height.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.chain.certified(CertificateKind::Finalized, height);
        let _ = node.pushes.send(Ok(Push::Finalization(bytes))).await;
    }
}

#[test]
fn a_fresh_follower_reaches_the_tip_goes_on_live_and_serves_all_of_the_history() {
    // A full change of the key with the first epoch, and the same key after that.
    let chain = Epoched::new(10, vec![0, 1, 1, 1], 35, false);
    run(|context| async move {
        let (execution, growing) = (Executed::new(&chain), Growing::new(&chain, 15));
        let transport = growing.endpoint(&context);
        let node = launch(&context, &Setup::new(&chain, &execution), transport).await;
        context.sleep(8 * SECOND).await;
        assert_eq!(node.processed().await, Some(15));
        for height in 16..=35 {
            growing.grow(&node).await;
            context.sleep(SECOND).await;
            assert_eq!(node.processed().await, Some(height), "live");
        }
        for height in 0..=35 {
            let block = node.marshal.block(Height::new(height)).await.unwrap();
            assert_eq!(block.reference(), chain.reference(height));
        }
        for boundary in [9, 19, 29] {
            let finalization = node.marshal.finalization(Height::new(boundary)).await.unwrap();
            assert_eq!(finalization.proposal.payload, chain.reference(boundary).digest);
        }
    });
}

#[test]
fn a_follower_whose_handles_are_dropped_goes_on() {
    let chain = Epoched::new(10, vec![0, 1], 15, false);
    run(|context| async move {
        let (execution, growing) = (Executed::new(&chain), Growing::new(&chain, 5));
        let transport = growing.endpoint(&context);
        let node = launch(&context, &Setup::new(&chain, &execution), transport).await;
        context.sleep(SECOND).await;
        drop((node.driver, node.mailbox, node.source, node.keeper));
        growing.height.store(15, Ordering::Relaxed);
        context.sleep(60 * SECOND).await;
        assert_eq!(execution.top(), 15);
    });
}

#[test]
fn a_follower_starts_on_the_archives_that_another_node_left() {
    let chain = Epoched::new(10, vec![0, 1, 2, 3], 35, false);
    let execution = Executed::new(&chain);
    let (first, again) = (chain.clone(), execution.clone());
    let (_, disk) =
        deterministic::Runner::timed(600 * SECOND).start_and_recover(|context| async move {
            let transport = Growing::new(&first, 15).endpoint(&context);
            // Of its table of epochs nothing is left.
            let setup = Setup { keeps: false, ..Setup::new(&first, &again) };
            let node = launch(&context, &setup, transport).await;
            context.sleep(60 * SECOND).await;
            assert_eq!(node.processed().await, Some(15));
        });
    deterministic::Runner::from(disk).start(|context| async move {
        let transport = Growing::new(&chain, 20).endpoint(&context);
        let node = launch(&context, &Setup::new(&chain, &execution), transport).await;
        context.sleep(60 * SECOND).await;
        assert_eq!(node.processed().await, Some(20));
        assert_eq!(node.schemes.known(Epoch::new(1)), Some(Known::Boundary(chain.reference(9))));
        let block = node.marshal.block(Height::new(1)).await.unwrap();
        assert_eq!(block.reference(), chain.reference(1));
    });
}

/// What one follower serves to another: what its marshal has.
#[derive(Default)]
struct Served {
    certified: BTreeMap<u64, Bytes>,
    blocks: BTreeMap<Digest, Bytes>,
}

#[test]
fn a_follower_is_fed_by_another_follower_and_verifies_everything_itself() {
    let chain = Epoched::new(10, vec![0, 1, 2, 3], 35, false);
    run(|context| async move {
        let growing = Growing::new(&chain, 15);
        let executions = [Executed::new(&chain), Executed::new(&chain)];
        let first = Setup { name: "first", ..Setup::new(&chain, &executions[0]) };
        let first = launch(&context, &first, growing.endpoint(&context)).await;

        let served = Arc::new(Mutex::new(Served::default()));
        let (serves, marshal) = (served.clone(), first.marshal);
        context.child("serves").spawn(|context| async move {
            let mut next = 1;
            loop {
                context.sleep(SECOND / 4).await;
                while let Some(block) = marshal.block(Height::new(next)).await {
                    let (bytes, digest) = (block.encode(), block.reference().digest);
                    serves.lock().blocks.insert(digest, bytes.clone());
                    if let Some(proof) = marshal.finalization(Height::new(next)).await {
                        let certified = [proof.encode(), bytes].concat();
                        serves.lock().certified.insert(next, certified.into());
                    }
                    next += 1;
                }
            }
        });
        let transport = endpoint(&context, move |key| {
            let served = served.lock();
            let answer = match key {
                Key::LatestFinalization => served.certified.values().next_back(),
                Key::Height(height) => served.certified.get(&height.get()),
                Key::Digest(digest) => served.blocks.get(&digest),
                Key::LatestNotarization | Key::Certificate { .. } | Key::Blocks { .. } => None,
            };
            answer.cloned().map_or(Answer::Missing, Answer::Bytes)
        });
        let second = Setup { name: "second", ..Setup::new(&chain, &executions[1]) };
        let second = launch(&context, &second, transport).await;
        context.sleep(60 * SECOND).await;
        assert_eq!(second.processed().await, Some(15));
        growing.height.store(35, Ordering::Relaxed);
        context.sleep(120 * SECOND).await;
        assert_eq!(second.processed().await, Some(35));
        assert!(second.source.work().checks_total() >= 4, "it believes nobody");
        assert_eq!(executions[1].held(), (0..=35).collect::<Vec<_>>());
    });
}

#[test]
fn a_slow_application_holds_up_its_own_blocks_and_nothing_else() {
    let chain = Epoched::new(10, vec![0, 1, 2, 3], 35, false);
    run(|context| async move {
        let execution = Executed::slow(&chain, SECOND);
        let transport = Growing::new(&chain, 35).endpoint(&context);
        let setup = Setup { acks_max: NZUsize!(3), ..Setup::new(&chain, &execution) };
        let node = launch(&context, &setup, transport).await;
        context.sleep(3 * SECOND + SECOND / 2).await;
        let delivered =
            |acts: &[Act]| acts.iter().filter(|act| matches!(act, Act::Delivered(_))).count();
        let acts = execution.acts();
        assert_eq!(delivered(&acts), 12, "three at a time, a second each");
        assert!(node.source.work().checks_total() >= 1, "the tip is known");
        context.sleep(60 * SECOND).await;
        assert_eq!(node.processed().await, Some(35));
    });
}
