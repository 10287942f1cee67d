//! A scheduler and two workers, each a process of its own, each killed with SIGKILL 20 times.
//!
//! `cargo test -p tidewatch-prover --test killed -- --ignored --nocapture`
//!
//! The processes are this program again. The scheduler prints each proven tip, a worker each block that it begins
//! to prove; the test reads that, and kills one of them every few lines. The tip never steps back, a block is
//! proven again only where a worker was killed on it, and in the end every proof is there and verifies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, and programs that it starts"
)]

mod chained;

use bytes::Bytes;
use chained::{Chained, Process, block, config, parts, say};
use commonware_cryptography::{Hasher as _, Sha256};
use commonware_runtime::{Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_utils::NZUsize;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    env,
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};
use tidewatch_core::Stopper;
use tidewatch_prover::{
    Pool, Program as _, Prover, Scheduler,
    remote::{Jobs, Limits, Remote, Worker, serve},
    scheduler::{Mailbox, NewBlock},
};

const BLOCKS: u64 = 600;
const KILLS: usize = 20;
const SLOTS: usize = 2;

/// Some ten milliseconds of hashing.
fn statement() -> Chained {
    Chained { program: Sha256::hash(&[b"many hashes"]), rounds: 100_000 }
}

/// Not a test: the worker's process.
#[test]
#[ignore = "started by the test below"]
fn worker_process() {
    let Ok(address) = env::var("KILLED_ADDRESS") else { return };
    tokio::Runner::default().start(|context| async move {
        let pool = Pool::new(context.child("pool"), "pool", statement(), NZUsize!(SLOTS));
        let listener = ::tokio::net::TcpListener::bind(address).await.expect("binds");
        let (_stopper, stopping) = Stopper::new();
        let limits = Limits::default();
        let (prover, program) = (Arc::new(pool), statement().id());
        let jobs = Some(Jobs { prover, program });
        let worker = Worker { jobs, miden: None, limits, token: None };
        serve(listener, worker, stopping).await;
    });
}

async fn open<E>(context: E, provers: Vec<Arc<dyn Prover>>) -> (Scheduler<E, Chained>, Mailbox)
where
    E: commonware_storage::Context + commonware_runtime::Spawner + rand::Rng,
{
    let config = config(Duration::from_secs(4), Duration::from_secs(2));
    Scheduler::open(context, parts(statement(), provers), config).await.expect("opens")
}

/// Not a test: the scheduler's process.
#[test]
#[ignore = "started by the test below"]
fn scheduler_process() {
    let Ok(directory) = env::var("KILLED_DIRECTORY") else { return };
    let addresses = env::var("KILLED_ADDRESSES").unwrap_or_default();
    let config = tokio::Config::new().with_storage_directory(directory);
    tokio::Runner::new(config).start(|context| async move {
        let remote = |address: &str| {
            let remote = Remote::new(&format!("http://{address}"), statement().id(), 1_000);
            Arc::new(remote.expect("an address")) as Arc<dyn Prover>
        };
        let provers = addresses.split(',').map(remote).collect();
        let (scheduler, mailbox) = open(context.child("scheduler"), provers).await;
        let handle = scheduler.start();
        let adding = mailbox.clone();
        context.child("adds").spawn(move |_| async move {
            for height in 1..=BLOCKS {
                let parent = block(height - 1).digest;
                let inputs = Bytes::copy_from_slice(&parent.0);
                let block = block(height);
                adding.add(vec![NewBlock { block, parent, inputs }]).await.expect("adds");
            }
        });
        let mut proven = mailbox.proven();
        say(&format!("tip {}", proven.current().tip.height));
        while let Ok(now) = proven.changed().await {
            say(&format!("tip {}", now.tip.height));
        }
        handle.await.expect("joins").expect("ends");
    });
}

/// Reads until the last block is proven, and kills on the way. Returns how many proofs were begun.
fn watch(lines: &Receiver<String>, processes: &mut [Process]) -> usize {
    let mut rng = StdRng::seed_from_u64(11);
    let (mut tip, mut begun, mut until) = (0, 0, 20);
    while tip < BLOCKS || processes.iter().any(|process| process.kills < KILLS) {
        let line = lines.recv_timeout(Duration::from_secs(60)).expect("it goes on");
        match line.split_once(' ') {
            Some(("tip", height)) => {
                let height: u64 = height.parse().unwrap();
                assert!(height >= tip, "the tip steps back from {tip} to {height}");
                tip = height;
            }
            Some(("start", _)) => begun += 1,
            _ => continue,
        }
        until -= 1;
        if until == 0 {
            until = rng.random_range(3..18);
            let left: Vec<_> =
                processes.iter_mut().filter(|process| process.kills < KILLS).collect();
            if !left.is_empty() {
                let nth = rng.random_range(0..left.len());
                left.into_iter().nth(nth).unwrap().kill();
            }
        }
    }
    begun
}

fn verify_all(directory: &Path) {
    let config = tokio::Config::new().with_storage_directory(directory);
    tokio::Runner::new(config).start(|context| async move {
        let (scheduler, mailbox) = open(context.child("scheduler"), Vec::new()).await;
        let handle = scheduler.start();
        assert_eq!(mailbox.proven().current().tip, block(BLOCKS));
        for height in 1..=BLOCKS {
            let proof = mailbox.proof(block(height)).await.unwrap().unwrap();
            statement().verify(block(height - 1).digest, block(height), &proof).unwrap();
        }
        mailbox.stop();
        handle.await.unwrap().unwrap();
    });
}

#[test]
#[ignore = "starts and kills processes for half a minute"]
fn killed_at_random_nothing_that_was_proven_is_lost_or_proven_again() {
    let directory = tempfile::tempdir().unwrap();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = [free(), free()];
    let addresses = listeners.map(|listener| listener.local_addr().unwrap().to_string());
    let (sender, lines) = channel();
    let worker = |address: &String| {
        let environment = vec![("KILLED_ADDRESS", address.clone())];
        Process::new("worker_process", environment, sender.clone())
    };
    let mut processes: Vec<_> = addresses.iter().map(worker).collect();
    let environment = vec![
        ("KILLED_DIRECTORY", directory.path().display().to_string()),
        ("KILLED_ADDRESSES", addresses.join(",")),
    ];
    processes.push(Process::new("scheduler_process", environment, sender));
    let begun = watch(&lines, &mut processes);
    drop(processes);
    let most = BLOCKS as usize + 2 * KILLS * SLOTS;
    println!("{BLOCKS} blocks, {begun} proofs begun, of {most} at the most");
    assert!(begun >= BLOCKS as usize && begun <= most, "{begun} proofs were begun");
    verify_all(directory.path());
}
