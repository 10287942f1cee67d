use super::{
    held::{State, reservation, select},
    record::{Line, Link},
    *,
};
use crate::*;
use bytes::Bytes;
use commonware_runtime::{Runner as _, Spawner, Supervisor as _, deterministic};
use commonware_storage::Context;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};
use tidewatch_core::{Block as _, BlockRef, ChainId, Digest, Fault, FaultKind, Height};
use tidewatch_testkit::host::{
    Host,
    crash::{LEFT, Left, faults},
};

fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(1_000)).start(test)
}

fn chain_id() -> ChainId {
    ChainId::new("test:1").unwrap()
}

fn genesis() -> Genesis {
    Genesis { chain: chain_id(), digest: Digest([7; 32]), time_ms: 1_000 }
}

fn sized(sender: u8, nonce: u64, bytes: usize) -> Transaction {
    Transaction { sender: Sender([sender; 32]), nonce, payload: Bytes::from(vec![1; bytes]) }
}

fn transaction(sender: u8, nonce: u64) -> Transaction {
    sized(sender, nonce, 5)
}

struct Disk<E: Context + Spawner> {
    pool: DiskPool<E>,
    chain: Chain<E>,
    published: Published<E>,
}

impl<E: Context + Spawner> Disk<E> {
    async fn open(context: &E) -> Result<Self, Fault> {
        let limits = Limits::default();
        Ok(Self {
            pool: DiskPool::open(context.child("pool"), "test", chain_id(), limits).await?,
            chain: Chain::open(context.child("chain"), "test", genesis()).await?,
            published: Published::open(context.child("published"), "test").await?,
        })
    }

    async fn propose(&self) -> Result<Proposal, Fault> {
        let transactions = self.pool.select(1_000_000).await.unwrap();
        let time_ms = self.chain.head().time_ms + 1;
        let content = Content { time_ms, transactions };
        let proposal = Proposal::new(self.chain.head().block, content);
        self.pool.reserve(&proposal).await?;
        Ok(proposal)
    }

    async fn apply(&self, proposal: &Proposal) -> Result<Block, Fault> {
        let applied = self.chain.apply(&preblock(proposal)).await;
        applied.map_err(|error| match error {
            NotApplied::Failed(fault) => fault,
            NotApplied::Rejected(why) => panic!("{why}"),
        })
    }
}

/// Every third transaction does not open.
fn preblock(proposal: &Proposal) -> Preblock {
    let Proposal { identity, content } = proposal.clone();
    let open = |it: &Transaction| match it.nonce % 3 {
        2 => Opened::Dropped("it does not open".into()),
        _ => Opened::Clear(it.payload.clone()),
    };
    let opened = content.transactions.iter().map(open).collect();
    Preblock { identity, content, opened, evidence: Bytes::new() }
}

#[test]
fn nonces_are_accepted_without_a_gap_and_within_the_limits() {
    simulate(|context| async move {
        let limits = Limits { transactions: 3, bytes: 400, transaction_bytes: 100 };
        let pool = DiskPool::open(context.child("pool"), "test", chain_id(), limits).await.unwrap();
        let first = transaction(1, 0);
        let many = vec![
            first.clone(),
            first.clone(),
            transaction(1, 2),
            sized(1, 1, 101),
            transaction(1, 1),
            transaction(2, 0),
            transaction(2, 1),
        ];
        let answers = pool.insert(many).await.unwrap();
        let expected = [
            Ok(first.id()),
            Err(NotAccepted::Used { nonce: 0, next: 1 }),
            Err(NotAccepted::Gap { nonce: 2, next: 1 }),
            Err(NotAccepted::Oversized { bytes: 101, max: 100 }),
            Ok(transaction(1, 1).id()),
            Ok(transaction(2, 0).id()),
        ];
        assert_eq!(answers[..6], expected[..]);
        assert!(matches!(answers[6], Err(NotAccepted::Full { transactions: 3, .. })));
        assert_eq!(pool.nonce(&first.sender), 2);
        assert_eq!(pool.waiting().current(), 3);
        drop(pool);
        // The other half of the limits, after a restart.
        let limits = Limits { transactions: 10, bytes: 200, transaction_bytes: 100 };
        let pool =
            DiskPool::open(context.child("again"), "test", chain_id(), limits).await.unwrap();
        assert_eq!(pool.nonce(&first.sender), 2);
        let answers = pool.insert(vec![sized(3, 0, 90)]).await.unwrap();
        assert!(matches!(answers[0], Err(NotAccepted::Full { transactions: 3, .. })));
    });
}

