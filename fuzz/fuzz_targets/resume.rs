//! Forged cursors, resumed by a log that never issued them.
//!
//! A consumer sends a cursor as text. The log only compares it with its own state, so that for any
//! cursor:
//!
//! - it is resumed, or rejected with a reason, without a panic;
//! - `Exact` is a position of this log with the watermarks of the cursor;
//! - `Forked` returns a bridge whose fold leads from the cursor to the watermarks of this log, never
//!   reverts blocks that are finalized in the cursor, and ends in a position of this log;
//! - `TooOld` names a position from which this log resumes.
#![no_main]

use arbitrary::Arbitrary;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use std::{num::NonZeroU64, sync::LazyLock};
use tidewatch_core::{
    BlockRef, ChainId, Cursor, Digest, Event, EventLog as _, Height, History as _, LocalView as _,
    Record, Resume, ResumeError, Tier, TipSet, Watermarks,
};
use tidewatch_fuzz::{Both, Chain, chain_info};
use tidewatch_sources::alto::AltoBlock;
use tidewatch_store::{Memory, MemoryReader, MemoryWriter};

type Log = Both<MemoryWriter<AltoBlock>, MemoryReader<AltoBlock>>;

/// A block that the cursor names.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Named {
    /// On the log's chain.
    Ours(u8),
    /// On a chain that forks from it at height 20.
    Theirs(u8),
    /// On no chain.
    Other(u64, u8),
}

#[derive(Arbitrary, Debug)]
struct Input {
    log: u8,
    other_chain: bool,
    handled: u64,
    delivered: Option<Named>,
    tips: [Option<Named>; 4],
    below: Vec<Named>,
}

struct World {
    chain: Chain,
    fork: Chain,
    logs: Vec<Log>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let chain = Chain::of(60);
    let fork = chain.forked(20, 60, 1);
    let logs = block_on(async {
        vec![
            empty(),
            full(&chain, &fork).await,
            late(&chain).await,
            tips(&chain).await,
            short(&chain).await,
        ]
    });
    World { chain, fork, logs }
});

fn empty() -> Log {
    Memory::new(chain_info()).into()
}

/// A log with blocks from height 1, after a reorg.
async fn full(chain: &Chain, fork: &Chain) -> Log {
    let mut log = empty();
    log.commit(vec![fork.blocks(1, 30), fork.up(Tier::Proposed, 30), fork.finalize(10)])
        .await
        .expect("links");
    let watermarks = log.watermarks().await.expect("open");
    let back = vec![
        chain.prune(&watermarks, 20),
        chain.blocks(21, 50),
        chain.up(Tier::Proposed, 50),
        chain.finalize(40),
    ];
    log.commit(back).await.expect("links");
    log
}

/// A log with blocks from height 30.
async fn late(chain: &Chain) -> Log {
    let mut log = empty();
    log.commit(vec![chain.blocks(30, 50), chain.up(Tier::Proposed, 50), chain.finalize(45)])
        .await
        .expect("links");
    log
}

/// A tips-only log.
async fn tips(chain: &Chain) -> Log {
    let mut log = empty();
    for height in (3..=50).step_by(3) {
        let up = vec![chain.up(Tier::Proposed, height), chain.finalize(height - 2)];
        log.commit(up).await.expect("in order");
    }
    log
}

/// A log that retains only the last eight events.
async fn short(chain: &Chain) -> Log {
    let mut log: Log =
        Memory::with_retention(chain_info(), NonZeroU64::new(8).expect("not zero")).into();
    for height in 1..=50 {
        let up = vec![
            chain.blocks(height, height),
            chain.up(Tier::Proposed, height),
            chain.finalize(height),
        ];
        log.commit(up).await.expect("links");
    }
    log
}

impl World {
    fn block(&self, named: Named) -> BlockRef {
        match named {
            Named::Ours(height) => self.chain.at(u64::from(height) % (self.chain.top() + 1)),
            Named::Theirs(height) => self.fork.at(u64::from(height) % (self.fork.top() + 1)),
            Named::Other(height, fill) => BlockRef::new(Height::new(height), Digest([fill; 32])),
        }
    }

