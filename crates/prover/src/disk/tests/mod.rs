//! What survives, on a disk that fails and forgets.

mod crash;

use super::*;
use crate::plan::tests::{PROGRAM, key};
use commonware_runtime::{
    Blob as _, Runner as _, Storage as _, Supervisor as _, WriteOptions, deterministic,
};
use std::time::Duration;
use tidewatch_testkit::host::Host;

pub(crate) fn subject() -> Subject {
    let chain = ChainId::new("test:proving").unwrap();
    Subject { chain, program: PROGRAM, start: key(0, 0).block }
}

pub(crate) fn config() -> Config {
    Config { aside_max: 16, ..Config::new("prover") }
}

pub(crate) async fn open<E: Context>(context: &E) -> Result<Disk<E>, Error> {
    Disk::open(context.child("disk"), config(), &subject()).await
}

pub(super) fn inputs(key: &Key) -> Bytes {
    Bytes::from(format!("inputs of {key}"))
}

pub(super) fn proof(key: &Key) -> Bytes {
    Bytes::from(format!("proof of {key}").repeat(20))
}

fn simulate<F: Future>(test: impl FnOnce(deterministic::Context) -> F) -> F::Output {
    deterministic::Runner::timed(Duration::from_secs(600)).start(test)
}

async fn add<E: Context>(disk: &mut Disk<E>, keys: &[Key]) {
    let blocks: Vec<_> = keys.iter().map(|key| (*key, inputs(key))).collect();
    disk.add(&blocks).await.unwrap();
}

async fn prove<E: Context>(disk: &mut Disk<E>, key: Key) {
    disk.proved(&key, &proof(&key)).await.unwrap();
}

async fn commit<E: Context>(disk: &mut Disk<E>, key: Key) {
    disk.commit(&key).await.unwrap();
    disk.committed(&key).await;
}

/// PS-32.
#[test]
fn inputs_of_a_block_that_never_came_are_not_taken_for_those_of_another() {
    simulate(|context| async move {
        let mut disk = open(&context).await.unwrap();
        add(&mut disk, &[key(1, 0)]).await;
        disk.prune(key(0, 0).block).await.unwrap();
        add(&mut disk, &[key(1, 1)]).await;
        assert_eq!(disk.inputs(&key(1, 1)).await.unwrap(), inputs(&key(1, 1)));
        assert!(disk.inputs(&key(1, 0)).await.is_err());
        assert_eq!(context.scan("prover-inputs").await.unwrap().len(), 1, "nor left behind");
    });
}

/// PS-31.
#[test]
fn inputs_that_cannot_be_removed_are_swept_later() {
    simulate(|context| async move {
        let (host, faults) = Host::late(context.child("host"), 0);
        let mut disk = open(&host).await.unwrap();
        add(&mut disk, &[key(1, 0), key(2, 0)]).await;
        prove(&mut disk, key(1, 0)).await;
        faults.keep_files(true);
        commit(&mut disk, key(1, 0)).await;
        assert_eq!(disk.tip(), key(1, 0).block);
        prove(&mut disk, key(2, 0)).await;
        faults.keep_files(false);
        assert_eq!(context.scan("prover-inputs").await.unwrap().len(), 2);
        drop(disk);
        let disk = open(&host).await.unwrap();
        assert_eq!(disk.tip(), key(1, 0).block);
        assert_eq!(context.scan("prover-inputs").await.unwrap().len(), 1);
    });
}

#[test]
fn a_proof_of_a_block_that_was_reorged_out_is_there_when_it_comes_back() {
    simulate(|context| async move {
        let mut disk = open(&context).await.unwrap();
        add(&mut disk, &[key(1, 0), key(2, 0), key(3, 0)]).await;
        for height in 1..=3 {
            prove(&mut disk, key(height, 0)).await;
        }
        commit(&mut disk, key(1, 0)).await;
        commit(&mut disk, key(2, 0)).await;
        // Back over what was committed, and what was not.
        disk.prune(key(1, 0).block).await.unwrap();
        assert_eq!(disk.tip(), key(1, 0).block);
        add(&mut disk, &[key(2, 1)]).await;
        disk.prune(key(1, 0).block).await.unwrap();
        drop(disk);
        let mut disk = open(&context).await.unwrap();
        add(&mut disk, &[key(2, 0), key(3, 0)]).await;
        assert!(disk.jobs().all(|job| matches!(job.state, State::Proved(_))));
        assert_eq!(disk.proof(key(3, 0).block).await.unwrap(), Some(proof(&key(3, 0))));
    });
}

#[test]
fn proofs_kept_aside_are_bounded() {
    simulate(|context| async move {
        let mut disk = open(&context).await.unwrap();
        for fork in 1..=20 {
            add(&mut disk, &[key(1, fork)]).await;
            prove(&mut disk, key(1, fork)).await;
            disk.prune(key(0, 0).block).await.unwrap();
        }
        assert_eq!(context.scan("prover-aside").await.unwrap().len(), 16);
        assert_eq!(context.scan("prover-proofs-00000000").await.unwrap().len(), 0);
        add(&mut disk, &[key(1, 20)]).await;
        assert!(disk.jobs().all(|job| matches!(job.state, State::Open)), "the oldest stay");
        disk.prune(key(0, 0).block).await.unwrap();
        add(&mut disk, &[key(1, 4)]).await;
        assert!(disk.jobs().all(|job| matches!(job.state, State::Proved(_))));
    });
}