/// PC-27, B6: what is reserved is still pending, cannot be given out again, and is gone once it was applied.
#[test]
fn a_transaction_leaves_the_pool_only_once_it_was_applied() {
    simulate(|context| async move {
        let disk = Disk::open(&context).await.unwrap();
        let transactions: Vec<_> = (0..5).map(|nonce| transaction(1, nonce)).collect();
        let ids: Vec<_> = transactions.iter().map(Transaction::id).collect();
        disk.pool.insert(transactions).await.unwrap();
        let proposal = disk.propose().await.unwrap();
        for id in &ids {
            assert_eq!(disk.pool.place(id), Some(Place::Reserved(Height::new(1))));
        }
        assert_eq!(disk.pool.select(1_000_000).await, Ok(Vec::new()));
        assert_eq!(disk.pool.waiting().current(), 0);
        disk.pool.release().await.unwrap();
        assert_eq!(disk.pool.place(&ids[0]), Some(Place::Pooled));
        assert_eq!(disk.pool.outstanding(), None);
        disk.pool.reserve(&proposal).await.unwrap();
        disk.pool.reserve(&proposal.clone().again()).await.unwrap();
        assert_eq!(disk.pool.outstanding(), Some(proposal.clone().again()));
        let content = Content { time_ms: 9_000, transactions: Vec::new() };
        let other = Proposal::new(disk.chain.head().block, content);
        assert!(disk.pool.reserve(&other).await.is_err(), "one at a time");
        let block = disk.apply(&proposal).await.unwrap();
        disk.pool.settle(&block).await.unwrap();
        assert!(ids.iter().all(|id| disk.pool.place(id).is_none()));
        assert_eq!((disk.pool.settled(), disk.pool.outstanding()), (Height::new(1), None));
        assert_eq!(disk.pool.nonce(&Sender([1; 32])), 5, "and its nonces stay used");
    });
}

/// What another sequencer's block used is dropped here, with the reason, and the rest waits again.
#[test]
fn a_nonce_that_another_block_used_drops_our_transaction_with_the_reason() {
    simulate(|context| async move {
        let disk = Disk::open(&context).await.unwrap();
        let ours = vec![transaction(1, 0), transaction(1, 1), transaction(2, 0)];
        disk.pool.insert(ours.clone()).await.unwrap();
        disk.propose().await.unwrap();
        let theirs = vec![sized(1, 0, 9), transaction(3, 0)];
        let content = Content { time_ms: 2_000, transactions: theirs };
        let foreign = Proposal::new(disk.chain.head().block, content);
        let block = disk.apply(&foreign).await.unwrap();
        disk.pool.settle(&block).await.unwrap();
        let dropped = "block 1 has another transaction with its nonce".to_owned();
        assert_eq!(disk.pool.place(&ours[0].id()), Some(Place::Dropped(dropped)));
        assert_eq!(disk.pool.place(&ours[1].id()), Some(Place::Pooled));
        assert_eq!(disk.pool.place(&ours[2].id()), Some(Place::Pooled));
        assert_eq!(disk.pool.nonce(&Sender([3; 32])), 1);
        let selected = disk.pool.select(1_000_000).await.unwrap();
        assert_eq!(selected, ours[1..]);
    });
}

/// A write is there as a whole or as a prefix of its lines: the first of a settlement drops what is reserved.
#[test]
fn a_pool_that_was_cut_off_in_the_middle_of_a_settlement_opens_and_settles_again() {
    use super::{held::State, record::Line};
    let mut state = State::default();
    let base = Line::Base { chain: chain_id(), settled: Height::zero() };
    let ours: Vec<_> = (0..2).map(|nonce| transaction(1, nonce)).collect();
    let content = Content { time_ms: 1, transactions: ours.clone() };
    let proposal = Proposal::new(BlockRef::new(Height::zero(), Digest([7; 32])), content);
    let accepted = ours.iter().cloned().map(Line::Accepted);
    let reserved = super::held::reservation(&proposal);
    for line in [base].into_iter().chain(accepted).chain([reserved]) {
        state.fold(line).unwrap();
    }
    // Somebody else's block of that number has another transaction with the first nonce.
    let theirs = Content { time_ms: 1, transactions: vec![sized(1, 0, 9)] };
    let theirs = Proposal::new(BlockRef::new(Height::zero(), Digest([7; 32])), theirs);
    let block = Block::of(&preblock(&theirs));
    let lines = state.settle(&block);
    assert!(matches!(lines[..], [Line::Dropped(..), Line::Settled { .. }]), "{lines:?}");
    state.fold(lines[0].clone()).unwrap();
    assert_eq!(state.waiting(), 0, "one is gone, and the other is reserved");
    for line in state.settle(&block) {
        state.fold(line).unwrap();
    }
    assert_eq!(state.waiting(), 1);
}

