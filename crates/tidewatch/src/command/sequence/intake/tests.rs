//! Clients that send anything, or nothing, over real sockets, beside a network of key holders that runs.

use super::*;
use commonware_codec::Encode as _;
use commonware_consensus::types::{Epoch, Round, View};
use commonware_formatting::hex;
use commonware_runtime::{
    Clock as _, Metrics as _, Runner as _, Spawner as _,
    tokio::{Config as RuntimeConfig, Runner},
};
use rand::{SeedableRng as _, rngs::StdRng};
use std::{future::Future, net::SocketAddr, sync::atomic::Ordering};
use tempfile::TempDir;
use tidewatch_core::ChainId;
use tidewatch_devnet::ordering::{Config, Network};
use tidewatch_sequencer::{
    Pool as _, Sender, TRANSACTION_BYTES_MAX, Transaction,
    disk::Limits,
    remote::Limits as RemoteLimits,
    timelock::{AHEAD_MAX, OVERHEAD_MAX},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Far longer than any step takes, even on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn bounds() -> Bounds {
    Bounds {
        connections: NZUsize!(4),
        requests: NZUsize!(2),
        request: Duration::from_secs(2),
        stall: Duration::from_secs(2),
    }
}

struct World {
    context: Context,
    network: Network,
    pool: Arc<DiskPool<Context>>,
    stopping: Arc<AtomicBool>,
    address: SocketAddr,
}

fn embed<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let directory = TempDir::new().unwrap();
    let config = RuntimeConfig::default().with_storage_directory(directory.path());
    Runner::new(config).start(|context| async move { test(World::start(context).await).await });
}

impl World {
    async fn start(context: Context) -> Self {
        let network = Network::start(context.child("network"), Config::default()).await.unwrap();
        let limits = RemoteLimits::default();
        let remote = Remote::new(&network.url(), network.keys().clone(), limits).unwrap();
        let limits = Limits { transaction_bytes: TRANSACTION_BYTES_MAX, ..Limits::default() };
        let chain = ChainId::new("test:1").unwrap();
        let pool = DiskPool::open(context.child("pool"), "test", chain, limits).await.unwrap();
        let (pool, at) = (Arc::new(pool), context.child("intake"));
        let intake = Intake::new(&at, pool.clone(), remote, 2 * TRANSACTION_BYTES_MAX, bounds());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stopping) = (listener.local_addr().unwrap(), intake.stopping.clone());
        drop(at.spawn(move |_| intake.serve(listener)));
        let world = Self { context, network, pool, stopping, address };
        world.target(1).await;
        world
    }

    /// Sends `bytes`, and reads until the server has closed the connection.
    async fn answer(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut read = Vec::new();
        let end = stream.read_to_end(&mut read);
        let _ = tokio::time::timeout(DEADLINE, end).await.expect("the connection is closed");
        String::from_utf8_lossy(&read).into_owned()
    }

    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let said = self.answer(&request(method, path, body)).await;
        let status = said.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
        (status, said.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    async fn post(&self, transaction: &Transaction) -> (u16, String) {
        self.ask("POST", "/v1/transactions", &transaction.encode()).await
    }

    async fn refused(&self, method: &str, path: &str, body: &[u8]) -> (u16, Problem) {
        let (status, body) = self.ask(method, path, body).await;
        assert!(body.len() < 500, "{body}");
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}")))
    }

    /// What a sender is told, once a round is certified.
    async fn target(&self, by: u8) -> Target {
        let path = format!("/v1/target?sender={}", hex(&[by; 32]));
        let end = self.context.current() + DEADLINE;
        loop {
            let (status, body) = self.ask("GET", &path, b"").await;
            if status == 200 {
                return serde_json::from_str(&body).unwrap();
            }
            assert!(body.contains("no_round") && self.context.current() < end, "{body}");
        }
    }

    fn sealed(&self, by: u8, nonce: u64, target: (u64, u64), clear: &[u8]) -> Transaction {
        let (sender, rng) = (Sender([by; 32]), &mut StdRng::seed_from_u64(1));
        let round = Round::new(Epoch::new(target.0), View::new(target.1));
        let payload = self.network.keys().seal(rng, round, (sender, nonce), clear).unwrap();
        Transaction { sender, nonce, payload }
    }

    fn waiting(&self) -> usize {
        self.pool.waiting().current()
    }

    fn is_counted(&self, what: &str, kind: &str) -> bool {
        let (what, kind) = (format!("intake_{what}_total{{"), format!("kind=\"{kind}\""));
        self.context.encode().lines().any(|line| line.contains(&what) && line.contains(&kind))
    }
}

fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn every_route_refuses_garbage_with_a_word_for_it_and_nothing_moves() {
    embed(|world| async move {
        let good = world.sealed(1, 0, (0, 9_999_999), b"x").encode();
        let mut delayed = good.to_vec();
        delayed[..32].fill(0);
        let plain = Transaction { sender: Sender([1; 32]), nonce: 0, payload: b"x"[..].into() };
        let cut = &good[..good.len() - 1];
        let (posts, digest) = ("/v1/transactions", "ab".repeat(32));
        let place = |id: &str| format!("/v1/transactions/{id}");
        let cases: [(&str, String, &[u8], u16, Code); 16] = [
            ("GET", "/".into(), b"", 404, Code::NoRoute),
            ("GET", "/v2/target".into(), b"", 404, Code::NoRoute),
            ("GET", posts.into(), b"", 405, Code::NoMethod),
            ("DELETE", place(&digest), b"", 405, Code::NoMethod),
            ("POST", "/v1/target".into(), b"", 405, Code::NoMethod),
            ("GET", place("xyz"), b"", 400, Code::Parameter),
            ("GET", place("%00%F0%9F%92%A5"), b"", 400, Code::Parameter),
            ("GET", place(&digest), b"", 404, Code::NotKnown),
            ("GET", "/v1/target".into(), b"", 400, Code::Parameter),
            ("GET", "/v1/target?sender=1".into(), b"", 400, Code::Parameter),
            ("GET", format!("/v1/target?sender={digest}&bytes=-1"), b"", 400, Code::Parameter),
            ("POST", posts.into(), b"", 422, Code::NoTransaction),
            ("POST", posts.into(), b"\xf0\x9f\x92\xa5", 422, Code::NoTransaction),
            ("POST", posts.into(), cut, 422, Code::NoTransaction),
            ("POST", posts.into(), &delayed, 422, Code::NoTransaction),
            ("POST", posts.into(), &plain.encode(), 422, Code::NotSealed),
        ];
        for (method, path, body, status, code) in cases {
            let (said, problem) = world.refused(method, &path, body).await;
            assert_eq!((said, problem.code), (status, code), "{method} {path}: {problem:?}");
            assert_eq!(code.status().as_u16(), status);
            assert!(world.is_counted("refused", code.as_str()), "{code:?} is counted");
        }
        for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"\r\n\r\n\r\n", b"GET\n\n"] {
            let said = world.answer(bytes).await;
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
        }
        assert!(world.is_counted("connections", "malformed"));
        assert_eq!(world.waiting(), 0);
    });
}

#[test]
fn a_transaction_of_a_mebibyte_passes_and_one_byte_more_does_not() {
    embed(|world| async move {
        let sized = |by: u8, bytes: usize, target: &Target| {
            let clear = vec![7; bytes];
            world.sealed(by, 0, (target.epoch, target.target), &clear)
        };
        let mut target = world.target(1).await;
        let least = TRANSACTION_BYTES_MAX - OVERHEAD_MAX;
        // The round that it is sealed to may need a byte more meanwhile, and may not be one any more.
        let spare = |target: &Target| TRANSACTION_BYTES_MAX - sized(1, least, target).payload.len();
        let end = world.context.current() + DEADLINE;
        loop {
            let large = sized(1, least + spare(&target), &target);
            assert_eq!(large.payload.len(), TRANSACTION_BYTES_MAX);
            let (status, body) = world.post(&large).await;
            if status == 202 {
                break;
            }
            assert!(status == 412 && world.context.current() < end, "{status} {body}");
            target = world.target(1).await;
        }
        assert_eq!(world.waiting(), 1);
        for more in [1, 2, 12] {
            let larger = sized(2, least + spare(&target) + more, &target).encode();
            let (status, problem) = world.refused("POST", "/v1/transactions", &larger).await;
            assert_eq!((status, problem.code), (413, Code::Large), "{problem:?}");
        }
        assert!(world.is_counted("refused", "large"));
        assert_eq!(world.waiting(), 1);
    });
}