    fn cursor(&self, input: &Input) -> Cursor {
        let name = |named: Option<Named>| named.map(|named| self.block(named));
        let mut tips = TipSet::unknown();
        for (tier, tip) in Tier::ALL.into_iter().zip(input.tips) {
            tips.set(tier, name(tip).map(Into::into));
        }
        let watermarks = Watermarks { delivered: name(input.delivered), tips };
        let below: Vec<_> = input.below.iter().map(|named| self.block(*named)).collect();
        let chain = if input.other_chain {
            ChainId::new("fuzz:2").expect("printable")
        } else {
            chain_info().id
        };
        Cursor::new(&chain, input.handled, &watermarks, &below)
    }
}

fuzz_target!(|input: Input| {
    let world = &*WORLD;
    let log = &world.logs[usize::from(input.log) % world.logs.len()];
    // A consumer sends the cursor as text.
    let cursor: Cursor = world.cursor(&input).to_string().parse().expect("a cursor");
    block_on(check(log, &cursor, input.other_chain));
});

async fn check(log: &Log, cursor: &Cursor, other_chain: bool) {
    let answer = log.resume(cursor).await;
    assert_eq!(matches!(answer, Err(ResumeError::WrongChain { .. })), other_chain, "{answer:?}");
    match answer {
        Ok(Resume::Exact { next }) => exact(log, cursor, next).await,
        Ok(Resume::Forked { ancestor, bridge, next }) => {
            forked(log, cursor, ancestor, &bridge, next).await
        }
        Err(ResumeError::TooOld { restart }) => {
            let again = log.resume(&restart).await;
            assert!(matches!(again, Ok(Resume::Exact { .. })), "{again:?}");
        }
        Err(ResumeError::WrongChain { .. } | ResumeError::Ahead { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}

async fn exact(log: &Log, cursor: &Cursor, next: u64) {
    assert_eq!(next, cursor.handled());
    let watermarks = match next.checked_sub(1) {
        None => Watermarks::none(),
        Some(last) => match log.read(last, 1.try_into().expect("not zero")).await {
            Ok(records) => records.first().expect("handled").watermarks,
            // The record was trimmed, so its watermarks can no longer be compared.
            Err(_) => return,
        },
    };
    assert!(cursor.stands_at(&watermarks), "{cursor:?} does not stand at {watermarks:?}");
}

async fn forked(log: &Log, cursor: &Cursor, ancestor: BlockRef, bridge: &[Record], next: u64) {
    let ours = log.watermarks().await.expect("open");
    let known = log.locate(&[ancestor.height]).await.expect("open");
    // Who stands nowhere shares genesis, whether the log still knows it or not.
    let nowhere = standing(cursor).head().is_none();
    assert!(nowhere || known == [Some(ancestor)], "the ancestor {ancestor} is a block of this log");
    let mut watermarks = standing(cursor);
    let finalized = cursor.block(Tier::Finalized).map(|block| block.height);
    for record in bridge {
        watermarks.apply(&record.event);
        assert!(record.watermarks.same_blocks(&watermarks));
        if let Event::Pruned { to, .. } = record.event {
            assert!(finalized.is_none_or(|finalized| finalized <= to.height));
        }
        assert_eq!(record.cursor.to_string().parse().as_ref(), Ok(&record.cursor));
    }
    assert!(watermarks.same_blocks(&ours), "{watermarks:?} is not {ours:?}");
    if let Some(last) = bridge.last() {
        assert_eq!(log.resume(&last.cursor).await, Ok(Resume::Exact { next }));
    }
}

fn standing(cursor: &Cursor) -> Watermarks {
    let mut tips = TipSet::unknown();
    for tier in Tier::ALL {
        tips.set(tier, cursor.block(tier).map(Into::into));
    }
    Watermarks { delivered: cursor.delivered(), tips }
}
