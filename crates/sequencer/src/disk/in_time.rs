//! What is accepted is in time for the proposal that it will be in.

use super::*;
use crate::{
    Applier as _, Content, Opened, Pool as _, Preblock, Proposal, Sender, Transaction,
    timelock::{AHEAD_MAX, MARGIN, NotInTime, Window, tests::sealed},
};
use bytes::Bytes;
use commonware_consensus::types::{Epoch, Round, View};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use futures::future::join_all;
use std::time::Duration;
use tidewatch_core::{
    ChainId, Digest,
    watch::{Sender as Watch, watch},
};

/// Of the transactions here, three fit into a proposal.
const ROOM: usize = 700;

const fn round(view: u64) -> Round {
    Round::new(Epoch::zero(), View::new(view))
}

fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(1_000)).start(test)
}

struct World {
    pool: DiskPool<deterministic::Context>,
    chain: Chain<deterministic::Context>,
    certified: Watch<Option<Round>>,
    door: Door,
}

impl World {
    async fn new(context: &deterministic::Context) -> Self {
        let id = ChainId::new("test:1").unwrap();
        let genesis = Genesis { chain: id.clone(), digest: Digest([7; 32]), time_ms: 1 };
        let limits = Limits::default();
        let pool = DiskPool::open(context.child("pool"), "test", id, limits).await.unwrap();
        let chain = Chain::open(context.child("chain"), "test", genesis).await.unwrap();
        let (certified, newest) = watch(None);
        Self { pool, chain, certified, door: Door { certified: newest, proposal_bytes: ROOM } }
    }

    fn certify(&self, view: u64) {
        self.certified.change(|newest| {
            *newest = Some(round(view));
            true
        });
    }

    async fn admit(&self, transactions: Vec<Transaction>) -> Vec<Result<Digest, NotAccepted>> {
        self.pool.admit(transactions, &self.door).await.unwrap()
    }

    /// Accepts the next transaction of a sender, sealed to `view`.
    async fn accept(&self, by: u8, view: u64) -> Result<(), NotAccepted> {
        let nonce = self.pool.nonce(&Sender([by; 32]));
        let answers = self.admit(vec![sealed(by, nonce, view, b"one")]).await;
        answers.into_iter().next().unwrap().map(drop)
    }

    fn window(&self) -> Result<Window, NotInTime> {
        self.pool.window(&self.door, 200)
    }

    async fn select(&self) -> Proposal {
        let transactions = self.pool.select(ROOM).await.unwrap();
        Proposal::new(self.chain.head().block, Content { time_ms: 2, transactions })
    }

    async fn apply(&self, proposal: &Proposal) {
        let Proposal { identity, content } = proposal.clone();
        let opened = content.transactions.iter().map(|_| Opened::Clear(Bytes::new())).collect();
        let preblock = Preblock { identity, content, opened, evidence: Bytes::new() };
        let block = self.chain.apply(&preblock).await.unwrap();
        self.pool.settle(&block).await.unwrap();
    }
}

fn early(refused: Result<(), NotAccepted>) -> u64 {
    match refused {
        Err(NotAccepted::NotInTime(NotInTime::TooEarly { window, .. })) => {
            window.least.view().get()
        }
        refused => panic!("{refused:?}"),
    }
}

#[test]
fn what_is_sealed_below_the_proposal_in_hand_is_refused_with_the_rounds_that_will_do() {
    simulate(|context| async move {
        let world = World::new(&context).await;
        assert_eq!(world.accept(1, 110).await, Err(NotInTime::NoRound.into()));
        world.certify(100);
        let window = world.window().unwrap();
        assert_eq!(window.least, round(100 + MARGIN));
        // At the boundary, on both sides.
        assert_eq!(early(world.accept(1, 99 + MARGIN).await), 100 + MARGIN);
        world.accept(1, 100 + MARGIN).await.unwrap();
        let greatest = window.greatest.view().get();
        world.accept(2, greatest).await.unwrap();
        let far = world.accept(3, greatest + 1).await;
        assert!(
            matches!(far, Err(NotAccepted::NotInTime(NotInTime::TooFar { .. }))),
            "{far:?}, of at most {greatest}"
        );
        assert_eq!(world.pool.nonce(&Sender([3; 32])), 0, "what is refused uses no nonce");
        // Given out, and not reserved yet: the next one is in the proposal after it.
        let proposal = world.select().await;
        assert_eq!(early(world.accept(3, greatest).await), greatest + MARGIN + 1);
        world.pool.reserve(&proposal).await.unwrap();
        assert_eq!(early(world.accept(3, greatest).await), greatest + MARGIN + 1);
        world.accept(3, greatest + MARGIN + 1).await.unwrap();
        world.certify(greatest);
        world.apply(&proposal).await;
        // In hand is nothing now, and what waits is not before it.
        assert_eq!(world.window().unwrap().least, round(greatest + MARGIN));
    });
}