/// What the network fixed while nobody looked may hold any nonce.
#[test]
fn the_last_nonce_is_never_used_twice() {
    simulate(|context| async move {
        let disk = Disk::open(&context).await.unwrap();
        let content = Content { time_ms: 1_001, transactions: vec![transaction(1, u64::MAX - 1)] };
        let proposal = Proposal::new(disk.chain.head().block, content);
        let block = disk.apply(&proposal).await.unwrap();
        disk.pool.settle(&block).await.unwrap();
        let last = transaction(1, u64::MAX);
        let answers = disk.pool.insert(vec![last.clone(), last]).await.unwrap();
        assert!(answers.iter().all(|answer| matches!(answer, Err(NotAccepted::Used { .. }))));
    });
}

/// PC-30, B12: what fits, at the boundary; the delayed inbox comes first, and nonces stay in order.
#[test]
fn a_proposal_is_filled_in_order_and_a_delayed_transaction_is_one_like_others() {
    let delayed = |nonce| Transaction { sender: Sender::DELAYED, ..transaction(0, nonce) };
    let queue =
        [transaction(1, 0), delayed(0), sized(1, 1, 60), transaction(1, 2), transaction(2, 0)];
    let select = |queue: &[Transaction], bytes| {
        let placed = || (0..).zip(queue);
        let delayed = placed().filter(|(_, it)| it.sender == Sender::DELAYED);
        let chosen = select(delayed, placed(), bytes);
        assert!(chosen.iter().all(|(place, it)| queue[*place as usize] == *it));
        chosen.into_iter().map(|(_, it)| it).collect::<Vec<_>>()
    };
    let all = select(&queue, usize::MAX);
    let order = |chosen: &[Transaction]| {
        chosen.iter().map(|it| (it.sender.0[0], it.nonce)).collect::<Vec<_>>()
    };
    assert_eq!(order(&all), [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0)]);
    // One that does not fit keeps those behind it of the same sender, and nobody else.
    let small = transaction(1, 0).bytes();
    assert_eq!(order(&select(&queue, 3 * small)), [(0, 0), (1, 0), (2, 0)]);
    // With less left than the smallest transaction, the pool is not looked at; with exactly that, it is.
    let smallest = [delayed(0), sized(1, 0, 0)];
    assert_eq!(smallest[1].bytes(), TRANSACTION_BYTES_MIN - 1);
    let smallest = [delayed(0), sized(1, 0, 1)];
    assert_eq!(smallest[1].bytes(), TRANSACTION_BYTES_MIN);
    let first = smallest[0].bytes();
    assert_eq!(order(&select(&smallest, first + TRANSACTION_BYTES_MIN)).len(), 2);
    assert_eq!(order(&select(&smallest, first + TRANSACTION_BYTES_MIN - 1)).len(), 1);
}

/// The room for one more that is left at the end is not looked for in the whole pool.
#[test]
fn a_proposal_that_is_nearly_full_does_not_look_at_the_whole_pool() {
    let queue: Vec<_> = (0..20_000).map(|nonce| transaction(1, nonce)).collect();
    let bytes = queue[0].bytes() * 11 - 1;
    let mut looked = 0;
    let counted = (0..).zip(&queue).inspect(|_| looked += 1);
    let chosen = select(std::iter::empty(), counted, bytes);
    assert!(chosen.iter().map(|(_, transaction)| transaction).eq(&queue[..10]));
    assert!(looked < 300, "{looked} were looked at");
}

