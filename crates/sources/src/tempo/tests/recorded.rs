//! Two blocks of mainnet with their certificates, its first block, and its genesis.

use crate::{
    rpc::tests::script,
    tempo::{
        Name, Network, Outcome, TempoBlock, TempoSchemes, schemes,
        wire::{By, Query, Sent, joined},
    },
};
use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::types::Epoch;
use commonware_formatting::{from_hex, hex};
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use serde_json::{Value, json};
use std::sync::Arc;
use tidewatch_certified::{
    Boundary as _, CertificateKind, Check, Checker, Epochs as _, Metrics, Verifier, checker,
};
use tidewatch_core::{Block as _, BlockRef, Digest, Fault, FaultKind, Height};

struct Recorded {
    json: Value,
}

impl Recorded {
    fn of(which: &str) -> Self {
        let all: Value = serde_json::from_str(include_str!("fixtures/mainnet.json")).unwrap();
        Self { json: all[which].clone() }
    }

    fn reference(&self) -> BlockRef {
        let number = self.json["block"]["number"].as_str().unwrap();
        let height = u64::from_str_radix(&number[2..], 16).unwrap();
        let hash = from_hex(&self.json["block"]["hash"].as_str().unwrap()[2..]).unwrap();
        BlockRef::new(Height::new(height), Digest(hash.try_into().unwrap()))
    }

    fn block(&self) -> TempoBlock {
        let by = By::Height(self.reference().height);
        by.read("node", &script::result(&self.json["block"])).unwrap().unwrap()
    }

    fn certificate(&self) -> Vec<u8> {
        from_hex(self.json["finalization"].as_str().unwrap()).unwrap()
    }

    /// As a node answers.
    fn certified(&self) -> Value {
        let mut header = self.json["block"].clone();
        header.as_object_mut().unwrap().remove("hash");
        json!({
            "epoch": 1, "view": 1, "digest": self.json["block"]["hash"],
            "certificate": self.json["finalization"],
            "block": {"header": header, "body": {"transactions": [], "ommers": [], "withdrawals": []}},
        })
    }

    /// As a transport hands it over.
    fn bytes(&self) -> Bytes {
        joined(&self.certificate(), &self.block())
    }
}

const BOUNDARY: &str = "boundary";
const REGULAR: &str = "regular";

fn mainnet() -> Network {
    Name::Mainnet.network().unwrap()
}

type MainnetVerifier = Verifier<TempoSchemes, TempoBlock>;

/// A verifier of mainnet that knows the scheme of epoch 1514 by the key of genesis.
fn verifier(context: &deterministic::Context) -> MainnetVerifier {
    let network = mainnet();
    let metrics = Metrics::new(context, "mainnet", Arc::new(()));
    let (checker, mailbox) = Checker::new(context.child("checker"), checker::Config::default());
    checker.start();
    let schemes = schemes(&network);
    // The key was kept since genesis: said here, where nobody walks.
    schemes.vouched(Recorded::of(BOUNDARY).reference());
    schemes.vouched(Recorded::of(REGULAR).reference());
    Verifier::new(schemes, network.genesis().clone(), (), metrics, mailbox)
}

async fn check(verifier: &MainnetVerifier, bytes: Bytes) -> Result<BlockRef, Fault> {
    let claim = verifier.claim(CertificateKind::Finalized, bytes)?;
    let certified = verifier.check(claim, Check::Tip).await?;
    Ok(certified.block.reference())
}

