use super::*;
use alto_client::{ClientBuilder, consensus::Message};
use alto_types::{Block, Finalized, NAMESPACE, Notarized, Scheme};
use commonware_codec::{Decode as _, Encode as _};
use commonware_consensus::types::{Epoch, Round};
use commonware_cryptography::Digestible as _;
use commonware_formatting::hex;
use commonware_glue::dkg::types::EpochOutcome;
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock as _, Runner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Runner},
};
use futures::StreamExt as _;
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;
use tidewatch_core::{Block as _, Source as _, Tier};

/// Far longer than any step takes, even on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(45);
const LENGTH: u64 = 16;

/// Runs a test as an embedder would, in its own commonware runtime.
fn embed<F: Future<Output = ()>>(test: impl FnOnce(Context) -> F) {
    let directory = TempDir::new().unwrap();
    Runner::new(RuntimeConfig::default().with_storage_directory(directory.path())).start(test);
}

fn config(mode: CertificateMode, directory: Option<PathBuf>) -> Config {
    let block_time = Duration::from_millis(50);
    Config { mode, block_time, epoch_length: LENGTH, directory, ..Config::default() }
}

/// The body of a response, or `None` for a 404.
async fn get(devnet: &Devnet, path: &str) -> Option<Vec<u8>> {
    let response = reqwest::get(format!("{}/{path}", devnet.url())).await.unwrap();
    if response.status() == reqwest::StatusCode::NOT_FOUND {
        return None;
    }
    assert!(response.status().is_success(), "{path}: {}", response.status());
    Some(response.bytes().await.unwrap().to_vec())
}

fn decode<S: Certify>(bytes: &[u8]) -> Finalized<S> {
    Finalized::decode_cfg(bytes, &Block::unbounded_codec_config()).unwrap()
}

async fn at<S: Certify>(devnet: &Devnet, height: u64) -> Option<Finalized<S>> {
    get(devnet, &format!("block/{height:016x}")).await.map(|bytes| decode(&bytes))
}

/// The last block of `epoch`, and what it says of the next one.
async fn boundary<S: Certify>(devnet: &Devnet, epoch: u64) -> (Finalized<S>, EpochInfo) {
    let height = (epoch + 1) * LENGTH - 1;
    let finalized =
        at::<S>(devnet, height).await.expect("a boundary block is served by its height");
    let Ok(Some(Payload::EpochInfo(info))) = payload(&finalized.block.data) else {
        panic!("the block at {height} says nothing of the next epoch");
    };
    assert_eq!(info.epoch, Epoch::new(epoch + 1));
    (finalized, info)
}

/// A scheme of the committee of `info` alone.
fn scheme<S: Certify>(info: &EpochInfo) -> S {
    S::verifying(info.output.players().clone(), info.output.public().clone())
}

/// Follows the chain over `epochs` with what blocks say, from the configuration of the first one.
async fn crosses<S: Certify>(context: Context, epochs: u64) {
    let begin = context.current();
    let devnet = Devnet::start(context.child("devnet"), config(S::MODE, None)).await.unwrap();
    devnet.reach(Height::new(1), DEADLINE).await.unwrap();
    println!("{:?}: first block {:?}", S::MODE, context.current().duration_since(begin).unwrap());
    let beyond = Height::new(epochs * LENGTH + 1);
    devnet.reach(beyond, DEADLINE).await.unwrap();
    println!("{:?}: {beyond} {:?}", S::MODE, context.current().duration_since(begin).unwrap());

    let mut info = devnet.first();
    for epoch in 0..epochs {
        let scheme = scheme::<S>(&info);
        for height in (epoch * LENGTH).max(1)..(epoch + 1) * LENGTH {
            // A height that was finalized through a descendant has no certificate of its own.
            let Some(finalized) = at::<S>(&devnet, height).await else { continue };
            assert_eq!(finalized.block.height, Height::new(height));
            assert_eq!(finalized.proof.proposal.round.epoch(), Epoch::new(epoch));
            assert!(finalized.verify(&scheme, &Sequential), "height {height}");
        }
        let (last, next) = boundary::<S>(&devnet, epoch).await;
        assert_eq!(next.outcome, EpochOutcome::Success, "epoch {epoch}");
        // Another polynomial over another committee, with the same key.
        assert_ne!(next.output, info.output);
        assert_ne!(next.output.players(), info.output.players());
        assert_eq!(next.output.players(), &info.players);
        assert_eq!(next.output.public().public(), &devnet.public());
        let by_digest = get(&devnet, &format!("block/{}", hex(&last.block.digest()))).await;
        assert_eq!(by_digest.unwrap(), last.block.encode().to_vec());
        info = next;
    }

    let newest = decode::<S>(&get(&devnet, "finalization/latest").await.unwrap());
    assert!(newest.block.height >= beyond, "{:?}", newest.block.height);
    let identity = <S as Scheme>::certificate_verifier(NAMESPACE, devnet.public());
    assert!(newest.verify(&identity, &Sequential));
    let notarized = get(&devnet, "notarization/latest").await.unwrap();
    let size = Block::unbounded_codec_config();
    let notarized = Notarized::<S>::decode_cfg(notarized.as_slice(), &size).unwrap();
    assert!(notarized.verify(&identity, &Sequential));
    assert!(notarized.proof.proposal.round.epoch() >= Epoch::new(epochs));
    for nothing in ["block/00000000ffffffff", "block/xyz", "finalization/0000000000000001"] {
        assert!(get(&devnet, nothing).await.is_none(), "{nothing}");
    }
    assert_eq!(get(&devnet, "health").await.unwrap(), b"ok");
    let begin = context.current();
    devnet.stop().await;
    println!("{:?}: stop {:?}", S::MODE, context.current().duration_since(begin).unwrap());
}