#[test]
fn the_chain_takes_what_goes_on_its_head_and_the_same_block_again() {
    simulate(|context| async move {
        let disk = Disk::open(&context).await.unwrap();
        disk.pool.insert(vec![transaction(1, 0)]).await.unwrap();
        let proposal = disk.propose().await.unwrap();
        let block = disk.apply(&proposal).await.unwrap();
        assert_eq!(disk.chain.head().block, block.reference());
        let again = disk.apply(&proposal.clone().again()).await.unwrap();
        assert_eq!(again, block, "it was applied already");
        let content = Content { time_ms: 1_500, transactions: Vec::new() };
        let beside =
            Proposal::new(tidewatch_core::BlockRef::new(Height::zero(), Digest([7; 32])), content);
        assert!(disk.apply(&beside).await.is_err(), "another block of its number");
        let content = Content { time_ms: 999, transactions: Vec::new() };
        let past = Proposal::new(disk.chain.head().block, content);
        assert!(disk.apply(&past).await.is_err(), "time does not go back");
        assert_eq!(disk.chain.block(Height::new(1)).await.unwrap(), block);
        assert!(disk.chain.block(Height::new(2)).await.is_err());
        assert!(disk.chain.block(Height::zero()).await.is_err());
        let other = Genesis { chain: ChainId::new("test:2").unwrap(), ..genesis() };
        let opened = Chain::open(context.child("other"), "test", other).await;
        assert!(opened.is_err_and(|fault| fault.kind == tidewatch_core::FaultKind::WrongChain));
        let other = ChainId::new("test:2").unwrap();
        let opened = DiskPool::open(context.child("it"), "test", other, Limits::default()).await;
        assert!(opened.is_err_and(|fault| fault.kind == tidewatch_core::FaultKind::WrongChain));
    });
}

/// What an outsider was told.
#[derive(Clone, Default)]
struct Told {
    accepted: BTreeMap<Digest, (u8, u64)>,
    head: u64,
    published: u64,
    /// The proposal that was handed to the network.
    submitted: Option<Proposal>,
}

/// A sequencer's life on this disk, until it fails.
async fn live<E: Context + Spawner>(disk: &Disk<E>, told: &mut Told) -> Result<(), Fault> {
    // What a start does.
    for number in disk.pool.settled().get() + 1..=disk.chain.head().block.height.get() {
        let block = disk.chain.block(Height::new(number)).await?;
        disk.pool.settle(&block).await?;
    }
    for round in 0..4_u8 {
        for sender in 1..=2 {
            let nonce = disk.pool.nonce(&Sender([sender; 32]));
            let new = vec![transaction(sender, nonce), transaction(sender, nonce + 1)];
            for (nonce, accepted) in (nonce..).zip(disk.pool.insert(new).await?) {
                told.accepted.insert(accepted.unwrap(), (sender, nonce));
            }
        }
        let proposal = match disk.pool.outstanding() {
            Some(proposal) => {
                let again = proposal.again();
                disk.pool.reserve(&again).await?;
                again
            }
            None => disk.propose().await?,
        };
        if round == 1 {
            disk.pool.release().await?;
            continue;
        }
        told.submitted = Some(proposal.clone());
        let block = disk.apply(&proposal).await?;
        told.head = block.identity.number.get();
        told.submitted = None;
        disk.pool.settle(&block).await?;
        if round != 2 {
            for number in told.published + 1..=told.head {
                let block = disk.chain.block(Height::new(number)).await?;
                disk.published.publish(&block).await?;
                told.published = number;
            }
        }
    }
    Ok(())
}

/// Every transaction that was accepted is in exactly one place, in order; what was told is there.
async fn check<E: Context + Spawner>(disk: &Disk<E>, told: &Told) {
    let head = disk.chain.head().block.height.get();
    assert!(head >= told.head && head <= told.head + 1);
    assert!(disk.published.published().get() >= told.published);
    assert!(disk.pool.settled().get() <= head);
    for number in disk.pool.settled().get() + 1..=head {
        let block = disk.chain.block(Height::new(number)).await.unwrap();
        disk.pool.settle(&block).await.unwrap();
    }
    let mut applied = BTreeSet::new();
    let mut nonces: BTreeMap<Sender, u64> = BTreeMap::new();
    for number in 1..=head {
        let block = disk.chain.block(Height::new(number)).await.unwrap();
        for transaction in &block.content.transactions {
            assert!(applied.insert(transaction.id()), "{transaction:?} is applied twice");
            let next = nonces.entry(transaction.sender).or_default();
            assert_eq!(transaction.nonce, *next, "{transaction:?} is out of order");
            *next += 1;
        }
    }
    for (id, what) in &told.accepted {
        let places = usize::from(applied.contains(id)) + usize::from(disk.pool.place(id).is_some());
        assert_eq!(places, 1, "{what:?} is in {places} places");
    }
    if let Some(submitted) = &told.submitted
        && head == told.head
    {
        let kept = disk.pool.outstanding().expect("what may be at the network is remembered");
        assert!(kept.identity.same(&submitted.identity));
        assert!(kept.identity.attempt >= submitted.identity.attempt);
        assert_eq!(kept.content, submitted.content);
    }
}

