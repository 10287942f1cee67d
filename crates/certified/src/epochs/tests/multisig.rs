//! A chain certified by ed25519 multisignatures: its certificates name their signers, and there is no key
//! that outlives a committee.

use super::world::height;
use crate::{
    Boundary, Config, Key, Known, Parts, Schemes, SchemesParts,
    mocks::{Answer, Chain, DATA_MAX, Scripted, TestBlock},
    open,
};
use bytes::Bytes;
use commonware_codec::{Encode as _, Error, RangeCfg, Read as _};
use commonware_consensus::{
    simplex::{
        scheme::ed25519,
        types::{Finalization, Finalize, Proposal},
    },
    types::{Epoch, FixedEpocher, Round, View},
};
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use commonware_utils::{NZU64, non_empty, ordered::Set};
use std::sync::Arc;
use tidewatch_core::{Block as _, ChainId, FaultKind, Height, Source as _, Tier};
use tidewatch_testkit::monitor::Faults;

const NAMESPACE: &[u8] = b"_TIDEWATCH_MULTISIG";
const LENGTH: u64 = 10;
const MEMBERS: u64 = 4;

fn keys(epoch: u64) -> Vec<PrivateKey> {
    // Each committee has three members of the one before it.
    let mut keys: Vec<_> = (epoch..epoch + MEMBERS).map(PrivateKey::from_seed).collect();
    keys.sort_by_key(|key| key.public_key());
    keys
}

fn members(epoch: u64) -> Set<PublicKey> {
    Set::from_iter_dedup(keys(epoch).iter().map(|key| key.public_key()))
}

struct Committees;

impl Boundary<TestBlock> for Committees {
    type Scheme = ed25519::Scheme;

    fn scheme(&self, _: Epoch, block: &TestBlock) -> Result<ed25519::Scheme, Error> {
        let bound = (RangeCfg::from(1..=MEMBERS as usize), ());
        let members = Set::<PublicKey>::read_cfg(&mut block.data.clone(), &bound)?;
        Ok(ed25519::Scheme::verifier(NAMESPACE, members))
    }

    fn key(&self, _: &ed25519::Scheme) -> Option<Bytes> {
        None
    }
}

fn chain(tip: u64) -> Chain {
    let mut chain = Chain::new(0);
    for height in 1..=tip {
        let parent = chain.reference(height - 1).digest;
        let ends = (height + 1) % LENGTH == 0;
        let data = if ends { members((height + 1) / LENGTH).encode() } else { Bytes::new() };
        chain.blocks.push(TestBlock::new(height, parent, &data));
    }
    chain
}

/// The block at `height`, finalized by `signers` members of the committee of `epoch`.
fn certified(chain: &Chain, height: u64, epoch: u64, signers: usize) -> Bytes {
    let block = chain.block(height);
    let view = View::new(1 + height % LENGTH);
    let round = Round::new(Epoch::new(height / LENGTH), view);
    let proposal = Proposal::new(round, View::zero(), block.reference().digest);
    let schemes: Vec<_> = keys(epoch)
        .into_iter()
        .map(|key| ed25519::Scheme::signer(NAMESPACE, members(epoch), key).unwrap())
        .collect();
    let votes: Vec<_> = schemes[..signers]
        .iter()
        .map(|scheme| Finalize::sign(scheme, proposal.clone()).unwrap())
        .collect();
    let finalization =
        Finalization::from_finalizes(&schemes[0], non_empty![@&votes], &Sequential).unwrap();
    [finalization.encode(), block.encode()].concat().into()
}

fn answers(chain: &Chain, tip: u64) -> impl FnMut(Key) -> Answer + Send + use<> {
    let chain = chain.clone();
    move |key| match key {
        Key::LatestFinalization => Answer::Bytes(certified(&chain, tip, tip / LENGTH, 3)),
        Key::Height(at) if at.get() <= tip => {
            Answer::Bytes(certified(&chain, at.get(), at.get() / LENGTH, 3))
        }
        _ => Answer::Missing,
    }
}

type Table = Schemes<FixedEpocher, Committees, TestBlock>;

fn table() -> Table {
    let parts = SchemesParts {
        epocher: FixedEpocher::new(NZU64!(LENGTH)),
        boundary: Committees,
        blocks: RangeCfg::from(..=DATA_MAX),
        certificates: MEMBERS as usize,
    };
    Schemes::new(parts, Epoch::zero(), ed25519::Scheme::verifier(NAMESPACE, members(0)))
}

fn run(
    script: impl FnMut(Key) -> Answer + Send + 'static,
    table: &Table,
) -> Result<Height, FaultKind> {
    let table = table.clone();
    deterministic::Runner::seeded(1).start(|context| async move {
        let parts = Parts {
            chain: ChainId::new("test:multisig").unwrap(),
            genesis: Chain::new(0).block(0).clone(),
            codec: RangeCfg::from(..=DATA_MAX),
            epochs: table,
            transport: Arc::new(Scripted::new(&context, script)),
            monitor: Arc::<Faults>::default(),
        };
        let (source, _) = open(context.child("certified"), parts, Config::default());
        let snapshot = source.snapshot().await.map_err(|fault| fault.kind)?;
        Ok(snapshot.tips.block(Tier::Finalized).unwrap().height)
    })
}

#[test]
fn committees_that_overlap_are_walked_one_by_one() {
    let (chain, table) = (chain(55), table());
    assert_eq!(run(answers(&chain, 55), &table), Ok(Height::new(55)));
    for epoch in 1..=5 {
        let boundary = chain.reference(epoch * LENGTH - 1);
        assert_eq!(table.known(Epoch::new(epoch)), Some(Known::Boundary(boundary)));
    }
}

#[test]
fn the_committee_before_cannot_sign_for_the_next_epoch() {
    let chain = chain(55);
    let mut honest = answers(&chain, 55);
    let stale = certified(&chain, 55, 4, 4);
    let script = move |key| match key {
        Key::LatestFinalization => Answer::Bytes(stale.clone()),
        key => honest(key),
    };
    assert_eq!(run(script, &table()), Err(FaultKind::InvalidCertificate));
}

#[test]
fn a_certificate_of_more_signers_than_any_committee_has_is_malformed() {
    let chain = chain(15);
    let mut honest = answers(&chain, 15);
    let mut long = certified(&chain, 15, 1, 3).to_vec();
    // Behind the proposal (three small numbers and a digest) is the number of bits of the signers.
    long[3 + 32 + 7] = 200;
    let script = move |key| match key {
        Key::LatestFinalization => Answer::Bytes(long.clone().into()),
        key if key == height(9) => honest(key),
        _ => Answer::Missing,
    };
    assert_eq!(run(script, &table()), Err(FaultKind::Malformed));
}