#[test]
fn each_epochs_certificates_verify_under_what_the_last_block_of_the_one_before_it_says() {
    embed(|context| crosses::<StandardScheme>(context, 3));
}

#[test]
fn a_vrf_devnet_has_epochs_too() {
    embed(|context| crosses::<VrfScheme>(context, 1));
}

#[test]
fn certificates_are_pushed_as_alto_pushes_them() {
    embed(|context| async move {
        let config = config(CertificateMode::Standard, None);
        let devnet = Devnet::start(context.child("devnet"), config).await.unwrap();
        let identity = StandardScheme::certificate_verifier(NAMESPACE, devnet.public());
        let client = ClientBuilder::new(&devnet.url(), identity, Sequential).build();
        let mut pushed = client.listen().await.unwrap();
        let (mut notarized, mut finalized) = (Round::zero(), Round::zero());
        // The client verifies, and what is pushed only goes up, over the end of an epoch as well.
        while finalized.epoch() < Epoch::new(1) || notarized.epoch() < Epoch::new(1) {
            let (last, round) = match pushed.next().await.unwrap().unwrap() {
                Message::Notarization(pushed) => (&mut notarized, pushed.proof.proposal.round),
                Message::Finalization(pushed) => (&mut finalized, pushed.proof.proposal.round),
                Message::Seed(_) => panic!("a seed of a standard chain"),
            };
            assert!(*last < round, "{round} after {last}");
            *last = round;
        }
        devnet.stop().await;
    });
}

const DIRECTORY: &str = "TIDEWATCH_TEST_EPOCHS_DIRECTORY";

/// A devnet in a process of its own.
struct Process(Child);

impl Process {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = ["--exact", "epochs::tests::a_devnet_that_is_killed", "--ignored"];
        command.args(test).env(DIRECTORY, directory).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Kills it (`SIGKILL`) once it has finalized `height`. Returns how high it was.
    async fn kill_at(mut self, context: &Context, directory: &Path, height: u64) -> u64 {
        let end = context.current() + DEADLINE;
        let seen = || std::fs::read_to_string(directory.join("seen")).ok()?.parse::<u64>().ok();
        while seen().is_none_or(|seen| seen < height) {
            assert!(context.current() < end, "{height} was not reached, but {:?}", seen());
            assert!(self.0.try_wait().unwrap().is_none(), "it ended");
            context.sleep(Duration::from_millis(20)).await;
        }
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        seen().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "started and killed by another test"]
fn a_devnet_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    embed(|context| async move {
        let config = config(CertificateMode::Standard, Some(directory.join("devnet")));
        let devnet = Devnet::start(context.child("devnet"), config).await.unwrap();
        loop {
            let height = devnet.tip();
            let newer = devnet.reach(height.next(), DEADLINE).await;
            newer.unwrap();
            let new = directory.join("new");
            std::fs::write(&new, devnet.tip().to_string()).unwrap();
            std::fs::rename(new, directory.join("seen")).unwrap();
        }
    });
}