/// Lives until change `n` of the disk fails, crashes, and goes on from what is left. Whether it did not fail.
fn crash_at(n: u64, left: Left) -> bool {
    let config =
        deterministic::Config::new().with_seed(n).with_timeout(Some(Duration::from_secs(600)));
    let ((told, done), left) =
        deterministic::Runner::new(config).start_and_recover(|context| async move {
            *context.storage_fault_config().write() = faults(left);
            let (host, trouble) = Host::late(context.child("host"), n);
            trouble.fail_disk_after(n);
            let mut told = Told::default();
            let Ok(disk) = Disk::open(&host).await else { return (told, false) };
            let done = live(&disk, &mut told).await.is_ok();
            (told, done)
        });
    let mut told = told;
    deterministic::Runner::from(left).start(|context| async move {
        let disk = Disk::open(&context).await.unwrap();
        check(&disk, &told).await;
        told.head = disk.chain.head().block.height.get();
        live(&disk, &mut told).await.unwrap();
        check(&disk, &told).await;
    });
    done
}

/// PC-28, PC-36: a crash between any two changes of the disk.
#[test]
fn a_crash_between_any_two_changes_loses_no_transaction_and_applies_none_twice() {
    for left in LEFT {
        let end = (0..2_000).find(|n| crash_at(*n, left)).expect("it ends");
        assert!(end > 60, "{end} changes");
    }
}

/// A journal of which most is out of date is made shorter, and cut off at any change of the disk. With `pinned`, its
/// oldest transaction waits still, so that it is written anew as a whole.
fn shorter(pinned: bool) {
    // Large enough that the next write finds most of it out of date.
    const MANY: u64 = 5_000;
    let mut completed = false;
    for n in 0..200 {
        let config =
            deterministic::Config::new().with_seed(n).with_timeout(Some(Duration::from_secs(600)));
        let (done, left) =
            deterministic::Runner::new(config).start_and_recover(|context| async move {
                *context.storage_fault_config().write() = faults(LEFT[3]);
                let (host, trouble) = Host::late(context.child("host"), n);
                let disk = Disk::open(&host).await.unwrap();
                if pinned {
                    disk.pool.insert(vec![transaction(3, 0)]).await.unwrap();
                }
                let many: Vec<_> = (0..MANY).map(|nonce| transaction(1, nonce)).collect();
                disk.pool.insert(many.clone()).await.unwrap();
                let content = Content { time_ms: 2_000, transactions: many };
                let proposal = Proposal::new(disk.chain.head().block, content);
                disk.pool.reserve(&proposal).await.unwrap();
                let block = disk.apply(&proposal).await.unwrap();
                let waits = vec![transaction(1, MANY), transaction(2, 0)];
                disk.pool.insert(waits).await.unwrap();
                trouble.fail_disk_after(n);
                disk.pool.settle(&block).await.is_ok() && disk.propose().await.is_ok()
            });
        deterministic::Runner::from(left).start(|context| async move {
            let disk = Disk::open(&context).await.unwrap();
            let block = disk.chain.block(Height::new(1)).await.unwrap();
            disk.pool.settle(&block).await.unwrap();
            assert_eq!(disk.pool.nonce(&Sender([1; 32])), MANY + 1);
            let mut there = vec![transaction(1, MANY), transaction(2, 0)];
            if pinned {
                there.insert(0, transaction(3, 0));
            }
            let places: Vec<_> = there.iter().map(|it| disk.pool.place(&it.id())).collect();
            assert!(places.iter().all(Option::is_some), "cut off at {n}: {places:?}");
            // In the order in which they were accepted.
            match disk.pool.outstanding() {
                Some(proposal) => assert_eq!(proposal.content.transactions, there),
                None => assert_eq!(disk.pool.select(1_000_000).await.unwrap(), there),
            }
            assert_eq!(disk.pool.place(&transaction(1, 0).id()), None);
            disk.pool.insert(vec![transaction(2, 1)]).await.unwrap();
            let waiting = disk.pool.waiting().current();
            assert!(waiting == there.len() + 1 || disk.pool.outstanding().is_some(), "{waiting}");
        });
        if done {
            completed = true;
            break;
        }
    }
    assert!(completed, "it ends");
}

