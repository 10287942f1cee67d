//! Followers of followers that caught up from far behind: each verifies the root itself, range by range.

use commonware_runtime::{Supervisor as _, tokio::Context};
use commonware_utils::NZUsize;
use std::collections::BTreeMap;
use tidewatch_core::{Archive as _, Block as _, Height, Running, Tier, TierProof};
use tidewatch_devnet::readymade::{Chain, ChainConfig, Server as Root, ServerConfig};
use tidewatch_sources::alto::{AltoBlock, CertificateMode, StandardScheme};
use tidewatch_tests::{Call, Node, Settings, run};

const BLOCKS: u64 = 2_500;
const RANGE: u64 = 400;

/// Ends of ranges below the tip.
const ENDS: [u64; 6] = [400, 800, 1_200, 1_600, 2_000, 2_400];

/// A follower, and the server of what it follows.
struct Serving {
    node: Node<StandardScheme>,
    url: String,
    _server: Running,
}

impl Serving {
    /// Follows by `settings`, to the tip.
    async fn start(context: &Context, settings: &Settings) -> Self {
        let node = Node::<StandardScheme>::start(context, settings).await;
        let (url, server) = node.serve(context).await;
        node.recorder.until_final(BLOCKS).await;
        Self { node, url, _server: server }
    }

    /// The certificates that it holds, by height.
    async fn certificates(&self, chain: &Chain) -> BTreeMap<u64, TierProof> {
        let (mut held, mut from) = (BTreeMap::new(), 1);
        while from <= BLOCKS {
            let name = AltoBlock(chain.block(Height::new(from)).expect("a block").clone());
            let name = name.reference();
            let found = self.node.store.proof(Tier::Finalized, name).await.expect("a certificate");
            let Some(found) = found else { break };
            from = found.block.height.get() + 1;
            held.insert(found.block.height.get(), found);
        }
        held
    }
}

fn settings(root: &Root) -> Settings {
    Settings::readymade(root)
        .with_certified(|certified| certified.blocks_max = NZUsize!(RANGE as usize))
}

/// The same, at another follower.
fn behind(root: &Root, url: &str) -> Settings {
    let mut settings = settings(root).with_certified(|certified| {
        certified.finds_certificates = true;
        certified.gap_max = certified.blocks_max;
    });
    settings.endpoints = vec![format!("alto+{url}?mode=standard").parse().expect("an endpoint")];
    settings
}

#[test]
fn at_every_depth_each_range_of_a_long_history_is_verified_by_one_certificate() {
    let chain = Chain::sign(BLOCKS, CertificateMode::Standard, ChainConfig::default());
    let chain = chain.expect("signs");
    let root = Root::start(&chain, ServerConfig::default()).expect("serves");
    let directory = tempfile::tempdir().expect("a directory");
    run(directory.path(), |context| async move {
        let one = Serving::start(&context.child("one"), &settings(&root)).await;
        let held = one.certificates(&chain).await;
        assert_eq!(Vec::from_iter(held.keys().copied()), [&ENDS[..], &[BLOCKS]].concat());
        let mut url = one.url.clone();
        let mut depths = vec![one];
        for depth in ["two", "three"] {
            let settings = Settings { partition: depth.into(), ..behind(&root, &url) };
            let next = Serving::start(&context.child(depth), &settings).await;
            let work = next.node.work();
            // The newest certificate may be pushed before it is answered, or while it is: each way has one check.
            let of = |check: &str| work.checks.get(check).copied().unwrap_or_default();
            assert!(of("tip") <= 1 && of("push") <= 1, "{depth}: {work:?}");
            assert!(of("tip") + of("push") > 0, "{depth}: {work:?}");
            assert_eq!(of("range"), 6, "{depth}: {work:?}");
            assert!(work.refusals.is_empty(), "{depth}: {work:?}");
            // A wave before the first answer, and one at each end of a range; two requests of each certificate.
            assert!(work.requests["certificate"] <= 7 * 65, "{depth}: {work:?}");
            assert_eq!(work.requests["height"], 6, "{depth}: {work:?}");
            assert!(work.requests["blocks"] <= 7 * 2, "{depth}: {work:?}");
            assert_eq!(work.requests.get("digest"), None, "{depth}: {work:?}");
            let calls = next.node.source.calls();
            let ranges = calls.iter().filter(|call| matches!(call, Call::Blocks(_))).count();
            assert_eq!(ranges, 7, "{depth}: {calls:?}");
            assert_eq!(next.certificates(&chain).await, held, "{depth}: byte for byte");
            url = next.url.clone();
            depths.push(next);
        }
    });
}
