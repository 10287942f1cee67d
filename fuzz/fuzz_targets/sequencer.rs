//! What a sequencer reads from the network of key holders, from senders, and from its disk.
//!
//! The properties:
//!
//! - evidence, transactions, proposals and preblocks have one encoding;
//! - a payload that is no envelope says nothing, whatever its order is fixed as of; one that is says something only with
//!   the seed of its round, and only what was sealed;
//! - a preblock of the stream that verifies is the one that the network made;
//! - a pool and a chain open over whatever lines stand in their journals under valid checksums, or are refused with a
//!   typed reason; one that opens takes transactions, gives them out, settles a block, and is the same after a restart.
#![no_main]

use arbitrary::Arbitrary;
use bytes::{Buf, BufMut, Bytes};
use commonware_codec::{Decode, DecodeExt as _, Encode, EncodeSize, Error, Read, Write};
use commonware_consensus::{
    simplex::scheme::Namespace,
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    Signer as _,
    bls12381::primitives::{
        group::Private,
        ops,
        variant::{MinSig, Variant},
    },
    ed25519,
};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic::Context};
use commonware_utils::ordered::Set;
use libfuzzer_sys::fuzz_target;
use rand::{SeedableRng as _, rngs::StdRng};
use std::{fmt::Debug, sync::LazyLock};
use tidewatch_core::{BlockRef, ChainId, Digest, Fault, Height};
use tidewatch_fuzz::{Damage, runner};
use tidewatch_sequencer::{
    Applier as _, Block, Content, Identity, NotApplied, Opened, Pool as _, Preblock, Proposal,
    Sender, Transaction,
    disk::{Chain, DiskPool, Genesis, Limits, Lines},
    remote::wire,
    timelock::{AHEAD_MAX, Evidence, Keys, Statement},
};