#[test]
fn a_round_that_will_not_do_and_a_nonce_that_will_not_are_refused_with_those_that_will() {
    embed(|world| async move {
        let target = world.target(1).await;
        assert!(target.view < target.least && target.least < target.target);
        assert!(target.target <= target.greatest);
        let post = async |by, nonce, view| {
            let transaction = world.sealed(by, nonce, (target.epoch, view), b"x");
            world.refused("POST", "/v1/transactions", &transaction.encode()).await
        };
        let (status, early) = post(1, 0, target.view).await;
        assert_eq!((status, early.code, early.round), (412, Code::TooEarly, Some(target.view)));
        let (least, greatest) = (early.least.unwrap(), early.greatest.unwrap());
        assert!(target.least <= least && least < greatest);
        let (status, far) = post(1, 0, target.view + 10 * AHEAD_MAX).await;
        assert_eq!((status, far.code), (412, Code::TooFar));
        assert_eq!(world.pool.nonce(&Sender([1; 32])), 0);
        // Its round is looked at last: whoever sends the same once more learns that it is there.
        let (status, gap) = post(1, 1, target.view).await;
        assert_eq!((status, gap.code), (409, Code::Gap));
        let end = world.context.current() + DEADLINE;
        loop {
            let Target { epoch, target, .. } = world.target(1).await;
            let (status, body) = world.post(&world.sealed(1, 0, (epoch, target), b"x")).await;
            if status == 202 {
                break;
            }
            assert!(status == 412 && world.context.current() < end, "{status} {body}");
        }
        let (status, used) = post(1, 0, target.view).await;
        assert_eq!((status, used.code), (409, Code::Used));
        for kind in ["too_early", "too_far", "gap", "used"] {
            assert!(world.is_counted("refused", kind), "{kind} is counted");
        }
        assert_eq!((world.waiting(), world.pool.nonce(&Sender([1; 32]))), (1, 1));
        world.stopping.store(true, Ordering::Release);
        let (status, problem) = post(2, 0, target.view).await;
        assert_eq!((status, problem.code), (503, Code::Stopping));
    });
}

#[test]
fn headers_and_bodies_that_do_not_end_are_ended() {
    embed(|world| async move {
        let post = "POST /v1/transactions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let said = world.answer(format!("{post}content-length: 99\r\n\r\nx").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("\"slow\""), "{said}");
        let endless = "x".repeat(0x20_0000);
        let endless = format!("{post}transfer-encoding: chunked\r\n\r\n200000\r\n{endless}");
        let said = world.answer(endless.as_bytes()).await;
        assert!(said.is_empty() || said.contains("\"large\""), "{said}");
        assert!(world.is_counted("refused", "slow") && world.is_counted("refused", "large"));
        // A head without an end, and one without a bound.
        world.answer(b"GET /v1/target HTTP/1.1\r\nhost").await;
        assert!(world.is_counted("connections", "slow"));
        let head = format!("GET /v1/target HTTP/1.1\r\nhost: {}", "x".repeat(200_000));
        let said = world.answer(head.as_bytes()).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said:.60}");
        assert_eq!(world.waiting(), 0);
    });
}

#[test]
fn more_requests_than_there_are_places_are_refused_and_more_connections_wait() {
    embed(|world| async move {
        let open = async |bytes: &[u8]| {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        };
        let slow = b"POST /v1/transactions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nx";
        let _held = (open(slow).await, open(slow).await);
        // Two requests hold both places, until they are too slow.
        let end = world.context.current() + DEADLINE;
        while !world.is_counted("refused", "busy") {
            world.ask("GET", "/v1/target", b"").await;
            assert!(world.context.current() < end, "it is refused");
            if world.is_counted("refused", "slow") {
                drop((open(slow).await, open(slow).await));
            }
        }
        // Connections that say nothing hold all places, until they are cut.
        let _silent = [open(b"").await, open(b"").await, open(b"").await, open(b"").await];
        world.target(1).await;
        assert!(world.is_counted("connections", "full"));
        assert_eq!(world.waiting(), 0);
    });
}
