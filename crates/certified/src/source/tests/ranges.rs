use super::*;
use crate::{
    CertificateKind,
    mocks::{DATA_MAX, TestBlock, certify_other, honest, round, schemes},
};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_runtime::Clock as _;
use tidewatch_core::{Block as _, Digest, FaultKind};
use tidewatch_testkit::monitor::Faults;

const LEN: u64 = 300;

fn answer(bytes: Bytes) -> Option<Answer> {
    Some(Answer::Bytes(bytes))
}

async fn blocks(source: &TestSource, from: u64, chain: &Chain, tip: u64) -> Vec<TestBlock> {
    source.blocks(chain.reference(tip), Height::new(from)).await.expect("blocks")
}

/// Everything from block 1 to the tip arrives although the endpoint does as `changed` says; returns the
/// refusals by kind.
async fn gets_past(
    context: &deterministic::Context,
    chain: &Chain,
    changed: impl FnMut(Key) -> Option<Answer> + Send + 'static,
) -> (TestSource, Faults) {
    let script = except(honest(chain, LEN), changed);
    let (source, _, recorder) = source(context, Config::default(), script);
    tips(&source).await;
    assert_eq!(blocks(&source, 1, chain, LEN).await, chain.blocks[1..]);
    (source, recorder)
}

#[test]
fn a_range_up_to_the_tip_costs_no_certificate_check_beyond_the_tips_own() {
    run(|context| async move {
        let chain = Chain::new(LEN);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, LEN));
        tips(&source).await;
        transport.calls();
        let started = context.current();
        assert_eq!(blocks(&source, 1, &chain, LEN).await, chain.blocks[1..]);
        assert_eq!(source.work().checks_total(), 1);
        let calls: Vec<_> = (1..LEN).map(height).collect();
        assert_eq!(transport.calls(), calls, "one request a height, in order, none for the tip");
        assert_eq!(transport.in_flight().max, 64);
        let took = context.current().duration_since(started).unwrap();
        assert!(
            took <= Duration::from_millis(60),
            "299 requests, 64 at once, 10 ms each: {took:?}"
        );
    });
}

#[test]
fn a_history_of_several_ranges_costs_one_check_for_each_that_ends_below_the_tip() {
    run(|context| async move {
        let chain = Chain::new(1_000);
        let honest_tip = honest(&chain, 1_000);
        let good: Vec<_> =
            [300, 600, 900].map(|end| chain.certified(CertificateKind::Finalized, end)).into();
        let script = except(honest_tip, move |key| match key {
            Key::Height(height) if height.get() % 300 == 0 => {
                answer(good[height.get() as usize / 300 - 1].clone())
            }
            _ => None,
        });
        let blocks_max = std::num::NonZeroUsize::new(300).unwrap();
        let config = Config { blocks_max, ..Config::default() };
        let (source, _, _) = source(&context, config, script);
        tips(&source).await;
        let mut next = 1;
        while next <= 1_000 {
            let got = blocks(&source, next, &chain, 1_000).await;
            assert!(got.len() <= 300);
            assert_eq!(got, chain.blocks[next as usize..][..got.len()]);
            next += got.len() as u64;
        }
        let work = source.work();
        assert_eq!((work.checks["range"], work.checks["tip"]), (3, 1));
        assert_eq!(work.requests["height"], 999 + 3);
    });
}

#[test]
fn genesis_is_part_of_the_chain_and_needs_no_request() {
    run(|context| async move {
        let chain = Chain::new(3);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, 3));
        tips(&source).await;
        transport.calls();
        assert_eq!(blocks(&source, 0, &chain, 3).await, chain.blocks);
        assert_eq!(transport.calls(), [height(1), height(2)]);
        assert!(blocks(&source, 4, &chain, 3).await.is_empty(), "none above the tip");
    });
}

#[test]
fn blocks_that_were_pushed_or_walked_are_not_asked_for_again() {
    run(|context| async move {
        let chain = Chain::new(12);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, 8));
        assert_eq!(tips(&source).await, at(&chain, 12, 8));
        transport.calls();
        assert_eq!(blocks(&source, 8, &chain, 12).await, chain.blocks[8..]);
        assert!(transport.calls().is_empty());
        assert_eq!(blocks(&source, 6, &chain, 12).await, chain.blocks[6..]);
        assert_eq!(transport.calls(), [height(6), height(7)]);
    });
}

