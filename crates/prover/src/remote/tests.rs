//! A remote prover, on real sockets.

mod miden;

use super::*;
use crate::{
    Failure, Handle, Key, Pool, Program, Progress, Prove, Prover, Released, disk,
    plan::tests::PROGRAM,
};
use ::tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_utils::NZUsize;
use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};
use tidewatch_core::{Digest, Height, Stopper};

const LONG: Duration = Duration::from_secs(20);

/// Computes until the test says how it ends.
struct Gated(Mutex<Receiver<Result<(), String>>>);

impl Prove for Gated {
    fn prove(&self, key: &Key, inputs: &[u8], _: &Released) -> Result<Bytes, String> {
        self.0.lock().unwrap().recv().unwrap()?;
        Ok([inputs, &key.block.digest.0].concat().into())
    }
}

/// A pool of one slot, and what lets a proof end.
fn pool(context: &tokio::Context) -> (Arc<dyn Prover>, Sender<Result<(), String>>) {
    let (gate, gated) = channel();
    let pool = Pool::new(context.child("pool"), "pool", Gated(gated.into()), NZUsize!(1));
    (Arc::new(pool), gate)
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn worker(prover: Arc<dyn Prover>, limits: Limits, token: Option<Token>) -> Worker {
    Worker { jobs: Some(Jobs { prover, program: PROGRAM }), miden: None, limits, token }
}

/// Serves `prover` and gives its address.
async fn served(
    context: &tokio::Context,
    prover: Arc<dyn Prover>,
    limits: Limits,
) -> (String, Stopper) {
    let (listener, address) = listen().await;
    let (stopper, stopping) = Stopper::new();
    let worker = worker(prover, limits, None);
    context.child("server").spawn(move |_| async move {
        serve(listener, worker, stopping).await;
    });
    (format!("http://{address}"), stopper)
}

fn remote(address: &str) -> Remote {
    Remote::new(address, PROGRAM, 1_000).unwrap()
}

fn block(height: u64) -> Key {
    crate::plan::tests::key(height, 0)
}

#[test]
fn a_remote_prover_is_the_prover_behind_it() {
    tokio::Runner::default().start(|context| async move {
        let (pool, gate) = pool(&context);
        let (address, stopper) = served(&context, pool, Limits::default()).await;
        let remote = remote(&address);
        assert_eq!(remote.name(), address);
        assert_eq!(remote.offer().await.unwrap().slots, 1);
        let inputs = Bytes::from_static(b"inputs");
        let handle = remote.submit(block(1), inputs.clone()).await.unwrap();
        assert_eq!(remote.submit(block(1), inputs.clone()).await, Ok(handle.clone()));
        assert_eq!(remote.submit(block(2), inputs).await, Err(Failure::Full));
        assert_eq!(remote.poll(&handle, Duration::ZERO).await, Ok(Progress::Running));
        gate.send(Ok(())).unwrap();
        // Another client, as a scheduler that was started again is.
        let again = Remote::new(&address, PROGRAM, 1_000).unwrap();
        let proof: Bytes = [&b"inputs"[..], &block(1).block.digest.0].concat().into();
        assert_eq!(again.poll(&handle, LONG).await, Ok(Progress::Proved(proof)));
        again.release(&handle).await;
        assert_eq!(again.poll(&handle, LONG).await, Err(Failure::Lost));
        gate.send(Err("no: \u{1F4A5}".into())).unwrap();
        let handle = remote.submit(block(3), Bytes::new()).await.unwrap();
        let failed = remote.poll(&handle, LONG).await;
        assert_eq!(failed, Err(Failure::Unprovable("no: \u{1F4A5}".into())));
        stopper.stop();
    });
}

#[test]
fn a_prover_of_another_program_is_not_asked_for_proofs() {
    tokio::Runner::default().start(|context| async move {
        let (pool, _gate) = pool(&context);
        let (address, _stopper) = served(&context, pool, Limits::default()).await;
        let other = Remote::new(&address, Digest([1; 32]), 1_000).unwrap();
        let refused = other.offer().await.unwrap_err().to_string();
        assert!(refused.contains("it proves 0909"), "{refused}");
        let key = Key { program: Digest([1; 32]), ..block(1) };
        let refused = other.submit(key, Bytes::new()).await.unwrap_err().to_string();
        assert!(refused.contains("is proven here"), "{refused}");
    });
}

#[test]
fn who_does_not_show_the_token_is_served_nothing() {
    tokio::Runner::default().start(|context| async move {
        let (pool, _gate) = pool(&context);
        let (listener, address) = listen().await;
        let token = |digit: &str| Token::new(&digit.repeat(Token::MIN)).unwrap();
        let (_stopper, stopping) = Stopper::new();
        let worker = worker(pool, Limits::default(), Some(token("1")));
        context.child("server").spawn(move |_| async move {
            serve(listener, worker, stopping).await;
        });
        let remote = remote(&format!("http://{address}"));
        let handle = Handle::of(&block(1));
        for (other, wants) in [
            (remote.clone(), "it wants a token"),
            (remote.clone().with_token(token("2")), "it wants another token"),
        ] {
            let refused = Err(Failure::Unavailable(wants.into()));
            assert_eq!(other.offer().await.map(drop), refused);
            assert_eq!(other.submit(block(1), Bytes::new()).await.map(drop), refused);
            assert_eq!(other.poll(&handle, Duration::ZERO).await.map(drop), refused);
        }
        let ours = remote.with_token(token("1"));
        assert_eq!(ours.offer().await.unwrap().slots, 1);
        assert_eq!(ours.submit(block(1), Bytes::new()).await, Ok(handle.clone()));
        assert_eq!(ours.poll(&handle, Duration::ZERO).await, Ok(Progress::Running));
    });
}

/// Says which proofs are kept.
struct Told(Sender<u64>);

impl Observe for Told {
    fn kept(&self, key: &Key, _: usize) {
        self.0.send(key.height()).unwrap();
    }
}

#[test]
fn a_finished_proof_that_nobody_fetched_is_there_after_a_restart_until_it_is_released() {
    let directory = tempfile::tempdir().unwrap();
    let proof = |height| Progress::Proved(Bytes::copy_from_slice(&block(height).block.digest.0));
    let life = |program: Digest| {
        let config = tokio::Config::new().with_storage_directory(directory.path());
        let runner = tokio::Runner::new(config);
        let (told, kept) = channel();
        let open = async move |context: tokio::Context| {
            let (gate, gated) = channel();
            let pool = Pool::new(context.child("pool"), "pool", Gated(gated.into()), NZUsize!(2));
            let config = disk::Config::new("worker");
            let keeps = (program, NZUsize!(2));
            let (pool, told) = (Arc::new(pool), Arc::new(Told(told)));
            let worker = Kept::open(context.child("kept"), pool, keeps, config, told).await;
            (worker.unwrap(), gate, kept)
        };
        (runner, open)
    };
    let submit = async |worker: &Kept<tokio::Context>, height| {
        worker.submit(block(height), Bytes::new()).await.unwrap()
    };
    let (runner, open) = life(PROGRAM);
    runner.start(|context| async move {
        let (worker, gate, kept) = open(context).await;
        for height in 1..=4 {
            let handle = submit(&worker, height).await;
            if height == 4 {
                break; // It runs when the process ends.
            }
            gate.send(Ok(())).unwrap();
            assert_eq!(kept.recv_timeout(LONG), Ok(height));
            assert_eq!(worker.poll(&handle, LONG).await, Ok(proof(height)));
        }
        assert_eq!(worker.count(), 2, "the first one is dropped");
    });
    let (runner, open) = life(PROGRAM);
    runner.start(|context| async move {
        let (worker, _gate, _kept) = open(context).await;
        for height in 2..=3 {
            let handle = submit(&worker, height).await;
            assert_eq!(worker.poll(&handle, LONG).await, Ok(proof(height)));
            worker.release(&handle).await;
            assert_eq!(worker.poll(&handle, LONG).await, Err(Failure::Lost));
        }
        for height in [1, 4] {
            assert_eq!(worker.poll(&Handle::of(&block(height)), LONG).await, Err(Failure::Lost));
        }
    });
    let (runner, open) = life(PROGRAM);
    runner.start(|context| async move {
        let (worker, gate, kept) = open(context).await;
        assert_eq!(worker.count(), 0);
        // Released while it runs: it is not kept. Wanted again before it ended: it is.
        for (height, again) in [(5, false), (6, true)] {
            let handle = submit(&worker, height).await;
            worker.release(&handle).await;
            if again {
                submit(&worker, height).await;
            }
            gate.send(Ok(())).unwrap();
            if !again {
                // Before it has ended it may not have taken its place at the gate.
                assert_ne!(worker.poll(&handle, LONG).await, Ok(Progress::Running));
            }
        }
        assert_eq!(kept.recv_timeout(LONG), Ok(6));
        assert_eq!(worker.count(), 1);
    });
    let (runner, open) = life(Digest([1; 32]));
    runner.start(|context| async move {
        assert_eq!(open(context).await.0.count(), 0, "of another program");
    });
}

#[test]
fn an_address_is_a_host_and_says_nothing_secret() {
    for good in ["http://127.0.0.1:7000", "https://prover.example", "http://[::1]:7000/"] {
        assert!(Remote::new(good, PROGRAM, 1).is_ok(), "{good}");
    }
    for bad in ["", "prover", "ftp://a", "http://a/b", "http://a?b", "http://me:secret@a"] {
        let error = Remote::new(bad, PROGRAM, 1).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn only_the_one_spelling_of_a_handle_is_a_job() {
    let handle = Handle::of(&block(7));
    assert_eq!(handle.key(), Some(block(7)));
    let range = Key { first: Height::new(5), ..block(7) };
    assert_eq!(Handle::of(&range).key(), Some(range));
    let (same, back) = (format!("7_{handle}"), format!("9_{handle}"));
    for bad in ["7", "7--", &format!("0{handle}"), &format!("{handle}-"), &same, &back] {
        assert_eq!(Handle::new(bad).ok().as_ref().and_then(Handle::key), None, "{bad}");
    }
}

/// Sends `request` as it is, and returns the first line of the answer.
async fn raw(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 256];
    while !answer.contains(&b'\n') {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
        }
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_server_refuses_what_is_too_large_too_much_or_nonsense() {
    tokio::Runner::default().start(|context| async move {
        let (pool, _gate) = pool(&context);
        let wait_max = Duration::from_millis(300);
        let limits = Limits { inputs_max: 100, requests_max: NZUsize!(1), wait_max };
        let (address, _stopper) = served(&context, pool, limits).await;
        let handle = Handle::of(&block(1));
        for (request, status) in [
            ("GET /v1/nothing HTTP/1.1\r\nhost: a\r\n\r\n".into(), "404"),
            ("GET /v1/jobs/.. HTTP/1.1\r\nhost: a\r\n\r\n".into(), "400"),
            (format!("GET /v1/jobs/{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(300)), "400"),
            ("PUT /v1/jobs/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\na".into(), "400"),
            (
                format!("PUT /v1/jobs/{handle} HTTP/1.1\r\nhost: a\r\ncontent-length: 101\r\n\r\n"),
                "413",
            ),
            (format!("GET /v1/jobs/{handle}?wait_ms=-1 HTTP/1.1\r\nhost: a\r\n\r\n"), "404"),
            ("nonsense\r\n\r\n".into(), "400"),
        ] {
            let line = raw(&address, request.as_bytes()).await;
            assert!(line.contains(status), "{request:?}: {line}");
        }
        let slow =
            format!("PUT /v1/jobs/{handle} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab");
        let line = raw(&address, slow.as_bytes()).await;
        assert!(line.contains("408"), "{line}");
        // One request that waits takes the one place.
        let remote = remote(&address);
        let handle = remote.submit(block(1), Bytes::new()).await.unwrap();
        let waits = context.child("waits").spawn({
            let (remote, handle) = (remote.clone(), handle.clone());
            // Again and again: it may be refused itself, where an offer has the place.
            move |_| async move {
                loop {
                    let _ = remote.poll(&handle, LONG).await;
                }
            }
        });
        let mut refused = String::new();
        for _ in 0..10_000 {
            match remote.offer().await {
                Err(failure) => {
                    refused = failure.to_string();
                    break;
                }
                Ok(_) => commonware_runtime::reschedule().await,
            }
        }
        assert!(refused.contains("503"), "{refused}");
        waits.abort();
    });
}

/// Answers every request with the same bytes.
async fn hostile(context: &tokio::Context, answer: Vec<u8>) -> String {
    let (listener, address) = listen().await;
    context.child("hostile").spawn(move |_| async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    format!("http://{address}")
}

#[test]
fn a_server_that_answers_nonsense_is_one_failure_each_time() {
    tokio::Runner::default().start(|context| async move {
        let long = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 100_000]].concat();
        let told = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec();
        let moved =
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let answers: [Vec<u8>; 6] = [
            long,
            told,
            moved.to_vec(),
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
            b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".to_vec(),
            b"\0\xff\r\n".to_vec(),
        ];
        for (at, answer) in answers.into_iter().enumerate() {
            let remote = remote(&hostile(&context, answer).await);
            assert!(remote.offer().await.is_err(), "{at}");
            assert!(remote.submit(block(1), Bytes::new()).await.is_err(), "{at}");
            let polled = remote.poll(&Handle::of(&block(1)), Duration::ZERO).await;
            // Two bytes that are no offer may be a proof: that is for the program to say.
            assert!(polled.is_err() || at == 3, "{at}: {polled:?}");
        }
        let nobody = remote("http://127.0.0.1:1");
        assert!(matches!(nobody.offer().await, Err(Failure::Unavailable(_))));
        nobody.release(&Handle::of(&block(1))).await;
    });
}

/// A scheduler with two remote provers: see the tests of the scheduler for all that it does.
#[test]
fn a_scheduler_proves_with_remote_provers_and_one_that_is_gone() {
    use crate::{
        Scheduler,
        disk::Subject,
        scheduler::{Config, NewBlock, Parts, Proven, tests::scripted},
    };
    struct Honest;
    impl Prove for Honest {
        fn prove(&self, key: &Key, inputs: &[u8], _: &Released) -> Result<Bytes, String> {
            let parent = Digest(inputs[40..72].try_into().unwrap());
            Ok(scripted::proof(key.program, parent, key.block))
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let config = tokio::Config::new().with_storage_directory(directory.path());
    tokio::Runner::new(config).start(|context| async move {
        let mut provers: Vec<Arc<dyn Prover>> = vec![Arc::new(remote("http://127.0.0.1:1"))];
        let mut stoppers = Vec::new();
        for _ in 0..2 {
            let pool = Pool::new(context.child("pool"), "pool", Honest, NZUsize!(2));
            let (address, stopper) = served(&context, Arc::new(pool), Limits::default()).await;
            provers.push(Arc::new(remote(&address)));
            stoppers.push(stopper);
        }
        let start = block(0).block;
        let subject = Subject { program: PROGRAM, start, ..disk::tests::subject() };
        let parts = Parts { program: Arc::new(scripted::Toy), provers, subject };
        assert_eq!(scripted::Toy.id(), PROGRAM);
        let config = Config::new(disk::tests::config());
        let opened = Scheduler::open(context.child("scheduler"), parts, config).await;
        let (scheduler, mailbox) = opened.unwrap();
        let handle = scheduler.start();
        let new = |height: u64| NewBlock {
            block: block(height).block,
            parent: block(height - 1).block.digest,
            inputs: scripted::inputs(block(height - 1).block.digest, block(height).block),
        };
        mailbox.add((1..=30).map(new).collect()).await.unwrap();
        let all = |proven: &Proven| proven.tip == block(30).block;
        mailbox.proven().until(all).await.unwrap();
        mailbox.stop();
        handle.await.unwrap().unwrap();
    });
}