const NAMESPACE: &[u8] = b"_FUZZ";
/// As of which the order of the preblock is fixed, and to which its transactions are sealed.
const FIXED: u64 = 300;
const CLEAR: &[u8] = b"what it says";
const PARTITION: &str = "fuzz";

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Any bytes, as anything.
    Bytes(Kind, &'a [u8]),
    /// What is right, damaged.
    Damaged(Kind, Vec<Damage<'a>>),
    /// A sealed payload, damaged; opened as of a round so far below or above its own.
    Payload { damage: Vec<Damage<'a>>, fixed: i8, by: Option<u8>, nonce: u8 },
    /// A line of the stream: damaged as text, or below the text.
    Line { text: bool, damage: Vec<Damage<'a>> },
    Name(&'a str),
    /// Lines of a pool that ran, in another order, each perhaps damaged; then as many callers.
    Pool { lines: Vec<(u8, Vec<Damage<'a>>)>, room: u16 },
    Chain { lines: Vec<(u8, Vec<Damage<'a>>)> },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Evidence,
    Transaction,
    Proposal,
    Preblock,
    Block,
}

/// A line of a journal, whatever it is.
#[derive(Clone)]
struct Raw(Vec<u8>);

impl Write for Raw {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }
}

impl EncodeSize for Raw {
    fn encode_size(&self) -> usize {
        self.0.len()
    }
}

impl Read for Raw {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let mut bytes = vec![0; buf.remaining()];
        buf.copy_to_slice(&mut bytes);
        Ok(Self(bytes))
    }
}

struct World {
    keys: Keys,
    secret: Private,
    preblock: Preblock,
    pool: Vec<Raw>,
    chain: Vec<Raw>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

const fn round(view: u64) -> Round {
    Round::new(Epoch::zero(), View::new(view))
}

fn genesis() -> Genesis {
    let chain = ChainId::new("fuzz:1").expect("printable");
    Genesis { chain, digest: Digest([7; 32]), time_ms: 5 }
}

fn parent() -> BlockRef {
    BlockRef::new(Height::zero(), genesis().digest)
}

impl World {
    fn new() -> Self {
        let (secret, identity) = ops::keypair::<_, MinSig>(&mut StdRng::seed_from_u64(1));
        let mut holders: Vec<_> = (0..4).map(ed25519::PrivateKey::from_seed).collect();
        holders.sort_by_key(|key| key.public_key());
        let public = Set::from_iter_dedup(holders.iter().map(|key| key.public_key()));
        let keys = Keys { namespace: NAMESPACE.to_vec(), identity, holders: public };
        let sealed = |by: u8, nonce: u64| {
            let sender = Sender([by; 32]);
            let rng = &mut StdRng::seed_from_u64(nonce);
            let payload = keys.seal(rng, round(FIXED), (sender, nonce), CLEAR).expect("seals");
            Transaction { sender, nonce, payload }
        };
        let transactions = vec![sealed(1, 0), sealed(1, 1), sealed(2, 0)];
        let proposal = Proposal::new(parent(), Content { time_ms: 6, transactions });
        let statement = Statement { identity: proposal.identity, fixed: round(FIXED) };
        let attested = (0..).zip(&holders).take(3);
        let evidence = Evidence {
            fixed: round(FIXED),
            attestations: attested.map(|(at, key)| (at, keys.attest(key, &statement))).collect(),
            seeds: vec![seed(&secret, round(FIXED))],
        };
        let preblock = Keys::open(proposal, &evidence).expect("all seeds are there");
        keys.verify(&preblock).expect("verifies");
        let (pool, chain) = lines(&preblock);
        Self { keys, secret, preblock, pool, chain }
    }

    fn bytes(&self, kind: Kind) -> Bytes {
        let Preblock { identity, content, .. } = self.preblock.clone();
        match kind {
            Kind::Evidence => self.preblock.evidence.clone(),
            Kind::Transaction => content.transactions[0].encode(),
            Kind::Proposal => Proposal { identity, content }.encode(),
            Kind::Preblock => self.preblock.encode(),
            Kind::Block => Block::of(&self.preblock).encode(),
        }
    }
}

fn seed(secret: &Private, round: Round) -> (Round, <MinSig as Variant>::Signature) {
    let namespace = Namespace::new(NAMESPACE).seed;
    (round, ops::sign_message::<MinSig>(secret, &namespace, &round.encode()))
}

/// The lines of a pool and of a chain that took all of `preblock`, and one more.
fn lines(preblock: &Preblock) -> (Vec<Raw>, Vec<Raw>) {
    runner().start(|context| async move {
        let pool = pool(&context).await.expect("opens");
        let chain = chain(&context).await.expect("opens");
        let Preblock { identity, content, .. } = preblock.clone();
        pool.insert(content.transactions.clone()).await.expect("writes");
        let late = Transaction { nonce: 1, ..content.transactions[2].clone() };
        pool.insert(vec![late]).await.expect("writes");
        pool.reserve(&Proposal { identity, content }).await.expect("reserves");
        pool.release().await.expect("releases");
        let block = chain.apply(preblock).await.expect("applies");
        pool.settle(&block).await.expect("settles");
        drop((pool, chain));
        (read(&context, "pool").await, read(&context, "chain").await)
    })
}

async fn read(context: &Context, part: &str) -> Vec<Raw> {
    let mut lines = Vec::new();
    let fold = |_, line: Raw| {
        lines.push(line);
        Ok(())
    };
    let at = context.child("read");
    drop(Lines::open(at, format!("{PARTITION}-{part}"), "lines", fold).await.expect("opens"));
    lines
}

async fn pool(context: &Context) -> Result<DiskPool<Context>, Fault> {
    let limits = Limits { transactions: 64, ..Limits::default() };
    DiskPool::open(context.child("pool"), PARTITION, genesis().chain, limits).await
}

async fn chain(context: &Context) -> Result<Chain<Context>, Fault> {
    Chain::open(context.child("chain"), PARTITION, genesis()).await
}

fn damaged(bytes: &[u8], damage: &[Damage<'_>]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    damage.iter().for_each(|damage| damage.apply(&mut bytes));
    bytes
}

fn exact<T: Decode<Cfg = ()> + Encode + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = T::decode_cfg(bytes, &()) else { return };
    assert_eq!(value.encode(), bytes, "{value:?} has another encoding");
}

fn decode(kind: Kind, bytes: &[u8]) {
    match kind {
        Kind::Evidence => exact::<Evidence>(bytes),
        Kind::Transaction => exact::<Transaction>(bytes),
        Kind::Proposal => exact::<Proposal>(bytes),
        Kind::Preblock => exact::<Preblock>(bytes),
        Kind::Block => exact::<Block>(bytes),
    }
}

fn payload(world: &World, damage: &[Damage<'_>], fixed: i8, by: Option<u8>, nonce: u8) {
    let first = &world.preblock.content.transactions[0];
    let payload = damaged(&first.payload, damage);
    let sealed_to = Keys::sealed_to(&payload);
    let transaction = Transaction {
        sender: by.map_or(first.sender, |by| Sender([by; 32])),
        nonce: nonce.into(),
        payload: payload.into(),
    };
    if transaction.sender == Sender::DELAYED {
        return;
    }
    let to = sealed_to.unwrap_or(round(FIXED));
    let as_of = to.view().get().saturating_add_signed(fixed.into());
    let fixed = Round::new(to.epoch(), View::new(as_of));
    let content = Content { time_ms: 6, transactions: vec![transaction.clone()] };
    let awaited = Keys::awaited(&content, fixed);
    let in_time = to >= fixed && to.view().get() - fixed.view().get() <= AHEAD_MAX;
    if sealed_to.is_some() {
        assert_eq!(awaited, if in_time { vec![to] } else { vec![] });
    }
    let proposal = Proposal::new(parent(), content);
    let none = Evidence { fixed, attestations: vec![], seeds: vec![] };
    let without = Keys::open(proposal.clone(), &none);
    if sealed_to.is_some() && in_time {
        assert_eq!(without, None, "nobody reads it without the seed");
    }
    let seeds = awaited.iter().map(|round| seed(&world.secret, *round)).collect();
    let opened = Keys::open(proposal, &Evidence { seeds, ..none }).expect("all seeds are there");
    match &opened.opened[..] {
        [Opened::Clear(said)] => {
            assert!(sealed_to.is_some() && in_time && **said == *CLEAR);
            assert_eq!(transaction, *first, "nothing else says that");
        }
        [Opened::Dropped(why)] => assert!(!why.is_empty() && transaction != *first || !in_time),
        opened => panic!("{opened:?}"),
    }
}

fn stream(world: &World, text: bool, damage: &[Damage<'_>]) {
    let line = wire::line(&world.preblock);
    let line = line.trim_end();
    let read = if text {
        wire::preblock(&damaged(line.as_bytes(), damage))
    } else {
        let bytes = damaged(&world.preblock.encode(), damage);
        Preblock::decode(bytes.as_slice()).map_err(|error| error.to_string())
    };
    let Ok(preblock) = read else { return };
    assert_eq!(wire::preblock(wire::line(&preblock).trim_end().as_bytes()), Ok(preblock.clone()));
    if world.keys.verify(&preblock).is_ok() {
        let attempt = preblock.identity.attempt;
        let identity = Identity { attempt, ..world.preblock.identity };
        assert_eq!(preblock, Preblock { identity, ..world.preblock.clone() });
    }
}

/// The lines that the input names, in its order: a base that is right comes first, if it says so.
fn chosen(from: &[Raw], lines: &[(u8, Vec<Damage<'_>>)]) -> Vec<Raw> {
    let line = |(at, damage): &(u8, Vec<_>)| {
        Raw(damaged(&from[usize::from(*at) % from.len()].0, damage))
    };
    lines.iter().take(24).map(line).collect()
}

async fn written(context: &Context, part: &str, lines: &[Raw]) {
    let at = context.child("write");
    let open = Lines::open(at, format!("{PARTITION}-{part}"), "lines", |_, _: Raw| Ok(())).await;
    open.expect("opens").write(lines).await.expect("writes");
}

async fn pool_of(context: Context, world: &World, lines: &[Raw], room: usize) {
    written(&context, "pool", lines).await;
    let Ok(open) = pool(&context).await else { return };
    let before = open.waiting().current();
    let selected = open.select(room).await.expect("it is not locked");
    assert!(selected.len() <= before);
    assert!(selected.iter().map(Transaction::bytes).sum::<usize>() <= room);
    let sender = Sender([9; 32]);
    let payload = world.preblock.content.transactions[0].payload.clone();
    let transaction = Transaction { sender, nonce: open.nonce(&sender), payload };
    let answers = open.insert(vec![transaction.clone()]).await.expect("writes");
    let accepted = answers[0].is_ok();
    if open.settled() < Height::new(1) {
        let block = Block::of(&world.preblock);
        open.settle(&block).await.expect("settles");
        assert_eq!(open.settled(), Height::new(1));
    }
    let (waiting, nonce) = (open.waiting().current(), open.nonce(&sender));
    let outstanding = open.outstanding();
    assert!(!accepted || open.place(&transaction.id()).is_some());
    drop(open);
    let again = pool(&context).await.expect("opens what it wrote");
    assert_eq!((again.waiting().current(), again.nonce(&sender)), (waiting, nonce));
    assert_eq!(again.outstanding(), outstanding);
}

async fn chain_of(context: Context, world: &World, lines: &[Raw]) {
    written(&context, "chain", lines).await;
    let Ok(open) = chain(&context).await else { return };
    let head = open.head();
    for number in 1..=head.block.height.get().min(4) {
        // A line may stand in another place than its number.
        drop(open.block(Height::new(number)).await);
    }
    match open.apply(&world.preblock).await {
        Ok(block) => assert!(block.identity.same(&world.preblock.identity)),
        Err(NotApplied::Failed(_)) => {}
        Err(NotApplied::Rejected(why)) => panic!("{why}"),
    }
    let head = open.head();
    drop(open);
    let again = chain(&context).await.expect("opens what it wrote");
    assert_eq!(again.head(), head);
}

fuzz_target!(|input: Input<'_>| {
    let world = &*WORLD;
    match input {
        Input::Bytes(kind, bytes) => decode(kind, bytes),
        Input::Damaged(kind, damage) => decode(kind, &damaged(&world.bytes(kind), &damage)),
        Input::Payload { damage, fixed, by, nonce } => payload(world, &damage, fixed, by, nonce),
        Input::Line { text, damage } => stream(world, text, &damage),
        Input::Name(text) => {
            if let Some(identity) = wire::named(text) {
                assert_eq!(wire::name(&identity), text);
            }
        }
        Input::Pool { lines, room } => {
            let lines = chosen(&world.pool, &lines);
            runner().start(|context| pool_of(context, world, &lines, room.into()));
        }
        Input::Chain { lines } => {
            let lines = chosen(&world.chain, &lines);
            runner().start(|context| chain_of(context, world, &lines));
        }
    }
});