#[test]
fn a_height_without_a_finalization_of_its_own_is_asked_for_by_digest() {
    run(|context| async move {
        let chain = Chain::new(LEN);
        // Runs at the start, in the middle, and right below the tip.
        let missing = |height: u64| matches!(height, 1..=3 | 50 | 100..=140 | 298..=299);
        let (source, recorder) = gets_past(&context, &chain, move |key| match key {
            Key::Height(height) if missing(height.get()) => Some(Answer::Missing),
            _ => None,
        })
        .await;
        let work = source.work();
        assert_eq!((work.checks_total(), work.requests["digest"]), (1, 47));
        assert!(recorder.kinds().is_empty(), "nobody lied");
    });
}

#[test]
fn what_was_sent_wrong_for_a_height_is_replaced_by_the_block_that_its_child_names() {
    run(|context| async move {
        let chain = Chain::new(LEN);
        let fork = chain.fork(140, LEN);
        let (three, four) = (chain.block(153), chain.reference(154).digest);
        let about_another =
            certify_other(schemes(), CertificateKind::Finalized, round(153), four, three);
        let html = Bytes::from_static(b"<html>");
        let (source, recorder) = gets_past(&context, &chain, {
            let chain = chain.clone();
            move |key| match key {
                Key::Height(at) => match at.get() {
                    150 => answer(fork.unsigned(150)),
                    151 => answer(chain.unsigned(250)),
                    152 => answer(html.clone()),
                    153 => answer(about_another.clone()),
                    154 => answer(Bytes::new()),
                    155 => Some(Answer::Fault(FaultKind::UnexpectedContent)),
                    156 => Some(Answer::Fault(FaultKind::Oversized)),
                    157 => answer(chain.block(157).encode()),
                    // A wrong certificate over the right block: no matter, the hash chain reaches it.
                    158 => answer(chain.forged(CertificateKind::Finalized, 158)),
                    _ => None,
                },
                _ => None,
            }
        })
        .await;
        let refusals = source.work().refusals;
        assert_eq!(refusals["wrong_digest"], 2, "the fork's block, and the other's certificate");
        assert_eq!(refusals["wrong_position"], 1);
        assert!(refusals["malformed"] >= 2);
        assert_eq!((refusals["unexpected_content"], refusals["oversized"]), (1, 1));
        assert!(recorder.kinds().len() >= 7);
        assert_eq!(source.work().checks_total(), 1);
    });
}

#[test]
fn a_height_that_cannot_be_had_at_all_cuts_the_range_and_is_named() {
    run(|context| async move {
        let chain = Chain::new(LEN);
        let gone = Key::Digest(chain.reference(200).digest);
        let good = chain.certified(CertificateKind::Finalized, 199);
        let script = except(honest(&chain, LEN), move |key| match key {
            Key::Height(at) if at.get() == 200 => Some(Answer::Missing),
            Key::Height(at) if at.get() == 199 => answer(good.clone()),
            key if key == gone => Some(Answer::Missing),
            _ => None,
        });
        let (source, transport, recorder) = source(&context, Config::default(), script);
        tips(&source).await;
        assert_eq!(blocks(&source, 1, &chain, LEN).await, chain.blocks[1..200]);
        assert_eq!(source.work().checks["range"], 1, "what is below is anchored by itself");
        assert!(recorder.all().iter().any(|fault| fault.to_string().contains("at height 200")));
        let fault = source.blocks(chain.reference(LEN), Height::new(200)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Missing);
        assert!(fault.detail.contains("at height 200"), "{fault}");
        transport.rescript(honest(&chain, LEN));
        assert_eq!(blocks(&source, 200, &chain, LEN).await, chain.blocks[200..]);
    });
}

