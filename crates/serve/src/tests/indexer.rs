//! The routes of an indexer, over a history whose certificates the test makes up.

use super::{
    Served,
    client::{get, send},
    config, serve,
};
use commonware_codec::{Encode as _, varint::UInt};
use commonware_utils::NZU64;
use futures::StreamExt as _;
use std::time::Duration;
use tidewatch_core::{
    BlockRef, Change, LocalView as _, Monitor as _, Snapshot, State, Tier, TierProof, TierProofs,
};
use tokio::time::timeout;
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// As a certificate begins: epoch 0 and the view, which is twice the height.
fn certificate(block: BlockRef) -> TierProof {
    let bytes = [&[0][..], &UInt(block.height.get() * 2).encode(), &[0xce, 0x47]].concat();
    TierProof { block, bytes: bytes.into() }
}

impl Served {
    async fn finalize(&mut self, height: u64) {
        let block = self.chain.at(height);
        let proof = Some(certificate(block));
        let change = Change::Advanced { tier: Tier::Finalized, tip: block.into(), proof };
        self.view.commit(vec![change]).await.unwrap();
        self.moved(State::Live);
    }

    /// What a certificate and its block are on the wire.
    fn encoded(&self, height: u64) -> Vec<u8> {
        let block = self.chain.at(height);
        let proof = certificate(block).bytes;
        [&proof[..], &self.chain.range(height, height)[0].encode()].concat()
    }

    async fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let answer = get(self.address, path, "").await;
        match answer.status {
            200 => Some(answer.bytes().await),
            404 => None,
            status => panic!("{path}: {status}"),
        }
    }
}

#[test]
fn what_is_held_is_found_as_at_an_indexer_byte_for_byte() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        for path in ["/finalization/latest", "/block/latest", "/notarization/latest"] {
            assert_eq!(served.bytes(path).await, None, "{path}: nothing is held");
        }
        served.grow(1, 12, 20).await;
        for height in [2, 5, 6, 11] {
            served.finalize(height).await;
        }
        let newest = Some(served.encoded(11));
        assert_eq!(served.bytes("/finalization/latest").await, newest);
        assert_eq!(served.bytes("/block/latest").await, newest);
        for height in 1..=12_u64 {
            let own = [2, 5, 6, 11].contains(&height);
            let want = own.then(|| served.encoded(height));
            assert_eq!(served.bytes(&format!("/block/{height:016x}")).await, want, "{height}");
            let view = format!("/finalization/{:016x}", height * 2);
            assert_eq!(served.bytes(&view).await, want, "view {}", height * 2);
            let block = served.chain.range(height, height)[0].encode().to_vec();
            let digest = format!("/block/{}", served.chain.at(height).digest);
            assert_eq!(served.bytes(&digest).await, Some(block), "{height}");
        }
        assert_eq!(served.bytes("/finalization/0000000000000007").await, None);
        assert_eq!(served.bytes(&format!("/block/{}", "07".repeat(32))).await, None);
        assert_eq!(served.bytes("/seed/latest").await, None);
        assert_eq!(get(served.address, "/block/12", "").await.status, 400);
        let post = format!("POST /block HTTP/1.1\r\nhost: {}\r\n\r\n", served.address);
        assert_eq!(send(served.address, post).await.status, 404, "nothing can be uploaded");
    });
}

