//! Certificates of history: what a range comes with, and an endpoint that has few of them and finds those.

use super::*;
use crate::{
    CertificateKind,
    mocks::{TestBlock, honest},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_codec::{Encode, EncodeSize as _};
use commonware_utils::NZUsize;
use std::collections::BTreeMap;
use tidewatch_core::{BlockRange, FaultKind};

/// Blocks of one answer of [`finder`].
const AT_ONCE: u64 = 256;

/// As a Tidewatch that took most of its history in at once: certificates of `certified` alone.
fn finder(chain: &Chain, certified: &[u64]) -> impl FnMut(Key) -> Answer + Send + use<> {
    let chain = chain.clone();
    let make = |height: &u64| (*height, chain.certified(CertificateKind::Finalized, *height));
    let made: BTreeMap<_, _> = certified.iter().map(make).collect();
    move |key| {
        let answer = match key {
            Key::LatestFinalization => made.values().next_back().cloned(),
            Key::LatestNotarization => None,
            Key::Height(height) => made.get(&height.get()).cloned(),
            Key::Digest(digest) => chain.by_digest(digest).map(Encode::encode),
            Key::Certificate { from, to } => {
                let within = made.range(from.get()..=to.get()).next_back();
                within.or_else(|| made.range(to.get()..).next()).map(|(_, made)| made.clone())
            }
            Key::Blocks { tip, from } => {
                assert_eq!(tip, chain.reference(tip.height.get()));
                let end = tip.height.get().min(from.get() + AT_ONCE - 1);
                Some(lengths((from.get()..=end).map(|height| chain.block(height).clone())))
            }
        };
        answer.map_or(Answer::Missing, Answer::Bytes)
    }
}

fn lengths(blocks: impl Iterator<Item = TestBlock>) -> Bytes {
    let mut bytes = BytesMut::new();
    for block in blocks {
        bytes.put_u32(block.encode_size() as u32);
        bytes.put_slice(&block.encode());
    }
    bytes.freeze()
}

fn few() -> Config {
    let blocks_max = NZUsize!(1_000);
    Config { finds_certificates: true, blocks_max, gap_max: NZUsize!(2_000), ..Config::default() }
}

async fn range(source: &TestSource, from: u64, chain: &Chain, tip: u64) -> BlockRange<TestBlock> {
    let range = source.range(chain.reference(tip), Height::new(from)).await.expect("a range");
    assert_eq!(range.blocks, chain.blocks[from as usize..][..range.blocks.len()]);
    for certificate in &range.certificates {
        let height = certificate.block.height.get();
        let sent = chain.certified(CertificateKind::Finalized, height);
        let kept = [&certificate.bytes[..], &chain.block(height).encode()].concat();
        assert_eq!(kept, sent, "as it was received");
    }
    range
}

fn heights(range: &BlockRange<TestBlock>) -> Vec<u64> {
    range.certificates.iter().map(|certificate| certificate.block.height.get()).collect()
}

#[test]
fn a_range_that_ends_below_the_tip_comes_with_the_certificate_that_proves_it() {
    run(|context| async move {
        let chain = Chain::new(1_000);
        let good: Vec<_> =
            [300, 600, 900].map(|end| chain.certified(CertificateKind::Finalized, end)).into();
        let script = except(honest(&chain, 1_000), move |key| match key {
            Key::Height(height) if height.get() % 300 == 0 => {
                Some(Answer::Bytes(good[height.get() as usize / 300 - 1].clone()))
            }
            _ => None,
        });
        let config = Config { blocks_max: NZUsize!(300), ..Config::default() };
        let (source, _, _) = source(&context, config, script);
        tips(&source).await;
        for (from, end) in [(1, vec![300]), (301, vec![600]), (601, vec![900]), (901, vec![])] {
            assert_eq!(heights(&range(&source, from, &chain, 1_000).await), end, "{from}");
        }
        let work = source.work();
        assert_eq!((work.checks["range"], work.checks["tip"]), (3, 1), "no check beyond");
        assert_eq!(work.requests["height"], 999 + 3);
    });
}

#[test]
fn an_endpoint_that_finds_certificates_is_asked_where_they_are_and_gives_blocks_in_ranges() {
    run(|context| async move {
        let chain = Chain::new(2_500);
        let script = finder(&chain, &[900, 1_800, 2_500]);
        let (source, _, recorder) = source(&context, few(), script);
        tips(&source).await;
        for (from, to) in [(1, Some(900)), (901, Some(1_800)), (1_801, None)] {
            let range = range(&source, from, &chain, 2_500).await;
            assert_eq!(heights(&range), Vec::from_iter(to), "{from}");
            assert_eq!(range.blocks.len() as u64, to.unwrap_or(2_500) + 1 - from);
        }
        let work = source.work();
        assert_eq!((work.checks["range"], work.checks["tip"]), (2, 1));
        assert_eq!((work.requests["height"], work.requests.get("digest")), (2, None));
        assert_eq!(work.requests["blocks"], 4 + 4 + 3);
        // A wave of requests before the first answer, and one at each certificate.
        assert!(work.requests["certificate"] <= 2 * (2 * 64 + 1) + 64, "{work:?}");
        assert_eq!(recorder.kinds(), []);
    });
}

/// As [`few`], with one certificate for each range.
fn one() -> Config {
    Config { certificate_at_end: true, ..few() }
}

#[test]
fn with_a_certificate_at_the_end_no_other_is_asked_for_and_none_up_to_the_tip() {
    run(|context| async move {
        let chain = Chain::new(2_500);
        let certified: Vec<_> = (1..=2_500).collect();
        let (source, _, recorder) = source(&context, one(), finder(&chain, &certified));
        tips(&source).await;
        for (from, end) in [(1, Some(1_000)), (1_001, Some(2_000)), (2_001, None)] {
            let range = range(&source, from, &chain, 2_500).await;
            assert_eq!(heights(&range), Vec::from_iter(end), "{from}");
            assert_eq!(range.blocks.len() as u64, end.unwrap_or(2_500) + 1 - from);
        }
        let work = source.work();
        assert_eq!((work.checks["range"], work.checks["tip"]), (2, 1));
        // One to find where a range ends, and that height again with its certificate.
        assert_eq!((work.requests["certificate"], work.requests["height"]), (2, 2));
        assert_eq!((work.requests["blocks"], work.requests.get("digest")), (4 + 4 + 2, None));
        assert_eq!(recorder.kinds(), []);
    });
}

#[test]
fn with_a_certificate_at_the_end_a_range_ends_lower_where_that_is_missing_and_above_it_where_none_is()
 {
    run(|context| async move {
        let chain = Chain::new(2_500);
        let (source, _, _) = source(&context, one(), finder(&chain, &[700, 1_900, 2_500]));
        tips(&source).await;
        // 700 is in the first range; of the next 1,000 blocks none has one, and 1,900 is above them; the last is linked to the tip.
        for (from, blocks, end) in [(1, 700, Some(700)), (701, 1_000, None), (1_701, 800, None)] {
            let range = range(&source, from, &chain, 2_500).await;
            assert_eq!(
                (range.blocks.len(), heights(&range)),
                (blocks, Vec::from_iter(end)),
                "{from}"
            );
        }
    });
}

#[test]
fn ranges_that_come_short_end_at_a_certificate_below_and_cost_no_request_for_each_block() {
    run(|context| async move {
        let chain = Chain::new(2_500);
        let certified: Vec<_> = (1..=2_500).collect();
        // Nothing above 600 comes in ranges.
        let script = except(finder(&chain, &certified), |key| match key {
            Key::Blocks { from, .. } if from > Height::new(600) => Some(Answer::Missing),
            _ => None,
        });
        let (source, _, _) = source(&context, one(), script);
        tips(&source).await;
        let range = range(&source, 1, &chain, 2_500).await;
        assert_eq!(range.blocks.len(), 768, "three answers of 256 blocks, the last from 513 on");
        assert_eq!(heights(&range), [768]);
        assert_eq!(source.work().requests.get("digest"), None);
    });
}

#[test]
fn every_height_with_a_certificate_is_found_in_a_deep_history_by_stretches() {
    run(|context| async move {
        let chain = Chain::new(8_000);
        let certified: Vec<_> = (1..=8_000).filter(|height| height % 10 == 0).collect();
        let config = Config { blocks_max: NZUsize!(5_000), ..few() };
        let (source, _, recorder) = source(&context, config, finder(&chain, &certified));
        tips(&source).await;
        assert_eq!(heights(&range(&source, 1, &chain, 8_000).await), [5_000]);
        let work = source.work();
        assert_eq!(work.checks["range"], 1);
        assert!(work.requests_total() <= 2 + 2 * 157 + 1, "{work:?}");
        assert_eq!(recorder.kinds(), []);
    });
}

#[test]
fn a_range_without_a_certificate_of_its_own_is_proved_by_the_next_one_above() {
    run(|context| async move {
        let chain = Chain::new(2_500);
        let script = finder(&chain, &[2_400, 2_500]);
        let (source, _, _) = source(&context, few(), script);
        tips(&source).await;
        let first = range(&source, 1, &chain, 2_500).await;
        assert_eq!((first.blocks.len(), heights(&first)), (1_000, vec![]));
        assert_eq!(range(&source, 1_001, &chain, 2_500).await.blocks.len(), 1_000);
        assert_eq!(range(&source, 2_001, &chain, 2_500).await.blocks.len(), 500);
        let work = source.work();
        assert_eq!(work.checks["tip"], 1);
        assert!(work.checks["range"] <= 2, "{work:?}");
    });
}

#[test]
fn what_an_endpoint_that_finds_certificates_makes_up_is_refused_and_proves_nothing() {
    let chain = Chain::new(2_500);
    let forged = chain.forged(CertificateKind::Finalized, 900);
    let below = chain.certified(CertificateKind::Finalized, 800);
    let other = Chain::new(0).extend(1, b"other");
    let other = (2..=900).fold(other, |chain, height| chain.extend(height, b"other"));
    let others = lengths(other.blocks[1..257].iter().cloned());
    let higher = lengths((2..=200).map(|height| chain.block(height).clone()));
    let at_one = |key: Key| matches!(key, Key::Blocks { from, .. } if from == Height::new(1));
    type Lie = Box<dyn Fn(Key) -> Option<Bytes> + Send>;
    let lies: Vec<(&str, Lie, FaultKind)> = vec![
        (
            "a certificate of others",
            Box::new(move |key| match key {
                Key::Certificate { from, .. } if from <= Height::new(900) => Some(forged.clone()),
                Key::Height(height) if height == Height::new(900) => Some(forged.clone()),
                _ => None,
            }),
            FaultKind::InvalidCertificate,
        ),
        (
            "one from below",
            Box::new(move |key| match key {
                Key::Certificate { from, .. } if from > Height::new(800) => Some(below.clone()),
                _ => None,
            }),
            FaultKind::WrongPosition,
        ),
        (
            "blocks of another chain",
            Box::new(move |key| at_one(key).then(|| others.clone())),
            FaultKind::WrongDigest,
        ),
        (
            "bytes",
            Box::new(move |key| at_one(key).then(|| Bytes::from_static(&[0, 0, 0, 9, 1]))),
            FaultKind::Malformed,
        ),
        (
            "blocks of another height",
            Box::new(move |key| at_one(key).then(|| higher.clone())),
            FaultKind::WrongPosition,
        ),
    ];
    for (case, lie, kind) in lies {
        let chain = chain.clone();
        run(|context| async move {
            let script = except(finder(&chain, &[900, 1_800, 2_500]), move |key| {
                lie(key).map(Answer::Bytes)
            });
            let (source, transport, recorder) = source(&context, few(), script);
            tips(&source).await;
            let refused = source.blocks(chain.reference(2_500), Height::new(1)).await;
            let mut kinds = recorder.kinds();
            match refused {
                Ok(blocks) => assert_eq!(blocks, chain.blocks[1..][..blocks.len()], "{case}"),
                Err(fault) => kinds.push(fault.kind),
            }
            assert!(kinds.contains(&kind), "{case}: {kinds:?}");
            transport.rescript(finder(&chain, &[900, 1_800, 2_500]));
            assert_eq!(range(&source, 1, &chain, 2_500).await.blocks.len(), 900, "{case}");
        });
    }
}
