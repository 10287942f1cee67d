//! Nodes that lie.

use super::{
    node::{KEY, header_message, sign, stored},
    *,
};
use crate::miden::wire;
use alloy_primitives::hex;
use k256::ecdsa::SigningKey;
use prost::Message as _;
use tidewatch_core::{Fault, FaultKind};

/// A key that genesis does not name.
fn other_key() -> SigningKey {
    SigningKey::from_slice(&[2; 32]).unwrap()
}

/// The fault of a snapshot after the node's answers of `method` were changed.
async fn refused(
    context: &deterministic::Context,
    method: &'static str,
    change: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
) -> Fault {
    let node = Node::new(20);
    let source = source(context, node.clone(), Finalized::Unknown);
    let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
    node.tamper(method, change);
    match method {
        "SyncChainMmr" => source.snapshot().await.unwrap_err(),
        _ => source.blocks(tip, Height::new(2)).await.unwrap_err(),
    }
}

/// Changes the header of a tip, which is signed again by `key`.
fn retold(
    key: SigningKey,
    change: impl Fn(&mut Header) + Send + Sync + 'static,
) -> impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static {
    move |message| {
        let tip = wire::Tip::decode(&message[..]).unwrap();
        let mut header = Header::try_from(tip.header.as_ref().unwrap()).unwrap();
        change(&mut header);
        let block = sign(header, &key);
        let octets = block.signature().as_bytes().to_vec();
        let signature = Some(wire::Octets { octets });
        wire::Tip { header: Some(header_message(&block)), signature }.encode_to_vec()
    }
}

#[test]
fn a_tip_that_the_validator_did_not_sign_is_refused() {
    run(|context| async move {
        let key = |key: &SigningKey| {
            key.verifying_key().to_encoded_point(true).as_bytes().try_into().unwrap()
        };
        let ours: [u8; 33] = key(&KEY);
        assert_eq!(ours, recorded::genesis().validator);
        let theirs: [u8; 33] = key(&other_key());
        // Signed by somebody else, by whom the header names and by whom it does not.
        let fault = refused(&context, "SyncChainMmr", retold(other_key(), |_| {})).await;
        assert_eq!(fault.kind, FaultKind::InvalidCertificate);
        assert!(fault.detail.contains("signature"), "{fault}");
        let named = retold(other_key(), move |header| header.validator = theirs);
        let fault = refused(&context, "SyncChainMmr", named).await;
        assert_eq!(fault.kind, FaultKind::InvalidCertificate);
        assert!(fault.detail.contains("another validator's key"), "{fault}");
        // Signed by our validator while it names another one.
        let named = retold(KEY.clone(), move |header| header.validator = theirs);
        let fault = refused(&context, "SyncChainMmr", named).await;
        assert!(fault.detail.contains("another validator's key"), "{fault}");
    });
}

#[test]
fn what_is_no_message_is_refused() {
    run(|context| async move {
        let table: [(&[u8], FaultKind); 4] = [
            (&[], FaultKind::Malformed),
            (&[255; 9], FaultKind::Malformed),
            (&hex!("1a00"), FaultKind::Malformed),
            (&hex!("1a0522030a01ff"), FaultKind::Malformed),
        ];
        for (bytes, kind) in table {
            let fault = refused(&context, "SyncChainMmr", move |_| bytes.to_vec()).await;
            assert_eq!(fault.kind, kind, "{bytes:?}: {fault}");
        }
    });
}

/// Changes the first block of every message of a stream.
fn pushes(
    change: impl Fn(MidenBlock) -> Vec<u8> + Send + Sync + 'static,
) -> impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static {
    move |message| {
        let block = wire::Pushed::decode(&message[..]).unwrap().block;
        let block = change(MidenBlock::of_node(&block).unwrap());
        wire::Pushed { block }.encode_to_vec()
    }
}

#[test]
fn a_range_with_a_block_that_cannot_be_is_refused() {
    run(|context| async move {
        let at = |number: u32, change: fn(&mut Header)| {
            pushes(move |block| {
                let mut header = (*block).clone();
                if header.number == number {
                    change(&mut header);
                }
                stored(&sign(header, &KEY))
            })
        };
        let height = at(2, |header| header.number = 7);
        let fault = refused(&context, "BlockSubscription", height).await;
        assert_eq!(fault.kind, FaultKind::WrongPosition, "{fault}");
        let unsigned = pushes(|block| stored(&sign((*block).clone(), &other_key())));
        let fault = refused(&context, "BlockSubscription", unsigned).await;
        assert_eq!(fault.kind, FaultKind::InvalidCertificate, "{fault}");
        let cut = pushes(|block| stored(&block)[..300].to_vec());
        let fault = refused(&context, "BlockSubscription", cut).await;
        assert_eq!(fault.kind, FaultKind::Malformed, "{fault}");
    });
}

#[test]
fn one_bad_block_costs_what_stands_on_it() {
    run(|context| async move {
        let node = Node::new(20);
        let source = source(&context, node.clone(), Finalized::Unknown);
        let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
        // The validator signed two blocks at height 9: the other one is not on the chain of block 10.
        let change = pushes(|block| {
            let mut header = (*block).clone();
            header.timestamp += u32::from(header.number == 9);
            stored(&sign(header, &KEY))
        });
        node.tamper("BlockSubscription", change);
        let blocks = source.blocks(tip, Height::new(2)).await.unwrap();
        assert_eq!(blocks.last().map(|block| block.number), Some(9));
    });
}

#[test]
fn a_network_that_was_begun_anew_at_the_same_address_is_another_chain() {
    run(|context| async move {
        let node = Node::new(5);
        let source = source(&context, node.clone(), Finalized::Unknown);
        let ours = source.chain_info().await.unwrap();
        source.snapshot().await.unwrap();
        let genesis = {
            let mut world = node.0.lock();
            let mut header = (*world.chain[0]).clone();
            header.timestamp += 1;
            world.chain = vec![sign(header, &KEY)];
            world.proven = 0;
            tidewatch_core::Block::reference(&world.chain[0])
        };
        let fault = source.snapshot().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::WrongChain, "{fault}");
        let theirs = source.chain_info().await.unwrap();
        assert_eq!(theirs.genesis, genesis);
        assert_ne!(theirs.id, ours.id);
    });
}

#[test]
fn a_proven_tip_above_the_committed_one_is_of_two_moments() {
    run(|context| async move {
        let node = Node::new(5);
        node.prove(3);
        let source = source(&context, node.clone(), Finalized::Proven);
        source.snapshot().await.unwrap();
        // The committed tip of a node that lags behind the one that answered before.
        let lagging = Node::new(2);
        lagging.prove(2);
        let behind = lagging.clone();
        let changed = move |message: Vec<u8>| {
            let tip = wire::Tip::decode(&message[..]).unwrap();
            if tip.header.unwrap().number == 3 {
                return message;
            }
            let asked = wire::TipRequest { from: 0, level: 1 }.encode_to_vec();
            behind.respond("SyncChainMmr", &asked).unwrap()[0].to_vec()
        };
        node.tamper("SyncChainMmr", changed);
        let snapshot = source.snapshot().await;
        let refusals = source.work().refusals;
        assert_eq!(
            refusals.get("torn"),
            Some(&u64::from(Config::default().torn_max)),
            "{snapshot:?}"
        );
    });
}
