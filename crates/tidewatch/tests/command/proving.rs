//! `tidewatch prove` and its workers, each a process of its own, with real proofs.
//!
//! `cargo test -p tidewatch --features prove --test command proving:: -- --ignored --nocapture` kills each of them 20 times.

use crate::support::{
    nats::{NEWEST, Server, installed},
    process::{Process, with_storage},
    run::{Command, Fold, signal},
};
use bytes::Bytes;
use commonware_runtime::{
    Runner as _, Spawner as _, Supervisor as _,
    tokio::{Config as RuntimeConfig, Context, Runner},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    num::NonZeroUsize,
    ops::Range,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tidewatch_core::{AnyBlock, BlockRef, Digest, Height, Stopper};
use tidewatch_devnet::{Config, Devnet, epochs};
use tidewatch_prover::{
    Key, Pool, Program, Prove, Released, Scheduler, disk,
    remote::{Jobs, Limits, Worker, serve},
    scheduler::{self, Parts},
    sha256::{ChainLink, Layout},
};
use tidewatch_sources::registry::{self, Settings};
use tidewatch_store::{Config as StoreConfig, Store};

/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(120);
/// Time between two kills.
const BETWEEN_MS: Range<u64> = 300..4_000;
/// Time between blocks: what two workers on two cores keep up with.
const BLOCK_TIME: Duration = Duration::from_secs(2);

/// The statement as the command has it. That it is the same one, its identity says.
fn statement() -> ChainLink {
    ChainLink::new(Layout { parent_at: 67..=94, length_max: 4 * 1024 * 1024 })
}

/// What was seen of all of them.
#[derive(Default)]
struct Seen {
    fold: Fold,
    proven: u64,
    begun: BTreeMap<u64, usize>,
    finished: BTreeSet<u64>,
    seconds: Vec<f64>,
}

impl Seen {
    fn worker(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (verb, height) = (words.next(), words.next().and_then(|word| word.parse().ok()));
        match (verb, height) {
            (Some("proving"), Some(height)) => {
                assert!(
                    !self.finished.contains(&height),
                    "{height} was finished, and is begun again"
                );
                *self.begun.entry(height).or_default() += 1;
            }
            (Some("proved"), Some(height)) => {
                self.finished.insert(height);
                self.seconds.extend(words.nth(1).and_then(|word| word.parse::<f64>().ok()));
            }
            (Some("not"), _) => panic!("{line}"),
            _ => {}
        }
    }

    /// A line of `prove`. Proven never steps back: see [`Fold`].
    fn prover(&mut self, line: &str) {
        // A kill may tear a line.
        let Ok(value) = serde_json::from_str::<Value>(line) else { return };
        self.fold.line(line);
        if value["event"] == "advanced" && value["tier"] == "proven" {
            self.proven = self.proven.max(value["block"]["height"].as_u64().unwrap());
        }
        if value["event"] == "proving" {
            assert_eq!(value["poisoned"], 0, "{value}");
        }
    }

    /// Takes in what everybody printed; the first is `prove`.
    fn take(&mut self, processes: &[Process]) {
        for (nth, process) in processes.iter().enumerate() {
            for line in process.lines(Duration::from_millis(20)) {
                if nth == 0 { self.prover(&line) } else { self.worker(&line) }
            }
        }
    }
}

/// The blocks up to `upto` that a follower keeps in `data`.
fn followed(data: &Path, source: &str, identity: &str, upto: u64) -> Vec<BlockRef> {
    let target = registry::parse(&[source], Some(identity)).unwrap();
    with_storage(data, async move |context: Context| {
        let opened = target.open(context.child("source"), Arc::new(()), Settings::default());
        let opened = opened.await.unwrap();
        let config = StoreConfig::new(opened.chain_info().await.unwrap(), opened.decoder);
        let genesis = config.chain_info.genesis;
        let store = Store::open::<_, AnyBlock>(context.child("store"), config).await.unwrap().1;
        let heights: Vec<_> = (1..=upto).map(Height::new).collect();
        let located = store.locate(&heights).await.unwrap();
        std::iter::once(genesis).chain(located.into_iter().map(Option::unwrap)).collect()
    })
}

/// Names the program of a directory.
struct Named(Digest);

impl Program for Named {
    fn id(&self) -> Digest {
        self.0
    }

    fn check(&self, _: BlockRef, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn verify(&self, _: Digest, _: BlockRef, _: &[u8]) -> Result<(), String> {
        Err("it is only named".into())
    }
}

/// The proofs of `blocks` that are kept in `data`.
fn proofs(data: &Path, blocks: Vec<BlockRef>) -> Vec<Bytes> {
    with_storage(data, async move |context: Context| {
        let config = disk::Config::new("tidewatch-proving");
        let subject = disk::Subject::of(context.child("subject"), &config).await;
        let subject = subject.unwrap().unwrap();
        assert_eq!(subject.program, statement().id());
        let program = Arc::new(Named(subject.program));
        let parts = Parts { program, provers: Vec::new(), subject };
        let config = scheduler::Config::new(config);
        let opened = Scheduler::open(context.child("scheduler"), parts, config).await;
        let (scheduling, mailbox) = opened.unwrap();
        let handle = scheduling.start();
        let mut proofs = Vec::new();
        for block in blocks {
            let proof = mailbox.proof(block).await.unwrap();
            proofs.push(proof.unwrap_or_else(|| panic!("no proof of {block}")));
        }
        mailbox.stop();
        handle.await.unwrap().unwrap();
        proofs
    })
}

/// A fresh follower of the chain has every block; whoever has those checks every proof.
fn verify_all(proving: &Path, source: &str, identity: &str, upto: u64) {
    let fresh = tempfile::tempdir().unwrap();
    let follow = Command::follow()
        .with(["--source", source, "--identity", identity])
        .with(["--data-dir", fresh.path().to_str().unwrap()])
        .with(["--until", &upto.to_string()]);
    assert_eq!(follow.start().end(LIMIT).code, Some(0));
    let blocks = followed(fresh.path(), source, identity, upto);
    let proofs = proofs(proving, blocks[1..].to_vec());
    let statement = statement();
    let (mut longest, mut all) = (Duration::ZERO, Duration::ZERO);
    for (at, proof) in proofs.iter().enumerate() {
        let began = Instant::now();
        statement.verify(blocks[at].digest, blocks[at + 1], proof).unwrap();
        let took = began.elapsed();
        (longest, all) = (longest.max(took), all + took);
    }
    let sizes = || proofs.iter().map(Bytes::len);
    println!(
        "{upto} proofs verified: {:.1} ms each ({longest:?} with making the keys), {} to {} bytes",
        (all - longest).as_secs_f64() * 1_000.0 / (proofs.len().max(2) - 1) as f64,
        sizes().min().unwrap(),
        sizes().max().unwrap()
    );
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A network with a block already.
async fn devnet(context: &Context) -> Devnet {
    let config = Config { block_time: BLOCK_TIME, ..Config::default() };
    let devnet = Devnet::start(context.child("devnet"), config).await.unwrap();
    devnet.reach(Height::new(1), LIMIT).await.unwrap();
    devnet
}

/// Kills `prove` and its two workers `kills` times each, and looks at what they did.
fn killed(kills: usize, seed: u64) {
    let (chain, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = RuntimeConfig::default().with_storage_directory(chain.path());
    Runner::new(runtime).start(|context| async move {
        let devnet = devnet(&context).await;
        let (identity, source) = (devnet.identity(), format!("alto+{}?mode=standard", devnet.url()));
        let token = data.path().join("token");
        std::fs::write(&token, "0123456789abcdef".repeat(4)).unwrap();
        let token = token.to_str().unwrap().to_owned();
        let addresses = [free_address(), free_address()];
        let place = |name: &str| data.path().join(name).to_str().unwrap().to_owned();
        let prove = {
            let (data, identity, source) = (place("prove"), identity.clone(), source.clone());
            let (token, addresses) = (token.clone(), addresses.clone());
            move || {
                let workers = addresses.iter().map(|address| format!("--prover=http://{address}"));
                Command::new(&["prove", "--format", "json", "--source", &source])
                    .with(["--identity", &identity, "--data-dir", &data, "--token-file", &token])
                    .with(workers)
            }
        };
        let worker = |name: &str, address: &String| {
            let (data, address, token) = (place(name), address.clone(), token.clone());
            Process::start(move || {
                Command::new(&["prover-worker", "--listen", &address])
                    .with(["--data-dir", &data, "--token-file", &token])
            })
        };
        let mut processes = vec![Process::start(prove)];
        processes.extend([worker("one", &addresses[0]), worker("two", &addresses[1])]);

        let began = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut seen = Seen::default();
        seen.fold.reorgs = true;
        let (mut next, mut moved) = (began + LIMIT, (began, 0));
        while processes.iter().any(|process| process.kills < kills) || seen.proven < 3 {
            seen.take(&processes);
            if seen.proven > moved.1 {
                moved = (Instant::now(), seen.proven);
            }
            assert!(moved.0.elapsed() < LIMIT, "nothing is proven after {}", seen.proven);
            // The first kill comes once something is proven.
            if moved.1 > 0 && next == began + LIMIT {
                next = Instant::now();
            }
            if Instant::now() < next {
                continue;
            }
            next = Instant::now() + Duration::from_millis(rng.random_range(BETWEEN_MS));
            let left: Vec<_> = (0..3).filter(|nth| processes[*nth].kills < kills).collect();
            if let Some(nth) = left.get(rng.random_range(0..left.len().max(1))).copied() {
                let last = processes[nth].kill(LIMIT);
                last.iter().for_each(|line| match nth {
                    0 => seen.prover(line),
                    _ => seen.worker(line),
                });
            }
        }
        let goal = devnet.tip().get();
        let deadline = Instant::now() + 2 * LIMIT;
        while seen.proven < goal {
            assert!(Instant::now() < deadline, "{} of {goal} are proven", seen.proven);
            seen.take(&processes);
        }
        let took = began.elapsed();
        operate(&place("prove"), goal);
        for Process { run, .. } in processes {
            let run = run.unwrap();
            signal(&run, "TERM");
            let output = run.end(LIMIT);
            assert_eq!((output.code, output.errors.as_str()), (Some(0), ""));
        }
        operate(&place("prove"), goal);
        verify_all(Path::new(&place("prove")), &source, &identity, goal);
        devnet.stop().await;

        let begun: usize = seen.begun.values().sum();
        seen.seconds.sort_by(f64::total_cmp);
        println!(
            "{kills} kills of each of three processes in {took:.0?}: {goal} blocks proven, {begun} proofs begun, \
             {} finished; a proof took {:.1} s (median)",
            seen.finished.len(),
            seen.seconds.get(seen.seconds.len() / 2).copied().unwrap_or_default()
        );
    });
}

/// What operators are told, whether somebody proves there or not.
fn operate(data: &str, proven: u64) {
    let ask = |args: &[&str]| {
        let output = Command::new(&["prover"]).with(args).with(["--data-dir", data]).start();
        output.end(LIMIT)
    };
    let status = ask(&["status", "--format", "json"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let status: Value = serde_json::from_str(&status.text()).unwrap();
    assert!(status["proven"]["height"].as_u64() >= Some(proven), "{status}");
    assert_eq!(ask(&["jobs"]).code, Some(0));
    let range = ask(&["range", "1", "--finality", "proven", "--format", "json"]).text();
    let range: Value = serde_json::from_str(&range).unwrap();
    let blocks = range["blocks"].as_array().unwrap();
    assert!(range["tip"]["height"].as_u64() >= Some(proven), "{range}");
    assert_eq!(range["tip"], range["tips"]["proven"], "of one moment");
    assert_eq!(blocks.first().unwrap()["height"], 1);
    assert_eq!(blocks.last().unwrap()["digest"], range["tip"]["digest"]);
    assert!(blocks.windows(2).all(|pair| pair[1]["parent"] == pair[0]["digest"]), "{range}");
    let height = proven.to_string();
    let out = Path::new(data).join("proof");
    let out = out.to_str().unwrap();
    let verified = ask(&["verify", &height, "--out", out]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.text().contains("verified"), "{verified:?}");
    for (args, words) in [
        (vec!["supply", &*height, out], "is proven"),
        (vec!["requeue", "1"], "is proven"),
        (vec!["requeue", "1000000"], "nothing is known at height 1000000"),
        (vec!["verify", "1000000"], "there is no block at height 1000000"),
        (vec!["range", "1000000"], "nothing from height 1000000 on is proven yet: "),
    ] {
        let refused = ask(&args);
        assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
        assert!(refused.errors.contains(words), "{args:?}: {refused:?}");
    }
}

#[test]
fn the_devnet_is_proven_block_by_block() {
    let began = Instant::now();
    let command = Command::new(&["prove", "--until", "2", "--format", "json"]);
    let output = command.start().end(LIMIT);
    assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
    let mut seen = Seen::default();
    output.lines.iter().for_each(|line| seen.prover(line));
    assert!(seen.proven >= 2, "{output:?}");
    println!("two blocks of the devnet were proven in {:.1?}", began.elapsed());
}

/// Proves `source` until the block at `until` is proven. The tier never steps back. Returns the height of the first block
/// that was delivered.
fn proven_until(source: &str, identity: &str, until: u64, more: &[&str]) -> u64 {
    let command = Command::new(&["prove", "--format", "json", "--until", &until.to_string()])
        .with(["--source", source, "--identity", identity])
        .with(more.iter().copied());
    let output = command.start().end(LIMIT);
    assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
    let lines = output.lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let moves = lines.iter().filter(|line| line["event"] == "advanced" && line["tier"] == "proven");
    let proven: Vec<_> = moves.map(|line| line["block"]["height"].as_u64().unwrap()).collect();
    assert!(proven.is_sorted() && proven.last() >= Some(&until), "{proven:?}: {output:?}");
    let first = lines.iter().find(|line| line["event"] == "blocks").unwrap();
    first["from"]["height"].as_u64().unwrap()
}

/// Dealers put their results into blocks of the second half of an epoch, and its last block has the next committee.
#[test]
fn a_network_whose_validators_reshare_is_proven_across_its_epochs() {
    let (chain, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = RuntimeConfig::default().with_storage_directory(chain.path());
    Runner::new(runtime).start(|context| async move {
        let config = epochs::Config {
            epoch_length: 16,
            block_time: Duration::from_secs(1),
            ..epochs::Config::default()
        };
        let devnet = epochs::Devnet::start(context.child("devnet"), config).await.unwrap();
        devnet.reach(Height::new(1), LIMIT).await.unwrap();
        let source = format!("alto+{}?mode=standard&epoch_length=16", devnet.url());
        let data = data.path().to_str().unwrap();
        proven_until(&source, &devnet.identity(), 17, &["--data-dir", data]);
        let verified = Command::new(&["prover", "verify", "15", "--data-dir", data]).start();
        let verified = verified.end(LIMIT);
        assert_eq!(verified.code, Some(0), "{verified:?}");
        println!("the last block of an epoch: {}", verified.text());
        devnet.stop().await;
    });
}

#[test]
fn a_start_in_the_middle_of_a_chain_is_proven_from_there_on() {
    let chain = tempfile::tempdir().unwrap();
    let runtime = RuntimeConfig::default().with_storage_directory(chain.path());
    Runner::new(runtime).start(|context| async move {
        let devnet = devnet(&context).await;
        let (identity, source) =
            (devnet.identity(), format!("alto+{}?mode=standard", devnet.url()));
        let verify = |height: u64, data: &str| {
            let verify = Command::new(&["prover", "verify", &height.to_string()]);
            verify.with(["--data-dir", data]).start().end(LIMIT)
        };
        // Its first block is not there yet when it starts.
        let data = tempfile::tempdir().unwrap();
        let place = data.path().to_str().unwrap();
        let start = ["--data-dir", place, "--start", "3"];
        assert_eq!(proven_until(&source, &identity, 4, &start), 3);
        assert_eq!(verify(3, place).code, Some(0));
        let below = verify(2, place);
        assert!(below.errors.contains("proving began above it"), "{below:?}");
        // It goes on from there, whatever it is told.
        let goal = devnet.tip().get().max(5);
        let start = ["--data-dir", place, "--start", "1"];
        assert_eq!(proven_until(&source, &identity, goal, &start), 5);
        assert_eq!(verify(5, place).code, Some(0));

        let data = tempfile::tempdir().unwrap();
        let place = data.path().to_str().unwrap();
        let start = ["--data-dir", place, "--start", "tip"];
        let first = proven_until(&source, &identity, devnet.tip().get() + 2, &start);
        assert!(first > 4, "{first}");
        let verified = verify(first, place);
        assert_eq!(verified.code, Some(0), "{first}: {verified:?}");
        devnet.stop().await;
    });
}

/// A worker is killed on the first job that it took from the queue; after its lease another one has it.
#[test]
fn workers_take_jobs_from_a_queue_and_one_is_killed_on_a_job() {
    let Some(executable) = installed(NEWEST) else { return };
    let (chain, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = RuntimeConfig::default().with_storage_directory(chain.path());
    Runner::new(runtime).start(|context| async move {
        let nats = Server::start(&executable);
        let devnet = devnet(&context).await;
        let (identity, source) =
            (devnet.identity(), format!("alto+{}?mode=standard", devnet.url()));
        let place = |name: &str| data.path().join(name).to_str().unwrap().to_owned();
        let worker = |name: &str| {
            let worker = Command::new(&["prover-worker", "--nats", &nats.url()]);
            worker.with(["--data-dir", &place(name)]).start()
        };
        let first = worker("one");
        first.line_with("proving what is queued at nats://");
        let prove = Command::new(&["prove", "--format", "json", "--source", &source])
            .with(["--identity", &identity, "--data-dir", &place("prove")])
            .with(["--prover", &nats.url()])
            .start();
        first.line_with("proving ");
        signal(&first, "KILL");
        assert_eq!(first.end(LIMIT).code, None);
        let second = worker("two");
        let goal = devnet.tip().get() + 2;
        let mut seen = Seen::default();
        while seen.proven < goal {
            seen.prover(&prove.line(LIMIT).unwrap());
        }
        for run in [prove, second] {
            signal(&run, "TERM");
            let output = run.end(LIMIT);
            assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
        }
        verify_all(Path::new(&place("prove")), &source, &identity, goal);
        devnet.stop().await;
    });
}

/// The statement, from a build that fails at one block.
struct FailsAt(u64, ChainLink);

impl Prove for FailsAt {
    fn prove(&self, key: &Key, inputs: &[u8], released: &Released) -> Result<Bytes, String> {
        if key.height() == self.0 {
            return Err("a fault of this build".into());
        }
        self.1.prove(key, inputs, released)
    }
}

/// Block 2 is poisoned by a worker that cannot prove it. Another worker takes its place, and an operator requeues it.
#[test]
fn a_poisoned_block_is_proven_once_its_worker_is_replaced_and_it_is_requeued() {
    let chain = tempfile::tempdir().unwrap();
    let runtime = RuntimeConfig::default().with_storage_directory(chain.path());
    Runner::new(runtime).start(|context| async move {
        let devnet = devnet(&context).await;
        let (listener, address) = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            (listener, address)
        };
        let fails = FailsAt(2, statement());
        let pool = Pool::new(context.child("pool"), "pool", fails, NonZeroUsize::MIN);
        let jobs = Jobs { prover: Arc::new(pool), program: statement().id() };
        let limits = Limits::default();
        let worker = Worker { jobs: Some(jobs), miden: None, limits, token: None };
        let (stopper, stopping) = Stopper::new();
        let serving = context.child("worker").spawn(move |_| serve(listener, worker, stopping));
        let data = tempfile::tempdir().unwrap();
        let place = |name: &str| data.path().join(name).to_str().unwrap().to_owned();
        let prove = Command::new(&["prove", "--format", "json", "--data-dir", &place("prove")])
            .with(["--source", &format!("alto+{}?mode=standard", devnet.url())])
            .with(["--identity", &devnet.identity(), "--prover", &format!("http://{address}")])
            .start();
        let poisoned = loop {
            let line = prove.line_with("\"event\":\"proving\"");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["poisoned"] == 1 {
                break line;
            }
        };
        assert_eq!(
            (&poisoned["proven"]["height"], &poisoned["stalled"]),
            (&1.into(), &true.into())
        );
        let cause = poisoned["cause"].as_str().unwrap();
        assert!(cause.contains("a fault of this build"), "{poisoned}");
        let ask = |args: &[&str]| {
            let asked = Command::new(&["prover"]).with(args).with(["--data-dir", &place("prove")]);
            asked.start().end(LIMIT)
        };
        let jobs = ask(&["jobs", "--max", "1"]).text();
        assert!(jobs.contains("poisoned") && jobs.contains("a fault of this build"), "{jobs}");
        let status = ask(&["status"]).text();
        assert!(status.contains("1 poisoned") && status.contains("stalled"), "{status}");

        stopper.stop();
        let _ = serving.await;
        let replaced = Command::new(&["prover-worker", "--listen", &address])
            .with(["--data-dir", &place("worker")])
            .start();
        let requeued = ask(&["requeue", "2"]);
        assert_eq!(requeued.code, Some(0), "{requeued:?}");
        loop {
            let line: Value =
                serde_json::from_str(&prove.line_with("\"tier\":\"proven\"")).unwrap();
            if line["block"]["height"].as_u64() >= Some(3) {
                break;
            }
        }
        let verified = ask(&["verify", "2"]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
        let status = ask(&["status"]).text();
        assert!(status.contains("0 poisoned") && !status.contains("stalled"), "{status}");
        for run in [prove, replaced] {
            signal(&run, "TERM");
            assert_eq!(run.end(LIMIT).code, Some(0));
        }
        devnet.stop().await;
    });
}

/// The first proof makes the keys too, and takes longer than that.
#[test]
fn a_signal_ends_a_worker_that_makes_a_proof_at_once() {
    let data = tempfile::tempdir().unwrap();
    let (data, address) = (data.path().to_str().unwrap(), free_address());
    let worker = Command::new(&["prover-worker", "--listen", &address, "--data-dir", data]);
    let worker = worker.start();
    worker.line_with("proving at");
    let prove = Command::new(&["prove", "--prover", &format!("http://{address}")]).start();
    worker.line_with("proving 1");
    let began = Instant::now();
    signal(&worker, "TERM");
    let output = worker.end(LIMIT);
    assert_eq!((output.code, output.errors.as_str()), (Some(0), ""), "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    signal(&prove, "TERM");
    assert_eq!(prove.end(LIMIT).code, Some(0));
}

#[test]
fn killed_at_random_proven_never_steps_back_and_no_finished_proof_is_made_again() {
    killed(1, 11);
}

#[test]
#[ignore = "takes minutes: the module says how to run it"]
fn sixty_kills_of_three_processes() {
    killed(20, 12);
}