#[test]
fn a_devnet_that_was_killed_continues_its_chain() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    embed(|context| async move {
        let height = Process::start(path).kill_at(&context, path, LENGTH + 2).await;
        let late = height.next_multiple_of(LENGTH) + LENGTH / 2 + 2;
        let height = Process::start(path).kill_at(&context, path, late).await;

        let begin = context.current();
        let config = config(CertificateMode::Standard, Some(path.join("devnet")));
        let devnet = Devnet::start(context.child("devnet"), config).await.unwrap();
        devnet.reach(Height::new(height), DEADLINE).await.unwrap();
        println!("the old tip {:?}", context.current().duration_since(begin).unwrap());
        let epochs = height.div_ceil(LENGTH);
        devnet.reach(Height::new(epochs * LENGTH + 1), DEADLINE).await.unwrap();
        println!("the next epoch {:?}", context.current().duration_since(begin).unwrap());
        let mut info = devnet.first();
        for epoch in 0..epochs {
            let (last, next) = boundary::<StandardScheme>(&devnet, epoch).await;
            assert!(last.verify(&scheme::<StandardScheme>(&info), &Sequential), "epoch {epoch}");
            info = next;
        }
        // One chain, from the newest block back to genesis.
        let newest = get(&devnet, "finalization/latest").await.unwrap();
        let mut block = decode::<StandardScheme>(&newest).block;
        while block.height > Height::zero() {
            let parent = get(&devnet, &format!("block/{}", hex(&block.parent))).await.unwrap();
            let size = Block::unbounded_codec_config();
            let parent = Block::decode_cfg(parent.as_slice(), &size).unwrap();
            assert_eq!(parent.height.next(), block.height);
            assert_eq!(parent.digest(), block.parent);
            block = parent;
        }
        assert_eq!(block, Block::genesis());
        devnet.stop().await;

        // Journals of consensus are kept for two epochs, not for ever.
        let journals: Vec<_> = std::fs::read_dir(path.join("devnet"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with("-validator-0_consensus_0"))
            .collect();
        assert!(journals.is_empty(), "{journals:?}");
    });
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_starts() {
    embed(|context| async move {
        let good = Config::default();
        for (bad, name) in [
            (Config { committee: 3, ..good.clone() }, "committee"),
            (Config { committee: 17, validators: 17, ..good.clone() }, "committee"),
            (Config { validators: 3, ..good.clone() }, "validators"),
            (Config { validators: 17, ..good.clone() }, "validators"),
            (Config { epoch_length: 15, ..good.clone() }, "epoch_length"),
            (Config { epoch_length: u64::MAX, ..good.clone() }, "epoch_length"),
            (Config { block_time: Duration::ZERO, ..good.clone() }, "block_time"),
            (Config { block_time: Duration::from_secs(61), ..good.clone() }, "block_time"),
        ] {
            let error = Devnet::start(context.child("devnet"), bad).await.unwrap_err();
            assert!(
                matches!(&error, Error::Setting { setting, .. } if *setting == name),
                "{name}: {error}"
            );
        }
    });
}

#[test]
fn a_follower_inside_of_a_validator_reads_what_its_indexer_serves() {
    embed(|context| async move {
        let config = config(CertificateMode::Standard, None);
        let devnet = Devnet::start(context.child("devnet"), config).await.unwrap();
        let chain = tidewatch_core::ChainId::new("test:inside").unwrap();
        devnet.reach(Height::new(1), DEADLINE).await.unwrap();
        let source = devnet.inside(0, chain.clone()).expect("it runs");
        assert!(devnet.inside(99, chain).is_none(), "no such validator");
        let mut bell = source.doorbell();
        devnet.reach(Height::new(LENGTH + 4), DEADLINE).await.unwrap();
        bell.rung().await;

        let snapshot = source.snapshot().await.unwrap();
        let tip = snapshot.tips.block(Tier::Finalized).unwrap();
        assert_eq!(snapshot.tips.block(Tier::Proposed), Some(tip));
        let proof = snapshot.proof(Tier::Finalized, tip).expect("it has a certificate");
        let (_, info) = boundary::<StandardScheme>(&devnet, 0).await;
        type Proof = alto_types::Finalization<StandardScheme>;
        let finalization = Proof::decode_cfg(proof.bytes.clone(), &()).unwrap();
        assert_eq!(finalization.proposal.payload, tip.digest);
        let scheme =
            StandardScheme::certificate_verifier(NAMESPACE, *info.output.public().public());
        let rng = &mut commonware_utils::test_rng();
        assert!(finalization.verify(rng, &scheme, &Sequential), "the chain's own certificate");

        let blocks = source.blocks(tip, Height::new(1)).await.unwrap();
        assert_eq!(blocks.last().unwrap().reference(), tip);
        let heights: Vec<_> = (0..=tip.height.get() + 1).map(Height::new).collect();
        let digests = source.digests(tip, &heights[1..64.min(heights.len())]).await.unwrap();
        for (block, digest) in blocks.iter().zip(digests) {
            assert_eq!(Some(block.reference().digest), digest);
        }
        let elsewhere = tidewatch_core::BlockRef::new(tip.height, tidewatch_core::Digest([9; 32]));
        let torn = source.digests(elsewhere, &[Height::new(1)]).await.unwrap_err();
        assert_eq!(torn.kind, tidewatch_core::FaultKind::Torn);
        assert!(source.blocks(elsewhere, Height::new(1)).await.unwrap().is_empty());

        devnet.stop().await;
        let fault = source.snapshot().await.unwrap_err();
        assert_eq!(fault.kind, tidewatch_core::FaultKind::Unavailable, "a marshal that has ended");
    });
}