#[test]
fn a_wrong_certificate_at_the_end_of_a_range_moves_its_anchor_lower() {
    run(|context| async move {
        let chain = Chain::new(LEN);
        let (bad, good) = (
            chain.forged(CertificateKind::Finalized, 100),
            chain.certified(CertificateKind::Finalized, 98),
        );
        let script = except(honest(&chain, LEN), move |key| match key {
            Key::Height(at) if at.get() == 100 => answer(bad.clone()),
            Key::Height(at) if at.get() == 98 => answer(good.clone()),
            _ => None,
        });
        let blocks_max = std::num::NonZeroUsize::new(100).unwrap();
        let config = Config { blocks_max, ..Config::default() };
        let (source, _, recorder) = source(&context, config, script);
        tips(&source).await;
        assert_eq!(blocks(&source, 1, &chain, LEN).await, chain.blocks[1..=98]);
        assert_eq!(source.work().checks["range"], 3);
        assert_eq!(recorder.kinds(), [FaultKind::InvalidCertificate; 2]);
    });
}

#[test]
fn a_chain_of_wrong_blocks_without_a_good_certificate_is_a_fault_and_never_an_answer() {
    run(|context| async move {
        let chain = Chain::new(LEN);
        let fork = chain.fork(0, LEN);
        let script = except(honest(&chain, LEN), move |key| match key {
            Key::Height(at) if at.get() < LEN => answer(fork.unsigned(at.get())),
            Key::Digest(_) => Some(Answer::Missing),
            _ => None,
        });
        let (source, _, _) = source(&context, Config::default(), script);
        tips(&source).await;
        let fault = source.blocks(chain.reference(LEN), Height::new(1)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidCertificate);
        let work = source.work();
        assert!(work.checks["range"] <= 16, "attempts are bounded");
        assert!(work.requests_total() <= LEN + 32);
    });
}

#[test]
fn history_that_the_endpoint_lost_is_missing_and_asked_for_only_so_far() {
    run(|context| async move {
        let chain = Chain::new(20_000);
        let tip = chain.certified(CertificateKind::Finalized, 20_000);
        let (source, transport, _) = source(&context, Config::default(), move |key| match key {
            Key::LatestFinalization => Answer::Bytes(tip.clone()),
            _ => Answer::Missing,
        });
        tips(&source).await;
        transport.calls();
        let fault = source.blocks(chain.reference(20_000), Height::new(1)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Missing);
        assert!(fault.detail.contains("at height 1"), "{fault}");
        assert!(transport.calls().len() <= 1_025 + 64 * 32);
    });
}

#[test]
fn a_lost_connection_is_tried_once_more_and_then_cuts_the_range() {
    run(|context| async move {
        let chain = Chain::new(LEN);
        let good = chain.certified(CertificateKind::Finalized, 149);
        let mut failures = 1;
        let script = except(honest(&chain, LEN), move |key| match key {
            Key::Height(at) if at.get() == 50 && failures > 0 => {
                failures -= 1;
                Some(Answer::Fault(FaultKind::Unreachable))
            }
            Key::Height(at) if at.get() == 150 => Some(Answer::Fault(FaultKind::Unreachable)),
            Key::Height(at) if at.get() == 149 => answer(good.clone()),
            _ => None,
        });
        let (source, transport, _) = source(&context, Config::default(), script);
        tips(&source).await;
        assert_eq!(blocks(&source, 1, &chain, LEN).await, chain.blocks[1..150]);
        let fault = source.blocks(chain.reference(LEN), Height::new(150)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unreachable);
        transport.rescript(honest(&chain, LEN));
        assert_eq!(blocks(&source, 150, &chain, LEN).await, chain.blocks[150..]);
    });
}

#[test]
fn one_silent_request_costs_its_deadline_and_no_more() {
    run(|context| async move {
        let chain = Chain::new(LEN);
        let good = chain.certified(CertificateKind::Finalized, 149);
        let script = except(honest(&chain, LEN), move |key| match key {
            Key::Height(at) if at.get() == 150 => Some(Answer::Silence),
            Key::Height(at) if at.get() == 149 => answer(good.clone()),
            _ => None,
        });
        let (source, _, _) = source(&context, Config::default(), script);
        tips(&source).await;
        let started = context.current();
        assert_eq!(blocks(&source, 1, &chain, LEN).await, chain.blocks[1..150]);
        let took = context.current().duration_since(started).unwrap();
        assert!(took <= Duration::from_millis(5_200), "{took:?}");
        assert_eq!(source.work().refusals["timeout"], 1);
    });
}

