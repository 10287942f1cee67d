//! `tidewatch sequence`, its network of key holders and a follower of it, each a process of its own, under load.
//!
//! `cargo test -p tidewatch --test command sequencing:: -- --ignored --nocapture` kills the sequencer 50 times and the network 20
//! times, with 200 transactions a second.

mod load;

use crate::support::{
    process::{Process, with_storage},
    run::{Command, Fold, signal},
};
use commonware_runtime::Supervisor as _;
use load::{Load, Sent};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};
use tidewatch_core::{
    AnyBlock, Block as _, BlockDecoder, BlockRef, ChainId, ChainInfo, Digest, Height,
};
use tidewatch_sequencer::{
    Applier as _, Block, Opened, Publisher as _, Transaction,
    disk::{Chain, Genesis, Published},
};
use tidewatch_store::{Config as StoreConfig, Store};

/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(120);
/// Time from the first block after a kill to the next kill.
const BETWEEN_MS: Range<u64> = 100..2_000;
/// Transactions in a second.
const RATE: u32 = 200;
/// As the command has them.
const PARTITION: &str = "tidewatch-sequencer";
const CHAIN: &str = "sequenced:devnet";

/// A port that no outgoing connection is given: it must be free again after each kill.
fn free_port(rng: &mut StdRng) -> u16 {
    (0..1_000)
        .map(|_| rng.random_range(10_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// What the sequencer printed, and when.
struct Seen {
    newest: u64,
    /// When the newest block came.
    at: Instant,
    longest: Duration,
    killed: Option<(usize, Instant)>,
    /// From a kill to the next block, of each process.
    pauses: [Vec<Duration>; 2],
}

impl Seen {
    fn take(&mut self, lines: &[String]) {
        for line in lines {
            let number = line.strip_prefix("block ").and_then(|rest| rest.split(' ').next());
            let Some(number) = number.and_then(|number| number.parse().ok()) else { continue };
            // A kill may tear a line, and lines of blocks that were not published come again.
            if number <= self.newest {
                continue;
            }
            self.longest = self.longest.max(self.at.elapsed());
            (self.newest, self.at) = (number, Instant::now());
            if let Some((which, at)) = self.killed.take() {
                self.pauses[which].push(at.elapsed());
            }
        }
    }
}

fn spread(pauses: &mut [Duration]) -> String {
    pauses.sort_unstable();
    match (pauses.get(pauses.len() / 2), pauses.last()) {
        (Some(median), Some(longest)) => format!("{median:.1?} (median), {longest:.1?} (longest)"),
        _ => "none".into(),
    }
}

fn genesis() -> Genesis {
    Genesis { chain: ChainId::new(CHAIN).unwrap(), digest: Digest([0; 32]), time_ms: 0 }
}

/// Every block of the sequencer in `data`. All of them were published.
fn chain(data: &Path) -> Vec<Block> {
    with_storage(data, async |context| {
        let chain = Chain::open(context.child("chain"), PARTITION, genesis()).await.unwrap();
        let head = chain.head().block;
        let published = Published::open(context.child("published"), PARTITION).await.unwrap();
        assert_eq!(published.published(), head.height);
        let mut blocks = Vec::new();
        for number in 1..=head.height.get() {
            blocks.push(chain.block(Height::new(number)).await.unwrap());
        }
        blocks
    })
}

/// The blocks up to `upto` that the follower in `data` has.
fn followed(data: &Path, upto: u64) -> Vec<BlockRef> {
    with_storage(data, async move |context| {
        let Genesis { chain: id, digest, .. } = genesis();
        let info = ChainInfo { id, genesis: BlockRef::new(Height::zero(), digest) };
        let config = StoreConfig::new(info, BlockDecoder::new::<Block>(()));
        let store = Store::open::<_, AnyBlock>(context.child("store"), config).await.unwrap().1;
        let heights: Vec<_> = (1..=upto).map(Height::new).collect();
        store.locate(&heights).await.unwrap().into_iter().map(Option::unwrap).collect()
    })
}

/// Each block stands on the one before it, and each transaction that was acknowledged is in exactly one. Returns how
/// many were dropped, by reason.
fn check(blocks: &[Block], sent: &Sent) -> BTreeMap<String, usize> {
    let (mut parent, mut places) = (genesis().digest, BTreeMap::new());
    let (mut dropped, mut nonces) = (BTreeMap::new(), BTreeSet::new());
    for (at, block) in blocks.iter().enumerate() {
        assert_eq!(block.identity.number.get(), at as u64 + 1, "no gap");
        assert_eq!(block.parent(), parent, "block {}", at + 1);
        parent = block.reference().digest;
        assert_eq!(block.content.transactions.len(), block.opened.len());
        for (transaction, opened) in block.content.transactions.iter().zip(&block.opened) {
            let id = transaction.id();
            assert_eq!(places.insert(id, at + 1), None, "{id} is in two blocks");
            let Transaction { sender, nonce, .. } = transaction;
            assert!(nonces.insert((*sender, *nonce)), "nonce {nonce} is used twice");
            match opened {
                Opened::Clear(said) => {
                    let expected = sent.acknowledged.get(&id).or_else(|| sent.unanswered.get(&id));
                    assert_eq!(Some(said), expected, "{id} says what its sender said");
                }
                Opened::Dropped(reason) => {
                    let words: String =
                        reason.chars().filter(|letter| !letter.is_ascii_digit()).collect();
                    *dropped.entry(words).or_default() += 1;
                }
            }
        }
    }
    for id in sent.acknowledged.keys() {
        assert!(places.contains_key(id), "{id} was acknowledged, and is in no block");
    }
    let known =
        |id: &Digest| sent.acknowledged.contains_key(id) || sent.unanswered.contains_key(id);
    assert!(places.keys().all(known), "nobody sent it");
    dropped
}

/// Kills the sequencer and the network so many times, and looks at what came out.
fn killed(sequencer_kills: usize, network_kills: usize, seed: u64) {
    let data = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let [ordering, intake, served] = [(); 3].map(|()| free_port(&mut rng));
    let place = |name: &str| data.path().join(name).to_str().unwrap().to_owned();
    let network = place("network");
    let network = move || {
        let port = ordering.to_string();
        Command::new(&["sequence", "network", "--port", &port, "--data-dir", &network])
    };
    let sequencer = place("sequencer");
    let sequencer = move || {
        Command::new(&["sequence", "--interval", "1", "--data-dir", &sequencer])
            .with(["--listen", &format!("127.0.0.1:{intake}")])
            .with(["--ordering", &format!("http://127.0.0.1:{ordering}")])
            .with(["--serve", &format!("127.0.0.1:{served}")])
    };
    let follower = place("follower");
    let follower = move || {
        Command::new(&["follow", "--format", "json", "--data-dir", &follower])
            .with(["--source", &format!("tide+http://127.0.0.1:{served}")])
    };
    // The sequencer waits for its network, and the follower is started once there is something to follow.
    let began = Instant::now();
    let mut processes = [Process::start(sequencer), Process::start(network)];
    processes[0].run.as_ref().unwrap().line_with("sequencing at ");
    let mut following = Process::start(follower);
    let load = Load::start(&format!("http://127.0.0.1:{intake}"), RATE);
    let mut seen = Seen {
        newest: 0,
        at: Instant::now(),
        longest: Duration::ZERO,
        killed: None,
        pauses: [Vec::new(), Vec::new()],
    };
    let mut fold = Fold::default();
    let kills = [sequencer_kills, network_kills];
    let (mut next, mut upto, mut early) = (None, 1, false);
    loop {
        let lines = processes[0].lines(Duration::from_millis(20));
        seen.take(&lines);
        processes[1].lines(Duration::ZERO);
        following.lines(Duration::ZERO).iter().for_each(|line| fold.line(line));
        assert!(seen.at.elapsed() < LIMIT, "no block after {}", seen.newest);
        let left: Vec<_> = (0..2).filter(|nth| processes[*nth].kills < kills[*nth]).collect();
        if left.is_empty() && seen.newest > upto {
            break;
        }
        // A kill comes some time after a block, and one in four while it starts.
        if next.is_none() && (seen.newest > upto || early) {
            next = Some(Instant::now() + Duration::from_millis(rng.random_range(BETWEEN_MS)));
        }
        if left.is_empty() || next.is_none_or(|next| Instant::now() < next) {
            continue;
        }
        (next, upto, early) = (None, seen.newest, rng.random_range(0..4) == 0);
        let weight = |nth: &usize| kills[*nth] - processes[*nth].kills;
        let at = rng.random_range(0..left.iter().map(weight).sum());
        let which = if left[0] == 0 && at < weight(&0) { 0 } else { left[left.len() - 1] };
        let last = processes[which].kill(LIMIT);
        if which == 0 {
            seen.take(&last);
        }
        seen.killed = Some((which, Instant::now()));
        // The follower is killed as often as the network.
        if which == 1 {
            let last = following.kill(LIMIT);
            // A kill may tear the last line.
            let whole = last.iter().filter(|line| line.ends_with('}'));
            whole.for_each(|line| fold.line(line));
        }
    }
    let took = began.elapsed();
    let sent = load.stop();
    // Everything that was accepted is in a block, and the follower has that.
    seen.take(&processes[0].lines(Duration::from_millis(20)));
    let (last, deadline) = (seen.newest, Instant::now() + LIMIT);
    while fold.delivered < Some(last) {
        assert!(Instant::now() < deadline, "the follower has {:?} of {last}", fold.delivered);
        following.lines(Duration::from_millis(20)).iter().for_each(|line| fold.line(line));
    }
    for process in [following].into_iter().chain(processes) {
        let run = process.run.unwrap();
        signal(&run, "TERM");
        let output = run.end(LIMIT);
        assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
    }
    let upto = fold.delivered.unwrap();
    let blocks = chain(Path::new(&place("sequencer")));
    let dropped = check(&blocks, &sent);
    let ours: Vec<_> = blocks.iter().take(upto as usize).map(Block::reference).collect();
    assert_eq!(followed(Path::new(&place("follower")), upto), ours, "block by block");
    let own = followed(Path::new(&place("sequencer")), upto);
    assert_eq!(own, ours, "what it serves is its chain");

    let transactions: usize = blocks.iter().map(|block| block.opened.len()).sum();
    let rate = sent.acknowledged.len() as f64 / took.as_secs_f64();
    println!(
        "{sequencer_kills} kills of the sequencer and {network_kills} of the network in {took:.0?}: {} blocks, \
         {transactions} transactions, {rate:.0} a second",
        blocks.len()
    );
    println!(
        "{} acknowledged, {} without an answer of which {} are in a block, refused by status {:?}; dropped: {dropped:?}",
        sent.acknowledged.len(),
        sent.unanswered.len(),
        transactions - sent.acknowledged.len(),
        sent.refused
    );
    let [mut sequencer, mut network] = seen.pauses;
    println!(
        "longest pause between two blocks {:.1?}; from a kill of the sequencer to the next block {}, of the network {}; \
         {} lines of the follower came again",
        seen.longest,
        spread(&mut sequencer),
        spread(&mut network),
        fold.repeated
    );
}

#[test]
fn killed_under_load_every_acknowledged_transaction_is_in_one_block_and_a_follower_agrees() {
    killed(3, 2, 21);
}

#[test]
#[ignore = "takes minutes: the module says how to run it"]
fn seventy_kills_under_load() {
    killed(50, 20, 22);
}