#[test]
fn proofs_that_the_tip_has_passed_are_bounded_across_restarts() {
    simulate(|context| async move {
        let mut disk = open(&context).await.unwrap();
        for height in 1..=40 {
            // A fork that was proven and reorged out; then the chain goes on over it.
            add(&mut disk, &[key(height, 1)]).await;
            prove(&mut disk, key(height, 1)).await;
            disk.prune(key(height - 1, 0).block).await.unwrap();
            add(&mut disk, &[key(height, 0)]).await;
            prove(&mut disk, key(height, 0)).await;
            commit(&mut disk, key(height, 0)).await;
            drop(disk);
            disk = open(&context).await.unwrap();
        }
        assert_eq!(context.scan("prover-aside").await.unwrap().len(), 16);
        let kept = context.scan("prover-proofs-00000000").await.unwrap();
        assert_eq!(kept.len(), 40, "below the tip the chain's own proofs are left");
        // And the newest of them is there when its block comes back.
        disk.prune(key(39, 0).block).await.unwrap();
        add(&mut disk, &[key(40, 1)]).await;
        assert!(disk.jobs().all(|job| matches!(job.state, State::Proved(_))));
    });
}

#[test]
fn the_table_stays_small_however_often_jobs_change() {
    simulate(|context| async move {
        let mut disk = open(&context).await.unwrap();
        add(&mut disk, &[key(1, 0), key(2, 0)]).await;
        for _ in 0..10_000 {
            disk.change(&key(1, 0), |job| job.logical += 1).await.unwrap();
        }
        assert!(disk.lines() < 13_000, "{} lines", disk.lines());
        drop(disk);
        let disk = open(&context).await.unwrap();
        assert_eq!(disk.jobs().map(|job| job.logical).collect::<Vec<_>>(), [10_000, 0]);
    });
}

#[test]
fn proofs_far_below_the_tip_are_removed_by_the_directory_where_that_is_wanted() {
    simulate(|context| async move {
        for (keep, kept) in [(None, [true, true]), (NonZeroU64::new(1), [false, true])] {
            let config = Config { keep, ..Config::new(format!("keep-{}", keep.is_some())) };
            let start = key(3 * SHARD - 1, 0).block;
            let subject = Subject { start, ..subject() };
            let mut disk = Disk::open(context.child("disk"), config, &subject).await.unwrap();
            let old = [key(SHARD + 7, 0), key(2 * SHARD + 7, 0)];
            for key in &old {
                disk.files.write(Kind::Proof, key, &proof(key)).await.unwrap();
            }
            let next = key(3 * SHARD, 0);
            add(&mut disk, &[next]).await;
            prove(&mut disk, next).await;
            commit(&mut disk, next).await;
            for (key, kept) in old.iter().zip(kept) {
                assert_eq!(disk.proof(key.block).await.unwrap().is_some(), kept, "{key}");
            }
            assert!(disk.proof(next.block).await.unwrap().is_some());
        }
    });
}

#[test]
fn a_proof_that_is_damaged_on_disk_is_made_again_and_its_inputs_are_there() {
    simulate(|context| async move {
        let mut disk = open(&context).await.unwrap();
        add(&mut disk, &[key(1, 0)]).await;
        prove(&mut disk, key(1, 0)).await;
        drop(disk);
        let names = context.scan("prover-proofs-00000000").await.unwrap();
        let (blob, _) = context.open("prover-proofs-00000000", &names[0]).await.unwrap();
        blob.write_at(50, vec![0xff], WriteOptions::SYNC).await.unwrap();
        drop(blob);
        let mut disk = open(&context).await.unwrap();
        assert!(disk.jobs().all(|job| job.state == State::Open));
        assert_eq!(disk.inputs(&key(1, 0)).await.unwrap(), inputs(&key(1, 0)));
        prove(&mut disk, key(1, 0)).await;
        commit(&mut disk, key(1, 0)).await;
        assert_eq!(disk.proof(key(1, 0).block).await.unwrap(), Some(proof(&key(1, 0))));
    });
}

#[test]
fn a_directory_belongs_to_one_chain_and_one_program() {
    simulate(|context| async move {
        drop(open(&context).await.unwrap());
        let chain = ChainId::new("test:other").unwrap();
        let other = Subject { chain, ..subject() };
        let error = Disk::open(context.child("again"), config(), &other).await.err();
        assert!(matches!(error, Some(Error::WrongChain { .. })), "{error:?}");
        let other = Subject { program: Digest([1; 32]), ..subject() };
        let error = Disk::open(context.child("again"), config(), &other).await.err();
        assert!(matches!(error, Some(Error::WrongProgram { .. })), "{error:?}");
    });
}

#[test]
fn what_is_too_large_is_refused_before_it_is_written() {
    simulate(|context| async move {
        let config = Config { inputs_max: 10, ..config() };
        let mut disk = Disk::open(context.child("disk"), config, &subject()).await.unwrap();
        let large = Bytes::from_static(&[0; 11]);
        let error = disk.add(&[(key(1, 0), large)]).await.unwrap_err();
        assert!(matches!(error, Error::Oversized { bytes: 11, max: 10, .. }), "{error:?}");
        assert_eq!(disk.jobs().count(), 0);
    });
}