#[test]
fn a_range_ends_at_its_budget_of_bytes_and_of_time() {
    run(|context| async move {
        let chain = Chain::new(LEN);
        let certified: Vec<_> =
            (0..=LEN).map(|height| chain.certified(CertificateKind::Finalized, height)).collect();
        let script = move |key| match key {
            Key::Height(at) => Answer::Bytes(certified[at.get() as usize].clone()),
            Key::LatestFinalization => Answer::Bytes(certified[LEN as usize].clone()),
            _ => Answer::Missing,
        };
        let base = Config { concurrency: std::num::NonZeroUsize::MIN, ..Config::default() };
        let bytes = Config { range_bytes_max: 2_000, ..base.clone() };
        let time = Config { range_time_max: Duration::from_millis(95), ..base };
        for (config, least, most) in [(bytes, 10, 20), (time, 10, 11)] {
            let (source, _, _) = source(&context, config, script.clone());
            tips(&source).await;
            let got = blocks(&source, 1, &chain, LEN).await;
            assert!((least..=most).contains(&got.len()), "{}", got.len());
            assert_eq!(got, chain.blocks[1..=got.len()]);
            assert_eq!(source.work().checks["range"], 1);
        }
    });
}

#[test]
fn blocks_are_given_up_to_a_tip_of_this_source_only() {
    run(|context| async move {
        let chain = Chain::new(9);
        let (source, transport, _) = source(&context, Config::default(), honest(&chain, 9));
        assert!(blocks(&source, 1, &chain, 9).await.is_empty(), "no snapshot yet");
        tips(&source).await;
        transport.calls();
        assert!(blocks(&source, 1, &chain.fork(3, 9), 9).await.is_empty());
        let invented = BlockRef::new(Height::new(u64::MAX), Digest([1; 32]));
        assert!(source.blocks(invented, Height::zero()).await.unwrap().is_empty());
        assert!(transport.calls().is_empty());
    });
}

#[test]
fn of_a_replaced_tip_nothing_is_given_and_nothing_of_the_chain_in_its_place() {
    run(|context| async move {
        let chain = Chain::new(9);
        let recent_max = std::num::NonZeroUsize::new(2).unwrap();
        let config = Config { recent_max, ..Config::default() };
        let (source, transport, _) = source(&context, config, honest(&chain, 4));
        assert_eq!(tips(&source).await, at(&chain, 9, 4));
        let fork = chain.fork(4, 8);
        let certified: Vec<_> =
            (0..=8).map(|at| fork.certified(CertificateKind::Finalized, at)).collect();
        transport.rescript(except(honest(&fork, 8), move |key| match key {
            Key::Height(at) => answer(certified.get(at.get() as usize)?.clone()),
            _ => None,
        }));
        assert_eq!(tips(&source).await, at(&fork, 8, 8));
        assert!(blocks(&source, 1, &chain, 9).await.is_empty(), "the source moved away");
        assert_eq!(blocks(&source, 1, &fork, 8).await, fork.blocks[1..]);
    });
}

/// A history that is deep enough for stretches, and how many requests an endpoint that does as `changed` says costs.
async fn deep(
    context: &deterministic::Context,
    changed: impl FnMut(&Chain, Key) -> Option<Answer> + Send + 'static,
) -> (u64, u64, Faults) {
    const DEEP: u64 = 8_000;
    let (chain, mut changed) = (Chain::new(DEEP), changed);
    let script = {
        let chain = chain.clone();
        except(honest(&chain.clone(), DEEP), move |key| changed(&chain, key))
    };
    let config = Config { range_time_max: Duration::from_secs(60), ..Config::default() };
    let (source, _, recorder) = source(context, config, script);
    tips(&source).await;
    assert_eq!(blocks(&source, 1, &chain, DEEP).await, chain.blocks[1..]);
    let work = source.work();
    assert_eq!(work.checks_total(), 1, "the tip's own");
    (work.requests["height"], work.requests["digest"], recorder)
}

#[test]
fn a_deep_history_is_walked_from_a_few_heights_and_costs_one_request_a_block() {
    run(|context| async move {
        let (by_height, by_digest, recorder) = deep(&context, |_, _| None).await;
        assert_eq!(by_height + by_digest, 7_999);
        assert_eq!(by_height, 250, "one of 32");
        assert!(recorder.kinds().is_empty());
    });
}