#[test]
fn what_does_not_fit_into_the_next_proposal_is_sealed_above_all_of_that() {
    simulate(|context| async move {
        let world = World::new(&context).await;
        world.certify(100);
        for (by, view) in [(1, 106), (2, 118), (3, 107)] {
            world.accept(by, view).await.unwrap();
        }
        let least = 118 + MARGIN + 1;
        assert_eq!(early(world.accept(4, 120).await), least);
        for (by, view) in [(4, least), (5, least), (6, least + 3)] {
            world.accept(by, view).await.unwrap();
        }
        // The third one has no round that is near enough: it is not accepted, rather than dropped later.
        assert_eq!(world.accept(7, 101 + AHEAD_MAX).await, Err(NotInTime::Backlog.into()));
        // Given out, that is the same.
        let proposal = world.select().await;
        assert_eq!(proposal.content.transactions.len(), 3);
        assert_eq!(world.accept(7, 101 + AHEAD_MAX).await, Err(NotInTime::Backlog.into()));
        world.pool.reserve(&proposal).await.unwrap();
        world.certify(118);
        world.apply(&proposal).await;
        world.accept(7, 140).await.unwrap();
    });
}

#[test]
fn two_transactions_of_one_batch_see_each_other() {
    simulate(|context| async move {
        let world = World::new(&context).await;
        world.certify(100);
        let batch = (0..4).map(|nonce| sealed(1, nonce, 110, b"one")).collect();
        let answers = world.admit(batch).await;
        assert!(answers[..3].iter().all(Result::is_ok), "{answers:?}");
        let fourth = answers[3].clone().map(drop);
        assert_eq!(early(fourth), 110 + MARGIN + 1, "it does not fit beside them");
        // And so do those of several callers, in one write.
        let callers = (2..10).map(|by| world.admit(vec![sealed(by, 0, 117, b"one")]));
        let answers: Vec<_> = join_all(callers).await.into_iter().flatten().collect();
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3, "{answers:?}");
        assert_eq!(world.pool.waiting().current(), 6);
    });
}

#[test]
fn what_never_says_anything_is_refused_and_so_is_everything_while_orders_are_late() {
    simulate(|context| async move {
        let world = World::new(&context).await;
        world.certify(100);
        let (sender, payload) = (Sender([1; 32]), Bytes::from_static(b"in the clear"));
        let answers = world.admit(vec![Transaction { sender, nonce: 0, payload }]).await;
        assert_eq!(answers, [Err(NotInTime::Malformed.into())]);
        // The nonce counts first: whoever sends the same once more learns that it is there.
        world.accept(1, 110).await.unwrap();
        let answers = world.admit(vec![sealed(1, 0, 99, b"one")]).await;
        assert_eq!(answers, [Err(NotAccepted::Used { nonce: 0, next: 1 })]);
        // What waits is open, and is not proposed.
        world.certify(110);
        assert_eq!(world.accept(2, 120).await, Err(NotInTime::Overdue.into()));
        let proposal = world.select().await;
        assert_eq!(proposal.content.transactions.len(), 1, "it keeps its place, and its nonce");
        world.pool.reserve(&proposal).await.unwrap();
        world.accept(2, 120).await.unwrap();
        world.certify(119);
        assert_eq!(world.window(), Err(NotInTime::Overdue), "the one in hand is late");
        world.apply(&proposal).await;
        world.accept(1, 130).await.unwrap();
    });
}
