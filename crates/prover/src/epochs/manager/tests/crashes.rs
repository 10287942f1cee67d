//! A crash at every change of the disk: of a disk that fails, and of one that forgets what was not synced.

use super::*;
use tidewatch_testkit::host::{
    Host,
    crash::{LEFT, Left, faults},
};

const ALL: [(u64, u64); 2] = [(1, 4), (5, 8)];

fn full(epochs: &[(u64, u64)]) -> Vec<(u64, u64)> {
    epochs.iter().filter(|(first, last)| last - first == 3).copied().collect()
}

/// One life: somebody asks for a part of the second epoch, then it grows; until all has landed. Whether it came there.
async fn live<E: Context + commonware_runtime::Spawner + rand::Rng>(
    host: E,
    rollup: &Rollup,
    prover: &Scripted,
) -> bool {
    let clock = rollup.1.clone();
    let Ok((manager, mailbox)) = open(host, rollup, prover, config()).await else { return false };
    let handle = manager.start();
    let lives = async {
        mailbox.checkpointed(3).await.ok()?;
        match mailbox.start(1).await {
            Ok(_) => {}
            Err(fault) if not_started(&fault).is_some() => {}
            Err(_) => return None,
        }
        while full(&rollup.landed()) != ALL {
            // The proven tip follows what landed, later: a crash may lie in between.
            let landed = rollup.landed();
            if !landed.is_empty() {
                if rollup.get(|state| state.checkpoints.len()) == 3 {
                    rollup.grow();
                }
                mailbox.checkpointed(4).await.ok()?;
            }
            for _ in 0..10 {
                mailbox.status().await?;
                clock.sleep(Duration::from_millis(500)).await;
            }
            rollup.set(|state| {
                let follows = |range: &(u64, u64)| range.0 <= state.proven + 1;
                let last = landed.iter().copied().filter(follows).map(|(_, last)| last).max();
                state.proven = state.proven.max(last.unwrap_or_default());
            });
        }
        Some(())
    };
    let came = lives.await.is_some();
    mailbox.stop();
    handle.await.unwrap().is_ok() && came
}

/// Runs lives until change `n` of the disk fails, crashes, and lives on what is left.
fn crash_at(n: u64, left: Left) -> bool {
    let config = deterministic::Config::new().with_seed(n).with_timeout(Some(secs(2_000)));
    let (left, disk) = deterministic::Runner::new(config).start_and_recover(|context| async move {
        *context.storage_fault_config().write() = faults(left);
        let rollup = Rollup::new(&context, 3);
        rollup.set(|state| state.follows = false);
        let prover = Scripted::honest(&context, 4, 2);
        let (host, faults) = Host::late(context.child("host"), 0);
        faults.fail_disk_after(n);
        let done = live(host.child("manager"), &rollup, &prover).await;
        (done, rollup.0, prover.resting())
    });
    let (done, rollup, prover) = left;
    // The first restart crashes too, at a place of its own.
    let (left, disk) = deterministic::Runner::from(disk).start_and_recover(|context| async move {
        let rollup = Rollup(rollup, Arc::new(context.child("rollup")));
        let prover = prover.on(&context);
        let (host, faults) = Host::late(context.child("host"), 0);
        faults.fail_disk_after(n % 13);
        live(host.child("manager"), &rollup, &prover).await;
        (rollup.0, prover.resting())
    });
    let (rollup, prover) = left;
    deterministic::Runner::from(disk).start(|context| async move {
        let rollup = Rollup(rollup, Arc::new(context.child("rollup")));
        let prover = prover.on(&context);
        assert!(live(context.child("manager"), &rollup, &prover).await, "change {n}");
        let landed = rollup.landed();
        assert_eq!(full(&landed), ALL, "change {n}: each epoch once: {landed:?}");
        assert!(landed.len() <= 3, "change {n}: {landed:?}");
        let mut asked = ranges(&prover);
        let all = asked.len();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), all, "change {n}: made twice: {:?}", ranges(&prover));
    });
    done
}

#[test]
fn a_crash_at_any_change_of_the_disk_loses_no_proof_and_publishes_nothing_twice() {
    for left in LEFT {
        let end = (0..500).find(|n| crash_at(*n, left)).expect("it comes to its end");
        assert!(end > 20, "{end} changes of the disk");
    }
}

/// Damages every proof on disk.
async fn damage(context: &deterministic::Context) {
    use commonware_runtime::{Blob as _, Storage as _, WriteOptions};
    for name in context.scan("epochs-ranges").await.unwrap() {
        let (blob, _) = context.open("epochs-ranges", &name).await.unwrap();
        blob.write_at(50, vec![0xff; 3], WriteOptions::SYNC).await.unwrap();
    }
}

#[test]
fn proofs_that_are_damaged_on_disk_are_made_again_from_the_pieces_on() {
    simulate(|context| async move {
        let rollup = Rollup::new(&context, 2);
        rollup.set(|state| state.unavailable = usize::MAX);
        let prover = Scripted::honest(&context, 4, 1);
        let running = Running::start(&context, &rollup, &prover, config()).await;
        running.mailbox.checkpointed(2).await.unwrap();
        running.until(|status| status.unpublished == 1).await;
        damage(&context).await;
        rollup.set(|state| state.unavailable = 0);
        running.lands(&[(1, 4)]).await;
        let mut asked = ranges(&prover);
        asked[..3].sort_unstable();
        asked[3..].sort_unstable();
        let all = [(1, 2), (1, 4), (3, 4)];
        assert_eq!((&asked[..3], &asked[3..]), (&all[..], &all[..]), "all of them, and once");
        running.stop().await;
        // A restart on damaged proofs is one without proofs.
        damage(&context).await;
        rollup.set(|state| (state.proven, state.landed) = (0, Vec::new()));
        let running = Running::start(&context, &rollup, &prover, config()).await;
        running.mailbox.checkpointed(2).await.unwrap();
        running.lands(&[(1, 4)]).await;
        assert_eq!(prover.submitted().len(), 9);
        running.stop().await;
    });
}

#[test]
fn a_directory_belongs_to_one_chain_and_one_program() {
    simulate(|context| async move {
        let subject = |name: &str| ChainId::new(name).unwrap();
        let disk = disk::Config::new("of-one");
        let kept = async |chain: &str, program| {
            super::kept::Kept::open(&context.child("kept"), &disk, &subject(chain), program).await
        };
        assert!(kept("test:one", PROGRAM).await.is_ok());
        assert!(kept("test:one", PROGRAM).await.is_ok());
        let other = kept("test:two", PROGRAM).await.err();
        assert!(matches!(other, Some(crate::Error::WrongChain { .. })), "{other:?}");
        let other = kept("test:one", Digest([1; 32])).await.err();
        assert!(matches!(other, Some(crate::Error::WrongProgram { .. })), "{other:?}");
    });
}