#[test]
fn where_every_tenth_height_is_certified_the_others_are_not_asked_for_in_vain() {
    run(|context| async move {
        let (by_height, by_digest, _) = deep(&context, |_, key| match key {
            Key::Height(at) if at.get() % 10 != 0 => Some(Answer::Missing),
            _ => None,
        })
        .await;
        assert_eq!(by_digest, 7_999 - 250);
        assert!(by_height < 8_000 / 5, "{by_height}");
    });
}

#[test]
fn an_endpoint_that_knows_no_block_by_digest_is_asked_by_height() {
    run(|context| async move {
        let (by_height, by_digest, recorder) = deep(&context, |_, key| match key {
            Key::Digest(_) => Some(Answer::Missing),
            _ => None,
        })
        .await;
        assert_eq!((by_height, by_digest), (7_999, 7_999 - 250));
        assert!(recorder.kinds().is_empty(), "nobody lied");
    });
}

#[test]
fn a_lie_about_a_height_that_is_walked_from_costs_the_repairs_of_its_stretch() {
    run(|context| async move {
        let mut fork = None;
        let (by_height, by_digest, recorder) = deep(&context, move |chain, key| {
            let fork = fork.get_or_insert_with(|| chain.fork(3_900, 4_000));
            match key {
                Key::Height(at) if at.get() == 4_000 => answer(fork.unsigned(4_000)),
                Key::Digest(digest) => fork.blocks[3_901..]
                    .iter()
                    .find(|block| block.reference().digest == digest)
                    .map(|block| Answer::Bytes(block.encode())),
                _ => None,
            }
        })
        .await;
        assert_eq!(by_height, 250);
        assert!(by_digest <= 7_999 - 250 + 32, "{by_digest}");
        assert!(recorder.kinds().contains(&FaultKind::WrongDigest));
    });
}

/// One range of a deep history whose heights that are walked from are signed. Its length, and the requests.
async fn deep_range(
    context: &deterministic::Context,
    config: Config,
    large: impl Fn(u64) -> bool,
) -> (usize, u64) {
    let data = |height| if large(height) { &[1; DATA_MAX][..] } else { b"" };
    let chain = (1..=8_000).fold(Chain::new(0), |chain, at| chain.extend(at, data(at)));
    let signed = chain.clone();
    let script = except(honest(&chain, 8_000), move |key| match key {
        Key::Height(at) if at.get() % 32 == 0 => {
            answer(signed.certified(CertificateKind::Finalized, at.get()))
        }
        _ => None,
    });
    let (source, _, _) = source(context, config, script);
    tips(&source).await;
    let before = source.work().requests_total();
    let got = blocks(&source, 1, &chain, 8_000).await;
    assert_eq!(got, chain.blocks[1..=got.len()]);
    (got.len(), source.work().requests_total() - before)
}

#[test]
fn a_deep_range_ends_at_its_budget_too_and_asks_for_nothing_that_it_drops() {
    run(|context| async move {
        let bytes = Config { range_bytes_max: 60_000, ..Config::default() };
        let (len, requests) = deep_range(&context, bytes, |_| false).await;
        assert!((100..1_000).contains(&len), "{len}");
        assert!(requests <= len as u64 + 64 + 2, "{requests} for {len}");
        // Three waves of stretches are begun in 25 ms of round trips of 10.
        let time = Config { range_time_max: Duration::from_millis(200), ..Config::default() };
        let (len, requests) = deep_range(&context, time, |_| false).await;
        assert!((128 * 32..=196 * 32).contains(&len), "{len}");
        assert!(requests <= len as u64 + 2, "{requests} for {len}");
    });
}

#[test]
fn blocks_that_are_larger_than_those_that_they_were_judged_by_end_a_range_early() {
    run(|context| async move {
        let bytes = Config { range_bytes_max: 200_000, ..Config::default() };
        let (len, requests) = deep_range(&context, bytes, |height| height % 32 != 0).await;
        assert!(len >= 32, "{len}");
        assert!(requests < 2_000, "{requests}");
    });
}