#[test]
fn a_pool_whose_old_lines_are_dropped_is_the_same_wherever_it_is_cut_off() {
    shorter(false);
}

#[test]
fn a_pool_that_is_written_anew_is_the_same_wherever_it_is_cut_off() {
    shorter(true);
}

/// What waits is not written once more because others left: a sequencer with a full pool would stand still meanwhile.
#[test]
fn what_waits_is_not_written_again_unless_the_oldest_does_not_leave() {
    const MANY: u64 = 20_000;
    let left = |from: u64| MANY + 3 - from / 4096 * 4096;
    for (gone, from, anew) in [
        (0..15_000, 15_002, false),
        (0..MANY, MANY + 3, false),
        // The oldest one stays: everything after it would stay in the journal.
        (1..15_000, MANY + 3, true),
    ] {
        let mut state = State::default();
        let base = Line::Base { chain: chain_id(), settled: Height::zero() };
        let accepted = (0..MANY).map(|nonce| Line::Accepted(transaction(1, nonce)));
        let gone: Vec<_> = gone.map(|nonce| transaction(1, nonce).id()).collect();
        let waits = MANY as usize - gone.len();
        let settled = Line::Settled { number: Height::new(1), gone, nonces: Vec::new() };
        let lines = [base, Line::Released].into_iter().chain(accepted).chain([settled]);
        for (position, line) in (0..).zip(lines) {
            state.fold_at(position, line).unwrap();
        }
        let shorter = state.shorter(MANY + 3, left);
        let accepted = shorter.lines.iter().filter(|line| matches!(line, Line::Accepted(_)));
        assert_eq!((shorter.from, accepted.count()), (from, if anew { waits } else { 0 }));
        // The next time, everything is where it was written.
        state.shortened(&shorter, MANY + 3);
        let end = MANY + 3 + shorter.lines.len() as u64;
        let again = state.shorter(end, |from| end - from);
        let oldest = if anew { MANY + 4 } else { from };
        assert_eq!(again.from, if waits == 0 { end } else { oldest });
    }
}

#[test]
fn what_is_reserved_and_not_there_is_damage_unless_a_later_line_takes_it_back() {
    let content = Content { time_ms: 1, transactions: vec![transaction(1, 0)] };
    let genesis = tidewatch_core::BlockRef::new(Height::zero(), Digest([7; 32]));
    let reserved = reservation(&Proposal::new(genesis, content));
    let mut state = State::default();
    state.fold_at(0, reserved.clone()).unwrap();
    assert!(state.check_reserved().is_err());
    for line in [
        Line::Released,
        Line::Settled { number: Height::new(1), gone: Vec::new(), nonces: Vec::new() },
        Line::Base { chain: chain_id(), settled: Height::zero() },
    ] {
        let mut state = State::default();
        state.fold_at(0, reserved.clone()).unwrap();
        state.fold_at(1, line).unwrap();
        state.check_reserved().unwrap();
    }
}

#[test]
fn a_chain_that_does_not_begin_with_its_genesis_or_has_two_is_refused() {
    let begin = || {
        let Genesis { chain, digest, time_ms } = genesis();
        Link::Genesis { chain, digest, time_ms }
    };
    let block = || {
        let content = Content { time_ms: 2_000, transactions: vec![] };
        let parent = BlockRef::new(Height::zero(), Digest([7; 32]));
        let Proposal { identity, content } = Proposal::new(parent, content);
        let evidence = Bytes::new();
        let preblock = Preblock { identity, content, opened: vec![], evidence };
        Link::Block(Box::new(Block::of(&preblock)))
    };
    for (lines, refused) in [
        (vec![begin(), block()], None),
        (vec![block()], Some(0)),
        (vec![begin(), block(), begin()], Some(2)),
        (vec![begin(), begin()], Some(1)),
    ] {
        simulate(|context| async move {
            let partition = "test-chain".to_owned();
            let opened = Lines::open(context.child("lines"), partition, "the chain", |_, _| Ok(()));
            opened.await.unwrap().write(&lines).await.unwrap();
            let opened = Chain::open(context.child("chain"), "test", genesis()).await;
            match (opened, refused) {
                (Ok(chain), None) => assert_eq!(chain.head().block.height, Height::new(1)),
                (Err(fault), Some(line)) => {
                    assert_eq!(fault.kind, FaultKind::CorruptRecord);
                    assert!(fault.to_string().contains(&format!("line {line} ")), "{fault}");
                }
                (opened, _) => panic!("{opened:?}"),
            }
        });
    }
}