#[test]
fn the_certificate_that_a_range_can_end_with_is_found_within_it_or_above() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        let path = |from: u64, to: u64| format!("/v1/certificate?from={from}&to={to}");
        assert_eq!(served.bytes(&path(1, 12)).await, None, "nothing is held");
        served.grow(1, 20, 20).await;
        let proof = certificate(served.chain.at(7));
        let history = Change::Certified(proof);
        served.view.commit(vec![history]).await.unwrap();
        for height in [10, 11, 12, 16] {
            served.finalize(height).await;
        }
        for ((from, to), found) in [
            ((1, 6), Some(7)),
            ((1, 7), Some(7)),
            ((1, 9), Some(7)),
            ((1, 11), Some(11)),
            ((8, 9), Some(10)),
            ((7, 7), Some(7)),
            ((13, 15), Some(16)),
            ((1, 16), Some(16)),
            ((1, 900), Some(16)),
            ((16, 16), Some(16)),
            ((17, 20), None),
            ((u64::MAX, u64::MAX), None),
        ] {
            let found = found.map(|height| served.encoded(height));
            assert_eq!(served.bytes(&path(from, to)).await, found, "{from} to {to}");
        }
        let next = served.bytes("/v1/certificate?from=8").await;
        assert_eq!(next, Some(served.encoded(10)), "the next one at or above a height");
        for wrong in ["", "?to=3", "?from=x", "?from=4&to=3", "?from=1&view=3"] {
            let path = format!("/v1/certificate{wrong}");
            assert_eq!(get(served.address, &path, "").await.status, 400, "{wrong}");
        }
        // The block below the one that was given out is found by its digest.
        let digest = format!("/block/{}", served.chain.at(9).digest);
        assert!(served.bytes(&digest).await.is_some());
    });
}

#[test]
fn the_newest_notarization_is_that_of_the_proposed_tip_once_its_block_is_held() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 3, 20).await;
        let notarized = |block| {
            let proofs = TierProofs::none().with(Tier::Proposed, certificate(block));
            Snapshot { proofs, ..Snapshot::default() }
        };
        served.observer.snapshot(&notarized(served.chain.at(4)));
        assert_eq!(served.bytes("/notarization/latest").await, None, "its block is not held");
        served.grow(4, 4, 20).await;
        let newest = Some(served.encoded(4));
        assert_eq!(served.bytes("/notarization/latest").await, newest);
        assert_eq!(served.bytes("/notarization/0000000000000008").await, newest);
        assert_eq!(served.bytes("/notarization/0000000000000006").await, None);
        served.observer.snapshot(&Snapshot::default());
        assert_eq!(served.bytes("/notarization/latest").await, None);
    });
}

#[test]
fn a_block_deep_in_the_history_is_found_by_the_digest_that_its_child_names() {
    use tidewatch_store::Retention;
    use tidewatch_testkit::chain::Chain;

    commonware_runtime::Runner::start(
        commonware_runtime::tokio::Runner::default(),
        |context| async move {
            let chain = Chain::new('a', 6_000);
            let retention = Retention::from(NZU64!(65_536));
            let mut served = Served::start(context, config(), retention, chain).await;
            let blocks = served.chain.range(1, 6_000);
            served.view.commit(vec![Change::Blocks(blocks)]).await.unwrap();
            let tip =
                |tier| Change::Advanced { tier, tip: served.chain.at(6_000).into(), proof: None };
            served.view.commit(vec![tip(Tier::Proposed)]).await.unwrap();
            served.finalize(1_001).await;
            let path = |height| format!("/block/{}", served.chain.at(height).digest);
            assert_eq!(served.bytes(&path(1_000)).await, None, "nobody named it");
            assert!(served.bytes("/block/00000000000003e9").await.is_some());
            for height in (990..=1_000).rev() {
                let block = served.chain.range(height, height)[0].encode().to_vec();
                assert_eq!(served.bytes(&path(height)).await, Some(block), "{height}");
            }
        },
    );
}

#[test]
fn certificates_are_pushed_as_their_blocks_become_durable() {
    serve(config(), NZU64!(65_536), |mut served| async move {
        served.grow(1, 9, 20).await;
        served.finalize(2).await;
        let url = format!("ws://{}/consensus/ws", served.address);
        let (mut socket, _) = connect_async(url).await.unwrap();
        for height in 3..=9 {
            let next = timeout(Duration::from_secs(30), socket.next()).await.unwrap();
            let Message::Binary(frame) = next.unwrap().unwrap() else { panic!("no frame") };
            assert_eq!(frame[..], [&[2][..], &served.encoded(height - 1)].concat(), "{height}");
            served.finalize(height).await;
        }
        drop(served);
    });
}