#[test]
fn blocks_of_mainnet_hash_to_their_digests_and_survive_the_disk() {
    for which in [BOUNDARY, REGULAR] {
        let recorded = Recorded::of(which);
        let block = recorded.block();
        assert_eq!(block.reference(), recorded.reference());
        let bytes = block.encode();
        assert_eq!(TempoBlock::decode(bytes.clone()).unwrap(), block);
        for cut in 0..bytes.len() {
            assert!(TempoBlock::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        let said = recorded.json["block"]["timestampMillis"].as_str().unwrap();
        assert_eq!(format!("{:#x}", block.time_ms()), said);
        let context = block.consensus.unwrap();
        assert_eq!(context.epoch, recorded.reference().height.get() / 21_600);
    }
}

#[test]
fn a_block_is_frozen_in_its_format() {
    let bytes = Recorded::of(REGULAR).block().encode();
    let hash = format!("{:x}", alloy_primitives::keccak256(&bytes));
    assert_eq!(format!("{} {}", bytes.len(), &hash[..16]), "674 5bedc3c0ea6355d6");
}

#[test]
fn certificates_of_mainnet_verify_under_the_key_of_its_genesis() {
    deterministic::Runner::default().start(|context| async move {
        let verifier = verifier(&context);
        for which in [BOUNDARY, REGULAR] {
            let recorded = Recorded::of(which);
            let answer = script::result(&recorded.certified());
            let sent = Query::Height(recorded.reference().height).read("node", &answer).unwrap();
            let whole =
                Sent::Whole { height: recorded.reference().height, certified: recorded.bytes() };
            assert_eq!(sent, Some(whole), "as JSON, without the hash");
            assert_eq!(check(&verifier, recorded.bytes()).await, Ok(recorded.reference()));
        }
    });
}

#[test]
fn every_byte_of_a_certified_block_of_mainnet_flipped_once_is_refused() {
    deterministic::Runner::default().start(|context| async move {
        let verifier = verifier(&context);
        for which in [BOUNDARY, REGULAR] {
            let good = Recorded::of(which).bytes();
            for at in 0..good.len() {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << (at % 8);
                let refused = check(&verifier, bad.into()).await;
                let kind = refused.expect_err(&format!("{which}: byte {at}")).kind;
                let kinds = [
                    FaultKind::Malformed,
                    FaultKind::WrongDigest,
                    FaultKind::InvalidCertificate,
                    FaultKind::UnknownEpoch,
                ];
                assert!(kinds.contains(&kind), "{which}: byte {at}: {kind:?}");
            }
        }
    });
}

#[test]
fn the_outcome_of_a_boundary_is_that_of_the_next_epoch_under_the_key_of_genesis() {
    let network = mainnet();
    let block = Recorded::of(BOUNDARY).block();
    let outcome = Outcome::read(&block.inner.extra_data).unwrap();
    let want = Outcome {
        epoch: Epoch::new(1_515),
        identity: network.outcome().identity,
        players: 15,
        required: 11,
        is_next_full: false,
    };
    assert_eq!(outcome, want);
    let boundary = crate::tempo::TempoBoundary;
    let scheme = boundary.scheme(Epoch::new(1_515), &block).unwrap();
    assert_eq!(boundary.key(&scheme).unwrap(), network.outcome().identity.encode());
    assert!(boundary.scheme(Epoch::new(1_514), &block).is_err(), "another epoch");
    assert!(boundary.scheme(Epoch::new(1_515), &Recorded::of(REGULAR).block()).is_err());
    // Cut anywhere it is none; bytes behind it change nothing.
    let extra = &block.inner.extra_data;
    for cut in 0..extra.len() {
        assert!(Outcome::read(&extra[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(Outcome::read(&[extra, &[7][..]].concat()).unwrap(), want);
}

#[test]
fn a_genesis_file_with_much_that_is_wrong_is_refused_in_few_words() {
    let file = include_str!("fixtures/mainnet-genesis.json");
    let mut file: serde_json::Value = serde_json::from_str(file).unwrap();
    file["extraData"] = "0xzz".repeat(5_000).into();
    let refused = Network::from_genesis(&file.to_string()).unwrap_err().to_string();
    assert!(refused.len() < 512, "{} bytes: {refused}", refused.len());
}

#[test]
fn the_networks_that_are_known_are_those_of_their_genesis_files() {
    let all: Value = serde_json::from_str(include_str!("fixtures/mainnet.json")).unwrap();
    let network = mainnet();
    assert_eq!(network.epoch_length().get(), all["epoch_length"].as_u64().unwrap());
    assert_eq!(network.chain(), all["chain_id"].as_u64().unwrap());
    let identity = hex(&network.outcome().identity.encode());
    assert_eq!(identity, all["mainnet_identity"].as_str().unwrap());
    // Its state root was hashed from the accounts of the file.
    let file = Network::from_genesis(include_str!("fixtures/mainnet-genesis.json")).unwrap();
    assert_eq!(file, network);
    let testnet = Name::Testnet.network().unwrap();
    assert_eq!((testnet.chain(), testnet.epoch_length().get()), (42_431, 21_600));
    assert_eq!((testnet.outcome().players, testnet.outcome().required), (4, 3));
    let ids = [&network, &testnet].map(|network| network.id().to_string());
    assert_eq!(ids, ["tempo:4217:49d7ec7085e77bf5", "tempo:42431:ba49153e6f3996a3"]);
}

#[test]
fn the_first_block_of_mainnet_has_no_context_and_stands_on_the_genesis_that_is_known_here() {
    let (first, genesis) = (Recorded::of("first"), mainnet().genesis().clone());
    let block = first.block();
    assert_eq!(block.reference(), first.reference());
    assert_eq!((block.consensus, block.parent()), (None, genesis.reference().digest));
    assert_eq!(block.inner.state_root, genesis.inner.state_root);
    assert_eq!(TempoBlock::decode(block.encode()).unwrap(), block);
}

#[test]
fn every_byte_of_genesis_flipped_once_is_another_genesis_or_none() {
    let genesis = mainnet().genesis().clone();
    let good = genesis.encode();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        let bad = TempoBlock::decode(Bytes::from(bad));
        let same = bad.is_ok_and(|bad| bad.reference() == genesis.reference());
        assert!(!same, "byte {at}");
    }
}
